"""How long visitors were engaged with a site and its pages, by local days.

Times are added up in whole microseconds, as the store does, so that no digits appear that no
browser has reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from footfall.accounts.model import Site
from footfall.analytics.charts import url_id
from footfall.analytics.counts import total
from footfall.analytics.days import system_us
from footfall.analytics.model import DayCount, History, PageCount
from footfall.analytics.ports import WebHistory
from footfall.analytics.ranges import (
    Asked,
    DayRange,
    RangeRequest,
    daily,
    plan,
    read,
)
from footfall.analytics.rounding import tenths

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class EngagedPage:
    """A page by its rank, which begins at 1; an unknown title is ""."""

    rank: int
    title: str
    #: The path.
    url: str
    url_id: str
    engaged_s: float
    pageviews: int

    @property
    def seconds_per_pageview(self) -> float:
        """Mean for a page view, to one decimal; 0 without page views."""
        return _mean_s(self.engaged_s, self.pageviews)


@dataclass(frozen=True, slots=True)
class EngagementAnswer:
    """How long visitors were engaged in a range of days."""

    site: str
    timezone: str
    asked: Asked
    days: DayRange
    daily: tuple[DayCount, ...]
    top_pages: tuple[EngagedPage, ...]

    @property
    def engaged_s(self) -> float:
        return sum(_us(day.engaged_s) for day in self.daily) / _SECOND_US

    @property
    def seconds_per_visit(self) -> float:
        """Mean for a visit, to one decimal; 0 without visits."""
        return _mean_s(self.engaged_s, total(self.daily).visits)


class EngagementService:
    """Answers how long visitors were engaged in preset and custom ranges of days."""

    def __init__(self, history: WebHistory, clock_us: Callable[[], int] = system_us) -> None:
        self._history = history
        self._clock_us = clock_us

    async def answer(self, site: Site, request: RangeRequest, timeout_s: float) -> EngagementAnswer:
        """Return the answer to `request` about the site; errors are those of ChartsService."""
        asked, query = plan(site, request, self._clock_us(), "engaged_s")
        days, history = await read(self._history, asked, query, timeout_s)
        return build(site, asked, days, history)


def build(site: Site, asked: Asked, days: DayRange, history: History) -> EngagementAnswer:
    """Return the answer made of the history of `days`."""
    return EngagementAnswer(
        site=site.id,
        timezone=site.timezone,
        asked=asked,
        days=days,
        daily=daily(days, history),
        top_pages=tuple(
            _page(site.id, rank, page) for rank, page in enumerate(history.pages, start=1)
        ),
    )


def _page(site_id: str, rank: int, page: PageCount) -> EngagedPage:
    return EngagedPage(
        rank=rank,
        title=page.title,
        url=page.path,
        url_id=url_id(site_id, page.host, page.path),
        engaged_s=page.engaged_s,
        pageviews=page.pageviews,
    )


def _us(seconds: float) -> int:
    return round(seconds * _SECOND_US)


def _mean_s(seconds: float, count: int) -> float:
    return tenths(_us(seconds), count * _SECOND_US) if count else 0.0
