"""Ranges of a site's local days: from published parameters to days, and into its history.

`parse_range` reads the parameters against today; what a site has of history is known only when
it has been read, so `Asked.within` draws the range into it afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from footfall.accounts.model import Site
from footfall.analytics.days import local_day, to_date, to_day
from footfall.analytics.model import DayCount, History, HistoryQuery, Ranking
from footfall.analytics.parameters import echo, refusal, suggest, whole_number
from footfall.analytics.ports import WebHistory

DEFAULT_PRESET = "last30"
CUSTOM = "custom"
#: Longest text that pages are searched for, in characters.
SEARCH_MAX = 256
PAGES_MAX = 100

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class DayRange:
    """Local days from `first` to `last`, both included (days since the epoch)."""

    first: int
    last: int

    @property
    def days(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, day: int) -> bool:
        return self.first <= day <= self.last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def within(self, bounds: DayRange) -> DayRange | None:
        """Return the part of it that lies within the bounds; None without one."""
        first, last = max(self.first, bounds.first), min(self.last, bounds.last)
        return DayRange(first, last) if first <= last else None


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """The parameters of a range and of the pages in it, as a caller sent them; "" counts as
    absent.
    """

    preset: str = ""
    start: str = ""
    end: str = ""
    limit: str = ""
    q: str = ""
    search: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The days that a caller asks for, as yet without regard to the site's history."""

    preset: str
    #: The preset's name for people.
    label: str
    days: DayRange
    today: int

    def limits(self, first_day: int | None) -> DayRange:
        """Return the days that a range may have: the site's first one until today."""
        return DayRange(self.today if first_day is None else min(first_day, self.today), self.today)

    def within(self, first_day: int | None) -> DayRange:
        """Return the range drawn into the site's history, which begins on `first_day`.

        Of a range that lies wholly outside, a custom one becomes the nearest day, since a caller
        chose its ends freely; a preset keeps the days that it is named after.
        """
        limits = self.limits(first_day)
        inside = self.days.within(limits)
        if inside is not None:
            return inside
        if self.preset != CUSTOM:
            return self.days
        nearest = limits.first if self.days.last < limits.first else limits.last
        return DayRange(nearest, nearest)


def plan(
    site: Site, request: RangeRequest, now_us: int, rank_by: Ranking = "pageviews"
) -> tuple[Asked, HistoryQuery]:
    """Return the days that the parameters ask for at `now_us`, and the question about them.

    Raises InvalidInputError (INVALID_PARAMETER) that names the parameter.
    """
    asked = parse_range(request, local_day(site.timezone, now_us))
    return asked, HistoryQuery(
        site_id=site.id,
        first_day=min(asked.days.first, asked.today),
        last_day=min(asked.days.last, asked.today),
        pages_max=whole_number("limit", request.limit, low=1, high=PAGES_MAX, default=PAGES_MAX),
        search=parse_search(request),
        rank_by=rank_by,
    )


def parse_range(request: RangeRequest, today: int) -> Asked:
    """Return the days that the parameters ask for.

    `start` and `end` are read with the preset `custom` only. Raises InvalidInputError
    (INVALID_PARAMETER) that names the parameter.
    """
    name = request.preset or DEFAULT_PRESET
    if name == CUSTOM:
        first, last = _parse_date("start", request.start), _parse_date("end", request.end)
        if first > last:
            raise refusal(
                "start",
                f"start must not be after end, but {request.start} is after {request.end}.",
            )
        return Asked(name, "Custom", DayRange(first, last), today)
    preset = _PRESETS.get(name)
    if preset is None:
        raise refusal(
            "preset",
            f"preset must be one of {', '.join(PRESETS)}, but is {echo(name)}."
            f"{suggest(name, PRESETS)}",
        )
    label, days = preset
    return Asked(name, label, days(today), today)


def parse_search(request: RangeRequest) -> str:
    """Return the text that pages are filtered by; `search` is read where `q` is empty."""
    name, text = "q", request.q.strip()
    if not text:
        name, text = "search", request.search.strip()
    if len(text) > SEARCH_MAX:
        raise refusal(
            name, f"{name} must have at most {SEARCH_MAX} characters, but has {len(text)}."
        )
    return text


async def read(
    history: WebHistory, asked: Asked, query: HistoryQuery, timeout_s: float
) -> tuple[DayRange, History]:
    """Return the range as the site's history allows it, and the history of exactly that range.

    One read nearly always: days before the site's first page view have nothing to be counted.
    """
    while True:
        found = await history.history(query, timeout_s)
        days = asked.within(found.first_day)
        read_in_full = query.first_day <= days.first and days.last <= query.last_day
        if read_in_full and all(day.local_day in days for day in found.days):
            return days, found
        query = replace(query, first_day=days.first, last_day=days.last)


def daily(days: DayRange, history: History) -> tuple[DayCount, ...]:
    """Return a row for each day of the range, ascending, also for one without counts."""
    counted = {day.local_day: day for day in history.days}
    return tuple(counted.get(day) or DayCount(day, 0, 0, 0.0) for day in days)


def _parse_date(name: str, text: str) -> int:
    if not text:
        raise refusal(name, f"{name} is required with preset=custom: a date as YYYY-MM-DD.")
    found = _DATE.fullmatch(text)
    if found is None:
        raise refusal(name, f"{name} must be a date as YYYY-MM-DD, but is {echo(text)}.")
    try:
        return to_day(date(*map(int, found.groups())))
    except ValueError:
        raise refusal(
            name, f"{name} must be a day that the calendar has, but is {echo(text)}."
        ) from None


def _last(count: int) -> Callable[[int], DayRange]:
    return lambda today: DayRange(today - count + 1, today)


def _yesterday(today: int) -> DayRange:
    return DayRange(today - 1, today - 1)


def _this_month(today: int) -> DayRange:
    return DayRange(to_day(to_date(today).replace(day=1)), today)


def _last_month(today: int) -> DayRange:
    end = to_date(today).replace(day=1) - timedelta(days=1)
    return DayRange(to_day(end.replace(day=1)), to_day(end))


_PRESETS: Mapping[str, tuple[str, Callable[[int], DayRange]]] = {
    "today": ("Today", _last(1)),
    "yesterday": ("Yesterday", _yesterday),
    "last7": ("Last 7 Days", _last(7)),
    "last14": ("Last 14 Days", _last(14)),
    "last30": ("Last 30 Days", _last(30)),
    "last90": ("Last 90 Days", _last(90)),
    "this_month": ("This Month", _this_month),
    "last_month": ("Last Month", _last_month),
}
#: The names of all presets.
PRESETS = (*_PRESETS, CUSTOM)
