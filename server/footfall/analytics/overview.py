"""The last completed local days of a site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from footfall.accounts.model import Site
from footfall.analytics.counts import Counts, total
from footfall.analytics.days import local_day, system_us
from footfall.analytics.model import DayCount, History, HistoryQuery
from footfall.analytics.parameters import whole_number
from footfall.analytics.ports import WebHistory
from footfall.analytics.ranges import DayRange, daily

DAYS_MAX = 30


@dataclass(frozen=True, slots=True)
class OverviewAnswer:
    """Page views and visits by day."""

    site: str
    timezone: str
    #: The days that have a row; None if there is none.
    days: DayRange | None
    daily: tuple[DayCount, ...]

    totals: Counts


class OverviewService:
    """Answers how many page views and visits a site had on its last completed days."""

    def __init__(self, history: WebHistory, clock_us: Callable[[], int] = system_us) -> None:
        self._history = history
        self._clock_us = clock_us

    async def answer(self, site: Site, days: str, timeout_s: float) -> OverviewAnswer:
        """Return the last `days` local days up to yesterday, as far as the site has them.

        Raises InvalidInputError (INVALID_PARAMETER) for a number that is none, DeadlineError after
        `timeout_s`, and UnavailableError while the event store does not answer.
        """
        query = plan(site, days, self._clock_us())
        return build(site, query, await self._history.history(query, timeout_s))


def plan(site: Site, days: str, now_us: int) -> HistoryQuery:
    """Return the question that the parameter asks at `now_us`."""
    count = whole_number("days", days, low=1, high=DAYS_MAX, default=DAYS_MAX)
    today = local_day(site.timezone, now_us)
    return HistoryQuery(site.id, today - count, today - 1)


def build(site: Site, query: HistoryQuery, history: History) -> OverviewAnswer:
    """Return the answer: a row for each day since the site's first, also for one without counts."""
    days = None
    if history.first_day is not None and history.first_day <= query.last_day:
        days = DayRange(max(query.first_day, history.first_day), query.last_day)
    rows = daily(days, history) if days is not None else ()
    return OverviewAnswer(site.id, site.timezone, days, rows, total(rows))
