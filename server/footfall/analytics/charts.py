"""A range of a site's local days in figures: each day, their sums, the top pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from footfall.accounts.model import Site
from footfall.analytics.counts import Counts, total
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


@dataclass(frozen=True, slots=True)
class TopPage:
    """A page by its rank, which begins at 1; unknown texts are ""."""

    rank: int
    title: str
    author: str
    pubdate: str
    #: The path.
    url: str
    url_full: str
    url_id: str
    thumbnail: str
    pageviews: int
    visits: int


@dataclass(frozen=True, slots=True)
class ChartsAnswer:
    """What a range of days had."""

    site: str
    timezone: str
    asked: Asked
    days: DayRange
    #: The days that a range may have.
    limits: DayRange
    search: str
    daily: tuple[DayCount, ...]
    totals: Counts
    top_pages: tuple[TopPage, ...]

    @property
    def pages_per_visitor(self) -> float:
        """Page views a visit, to one decimal; 0 without visits."""
        pageviews, visits = self.totals.pageviews, self.totals.visits
        return tenths(pageviews, visits) if visits else 0.0


class ChartsService:
    """Answers what a site's preset and custom ranges of days had."""

    def __init__(self, history: WebHistory, clock_us: Callable[[], int] = system_us) -> None:
        self._history = history
        self._clock_us = clock_us

    async def answer(self, site: Site, request: RangeRequest, timeout_s: float) -> ChartsAnswer:
        """Return the answer to `request` about the site.

        Raises InvalidInputError (INVALID_PARAMETER) that names the parameter, DeadlineError
        after `timeout_s`, and UnavailableError while the event store does not answer.
        """
        asked, query = plan(site, request, self._clock_us())
        days, history = await read(self._history, asked, query, timeout_s)
        return build(site, asked, days, query.search, history)


def build(site: Site, asked: Asked, days: DayRange, search: str, history: History) -> ChartsAnswer:
    """Return the answer made of the history of `days`."""
    rows = daily(days, history)
    return ChartsAnswer(
        site=site.id,
        timezone=site.timezone,
        asked=asked,
        days=days,
        limits=asked.limits(history.first_day),
        search=search,
        daily=rows,
        totals=total(rows),
        top_pages=tuple(
            _top_page(site.id, rank, page) for rank, page in enumerate(history.pages, start=1)
        ),
    )


def url_id(site_id: str, host: str, path: str) -> str:
    """Return 32 hexadecimal digits that name the page, on every server for ever."""
    return hashlib.blake2b(f"{site_id}\0{host}\0{path}".encode(), digest_size=16).hexdigest()


def _top_page(site_id: str, rank: int, page: PageCount) -> TopPage:
    return TopPage(
        rank=rank,
        title=page.title,
        author=page.author,
        pubdate=page.pubdate,
        url=page.path,
        # A page is the same page over either scheme; nearly all are served over this one.
        url_full=f"https://{page.host}{page.path}",
        url_id=url_id(site_id, page.host, page.path),
        thumbnail=page.og_image,
        pageviews=page.pageviews,
        visits=page.visits,
    )
