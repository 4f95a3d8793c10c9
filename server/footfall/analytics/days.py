"""Local days: which one it is, how it is written, and which quarters of an hour are its own.

A day is a number of days since the epoch, as events carry it. What clocks showed is asked of the
zone's rules, never computed with an offset: a day has 92, 94, 96, 98 or 100 quarters of an hour,
or none at all where a zone left it out.
"""

from __future__ import annotations

import time as clock
from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SLOT_MINUTES = 15
SLOT_US = SLOT_MINUTES * 60 * 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()
_MICROSECOND = timedelta(microseconds=1)
#: Clocks are up to this much ahead of UTC or behind it, and in some changes both.
_SLOTS_AROUND = 30 * 4


def system_us() -> int:
    """Return the system's time, in microseconds since the epoch."""
    return clock.time_ns() // 1000


def local_time(timezone: str, time_us: int) -> datetime:
    """Return what the zone's clock shows at an instant."""
    return (_EPOCH + time_us * _MICROSECOND).astimezone(ZoneInfo(timezone))


def local_day(timezone: str, time_us: int) -> int:
    """Return the zone's day at an instant."""
    return local_time(timezone, time_us).toordinal() - _EPOCH_ORDINAL


def to_date(day: int) -> date:
    """Return a day as a date."""
    return date.fromordinal(day + _EPOCH_ORDINAL)


def to_day(value: date) -> int:
    """Return a date as a day."""
    return value.toordinal() - _EPOCH_ORDINAL


def day_text(day: int) -> str:
    """Return a day as YYYY-MM-DD."""
    return to_date(day).isoformat()


def utc_text(time_us: int) -> str:
    """Return an instant in RFC 3339, in UTC with +00:00, to the second."""
    return (_EPOCH + time_us // 1_000_000 * timedelta(seconds=1)).isoformat()


@lru_cache(maxsize=1024)
def day_slots(timezone: str, day: int) -> tuple[int, ...]:
    """Return the starts of the quarters of an hour, in microseconds since the epoch, in which the
    zone's clock shows the day.
    """
    midnight = day * 96
    return tuple(
        slot * SLOT_US
        for slot in range(midnight - _SLOTS_AROUND, midnight + 96 + _SLOTS_AROUND)
        if day
        in (
            local_day(timezone, slot * SLOT_US),
            local_day(timezone, (slot + 1) * SLOT_US - 1),
        )
    )


@lru_cache(maxsize=1024)
def slot_texts(timezone: str, day: int) -> tuple[str, ...]:
    """Return the starts of `day_slots` in RFC 3339, with the offset that the zone has then."""
    return tuple(local_time(timezone, start).isoformat() for start in day_slots(timezone, day))


def first_instant(timezone: str, day: int, time_of_day: time) -> int:
    """Return when the zone's clock, on that day, first shows a time of day or a later one.

    Of a time that it shows twice that is the first; of one that it skips, the moment of the skip.
    """
    wanted = datetime.combine(to_date(day), time_of_day)
    zone = ZoneInfo(timezone)
    early, late = (_instant(wanted.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    if local_time(timezone, early).replace(tzinfo=None) == wanted:
        return early
    # Read by the offset after the change it lies before the change, and the other way about.
    between = range(late, early)
    return between.start + bisect_left(
        between, True, key=lambda at: local_time(timezone, at).replace(tzinfo=None) > wanted
    )


def _instant(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
