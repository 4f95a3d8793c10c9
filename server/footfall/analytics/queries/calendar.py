"""Local days and hours of a range, for columns of instants.

What a clock shows is an instant and the offset that the zone has then. Offsets change a few times
a year, so a column of instants becomes local times by one addition, exactly.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from footfall.analytics.days import day_text
from footfall.analytics.queries.model import Int64s
from footfall.durations import DAY_US, HOUR_US

#: How often the offset is looked at; no zone changes it twice in so short a time.
_LOOK_US = 6 * HOUR_US

Granularity = Literal["daily", "hourly"]
STEP_US: dict[Granularity, int] = {"daily": DAY_US, "hourly": HOUR_US}

#: Clocks are less than this away from UTC.
_AWAY_US = DAY_US + 2 * HOUR_US
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class LocalDays:
    """Local days of a zone from `first` to `last`, both included (days since the epoch)."""

    def __init__(self, timezone: str, first: int, last: int) -> None:
        self.first, self.last = first, last
        self._low_us, self._high_us = first * DAY_US, (last + 1) * DAY_US
        zone = ZoneInfo(timezone)
        early, late = self._low_us - _AWAY_US, self._high_us + _AWAY_US
        changes = [
            (at_us, offset_us)
            for year in range(_time(early).year, _time(late).year + 1)
            for at_us, offset_us in _changes(timezone, year)
            if early < at_us < late
        ]
        self._edges = np.array([at_us for at_us, _ in changes], dtype=np.int64)
        self._offsets = np.array(
            [_offset_us(zone, early), *(offset_us for _, offset_us in changes)], dtype=np.int64
        )
        pieces = list(self._pieces(early, late))
        #: The instants among which all of the days' are, the last one excluded.
        self.start_us = min((start for start, _, _ in pieces), default=0)
        self.end_us = max((end for _, end, _ in pieces), default=0)
        self._shown = pieces

    @property
    def days(self) -> int:
        return self.last - self.first + 1

    def local_us(self, ts_us: Int64s) -> Int64s:
        """Return what the zone's clock shows at instants, in microseconds since its own epoch."""
        if len(self._offsets) == 1:
            moved: Int64s = ts_us + self._offsets[0]
            return moved
        found: Int64s = ts_us + self._offsets[np.searchsorted(self._edges, ts_us, side="right")]
        return found

    def inside(self, local_us: Int64s) -> npt.NDArray[np.bool_]:
        """Return which local times are in the days."""
        found: npt.NDArray[np.bool_] = (local_us >= self._low_us) & (local_us < self._high_us)
        return found

    def buckets(self, local_us: Int64s, granularity: Granularity) -> Int64s:
        """Return the numbers of the days or hours that local times are in, from 0."""
        step_us = STEP_US[granularity]
        found: Int64s = local_us // step_us - self._low_us // step_us
        return found

    def labels(self, granularity: Granularity) -> dict[int, str]:
        """Return the numbers and names of all buckets: each day, or each hour that the clock
        shows, be it once or twice.
        """
        if granularity == "daily":
            return {number: day_text(self.first + number) for number in range(self.days)}
        hours = {
            hour
            for start, end, offset in self._shown
            for hour in range((start + offset) // HOUR_US, (end - 1 + offset) // HOUR_US + 1)
        }
        base = self._low_us // HOUR_US
        return {
            hour - base: f"{day_text(hour // 24)} {hour % 24:02}:00:00" for hour in sorted(hours)
        }

    def _pieces(self, early: int, late: int) -> Iterator[tuple[int, int, int]]:
        """Yield (start, end, offset) of the times in which a clock shows the days."""
        edges = [early, *self._edges.tolist(), late]
        for number, offset in enumerate(self._offsets.tolist()):
            start = max(edges[number], self._low_us - offset)
            end = min(edges[number + 1], self._high_us - offset)
            if start < end:
                yield start, end, offset


@lru_cache(maxsize=1024)
def _changes(timezone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the instants of a year (UTC) at which the offset changes, and the new offsets."""
    zone = ZoneInfo(timezone)
    start = int((dt.datetime(year, 1, 1, tzinfo=dt.UTC) - _EPOCH) / _MICROSECOND)
    end = int((dt.datetime(year + 1, 1, 1, tzinfo=dt.UTC) - _EPOCH) / _MICROSECOND)
    found = []
    before = _offset_us(zone, start)
    for look in range(start, end, _LOOK_US):
        after = _offset_us(zone, look + _LOOK_US)
        if after != before:
            seconds = range(look // 1_000_000, (look + _LOOK_US) // 1_000_000 + 1)
            old = before
            at = bisect_left(seconds, True, key=lambda s: _offset_us(zone, s * 1_000_000) != old)
            found.append((seconds[at] * 1_000_000, after))
        before = after
    return tuple(found)


def _offset_us(zone: ZoneInfo, at_us: int) -> int:
    offset = _time(at_us).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // _MICROSECOND


def _time(at_us: int) -> dt.datetime:
    return _EPOCH + at_us * _MICROSECOND
