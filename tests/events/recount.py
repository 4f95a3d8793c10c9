"""A site's history counted again in plain Python, from everything that was ever sent of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from footfall.analytics.model import (
    DayCount,
    History,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
    SlotCount,
)
from footfall.ingest.model import Exclusion, Page, WebEventKind
from tests.events.traffic import MINUTE, SECOND

GAP = 30 * MINUTE
SLOT = 15 * MINUTE
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sent:
    """An event as it was stored."""

    visitor: str
    ts_us: int
    path: str
    kind: int = WebEventKind.PAGEVIEW
    excluded: int = Exclusion.NONE
    engaged_s: float = 0.0


@dataclass
class _Sums:
    pageviews: int = 0
    visits: int = 0
    engaged_us: int = 0

    @property
    def engaged_s(self) -> float:
        return self.engaged_us / 1_000_000


class Recount:
    """What is counted of one site, worked out from nothing but its events, by definition."""

    def __init__(self, site_id: str, timezone: str = "UTC") -> None:
        self.site_id = site_id
        self.zone = ZoneInfo(timezone)
        self.events: list[Sent] = []
        self.pages: dict[str, Page] = {}

    def local_day(self, ts_us: int) -> int:
        """Return the day on the calendar of somebody at the site's place."""
        moment = datetime.fromtimestamp(ts_us // SECOND, self.zone)
        return moment.date().toordinal() - _EPOCH.toordinal()

    def add(self, events: Iterable[Sent], pages: Iterable[Page] = ()) -> None:
        """Take events in the order of storing, and what was said of their pages."""
        self.events += events
        for page in pages:
            known = self.pages.get(page.path, page)
            self.pages[page.path] = replace(
                page,
                title=page.title or known.title,
                author=page.author or known.author,
            )

    def starts(self) -> set[int]:
        """Return the places of the page views that start visits."""
        by_visitor = defaultdict(list)
        for place, event in enumerate(self.events):
            if event.kind == WebEventKind.PAGEVIEW and event.excluded == Exclusion.NONE:
                by_visitor[event.visitor].append((event.ts_us, place))
        found = set()
        for views in by_visitor.values():
            before_us = -math.inf
            for ts_us, place in sorted(views):
                if ts_us - before_us >= GAP:
                    found.add(place)
                before_us = ts_us
        return found

    def history(self, query: HistoryQuery) -> History:
        """Return what WebHistory.history is to return."""
        days, pages = defaultdict(_Sums), defaultdict(_Sums)
        first_day = None
        for event, visit in self._counted():
            day = self.local_day(event.ts_us)
            if event.kind == WebEventKind.PAGEVIEW:
                first_day = day if first_day is None else min(day, first_day)
            if query.first_day <= day <= query.last_day:
                for sums in (days[day], pages[event.path]):
                    _add(sums, event, visit)
        wanted = query.search.casefold()
        ranked = [
            self._page_count(path, sums)
            for path, sums in pages.items()
            if getattr(sums, query.rank_by) > 0 and wanted in self._text(path)
        ]
        ranked.sort(key=lambda page: (-getattr(page, query.rank_by), page.path))
        return History(
            first_day,
            [
                DayCount(day, sums.pageviews, sums.visits, sums.engaged_s)
                for day, sums in sorted(days.items())
                if sums != _Sums()
            ],
            ranked[: query.pages_max],
        )

    def pace(self, query: PaceQuery) -> PaceCounts:
        """Return what WebHistory.pace is to return."""
        slots: Mapping[tuple[int, int], _Sums] = defaultdict(_Sums)
        before = _Sums()
        for event, visit in self._counted():
            day = self.local_day(event.ts_us)
            if query.local_day - 1 <= day <= query.local_day:
                _add(slots[day, event.ts_us - event.ts_us % SLOT], event, visit)
            if day == query.local_day - 1 and event.ts_us < query.before_us:
                _add(before, event, visit)
        return PaceCounts(
            [
                SlotCount(day, slot_us, sums.pageviews, sums.visits)
                for (day, slot_us), sums in sorted(slots.items())
                if sums.pageviews
            ],
            before.pageviews,
            before.visits,
        )

    def _counted(self) -> Sequence[tuple[Sent, bool]]:
        starts = self.starts()
        return [
            (event, place in starts)
            for place, event in enumerate(self.events)
            if event.excluded == Exclusion.NONE and event.kind != WebEventKind.CUSTOM
        ]

    def _page_count(self, path: str, sums: _Sums) -> PageCount:
        page = self.pages[path]
        return PageCount(
            page.host,
            path,
            page.title,
            page.author,
            page.pubdate,
            page.og_image,
            sums.pageviews,
            sums.visits,
            sums.engaged_s,
        )

    def _text(self, path: str) -> str:
        page = self.pages[path]
        return f"{page.host}{path}\n{page.title}\n{page.author}".casefold()


def _add(sums: _Sums, event: Sent, visit: bool) -> None:
    sums.pageviews += event.kind == WebEventKind.PAGEVIEW
    sums.visits += visit
    if event.kind == WebEventKind.HEARTBEAT:
        sums.engaged_us += math.floor(event.engaged_s * 1_000_000 + 0.5)
