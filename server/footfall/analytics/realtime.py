"""The published live answers, made of live counts: ranked, nested, named, in whole percents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from footfall.accounts.model import Site
from footfall.analytics.countries import country_name
from footfall.analytics.days import local_day, utc_text
from footfall.analytics.model import LiveCounts, LivePage, SourceCount
from footfall.analytics.ports import LiveState
from footfall.errors import UnavailableError

_TOP_SOURCES = 5
#: Sites whose last snapshot is kept, in case nothing has changed at the next read.
_MADE_MAX = 256


@dataclass(frozen=True, slots=True)
class SourceChild:
    """A detail of a traffic source: a search engine's host, or a campaign's name."""

    label: str
    count: int


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Where visitors come from; `percent` is the rounded share of the whole it belongs to."""

    medium: str
    source: str
    count: int
    percent: int
    children: tuple[SourceChild, ...]


@dataclass(frozen=True, slots=True)
class RealtimePage:
    """A page with active users; `url` is its path."""

    url: str
    host: str
    title: str
    og_image: str
    realtime_users: int
    pageviews_today: int
    sources: tuple[SourceRow, ...]

    def __hash__(self) -> int:
        # Of what tells pages apart: all sources would cost more than what is looked up by it.
        return hash((self.url, self.realtime_users, self.pageviews_today))


@dataclass(frozen=True, slots=True)
class CountryRow:
    code: str
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class CityRow:
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class RealtimeSnapshot:
    """A site at one moment."""

    site: str
    #: RFC 3339 in UTC, to the second, with +00:00.
    updated_at: str
    window_seconds: int
    total_realtime: int
    total_pageviews_today: int
    total_unique_visitors_today: int
    #: In name order; the counts sum to total_realtime.
    devices: Mapping[str, int]
    top_pages: tuple[RealtimePage, ...]
    countries: tuple[CountryRow, ...]
    cities: tuple[CityRow, ...]
    sources_top5: tuple[SourceRow, ...]


@dataclass(frozen=True, slots=True)
class SourcesAnswer:
    """Every traffic source of the live window."""

    site: str
    updated_at: str
    total_visitors: int
    sources: tuple[SourceRow, ...]


def percent(count: int, whole: int) -> int:
    """Return the share as a whole percentage, halves rounded up; 0 of nothing."""
    return (200 * count + whole) // (2 * whole) if whole else 0


def source_rows(
    counts: Iterable[SourceCount], whole: int, rows_max: int | None = None
) -> tuple[SourceRow, ...]:
    """Return a row a (medium, source), its details nested, by count and then by name.

    `whole` is what the percentages are of; of more than `rows_max` rows, the first are returned.
    """
    sums: dict[tuple[str, str], int] = {}
    detailed = []
    for item in counts:
        key = item.source, item.medium
        sums[key] = sums.get(key, 0) + item.count
        if item.detail:
            detailed.append((key, item))
    ranked = sorted([(-count, key) for key, count in sums.items()])[:rows_max]
    children: dict[tuple[str, str], list[SourceChild]] = {key: [] for _, key in ranked}
    for key, item in detailed:
        if key in children:
            children[key].append(SourceChild(item.detail, item.count))
    return tuple(
        [
            SourceRow(
                medium=key[1],
                source=key[0],
                count=-minus_count,
                percent=percent(-minus_count, whole),
                children=tuple(sorted(children[key], key=_rank)),
            )
            for minus_count, key in ranked
        ]
    )


def _rank(child: SourceChild) -> tuple[int, str]:
    return -child.count, child.label


@lru_cache(maxsize=2048)
def _page(page: LivePage) -> RealtimePage:
    # Most pages are as they were in the read before; the same page is the same object again.
    return RealtimePage(
        url=page.path,
        host=page.host,
        title=page.title,
        og_image=page.og_image,
        realtime_users=page.active,
        pageviews_today=page.pageviews_today,
        sources=source_rows(page.sources, page.active),
    )


def _pages(pages: Sequence[LivePage]) -> tuple[RealtimePage, ...]:
    ranked = sorted(pages, key=lambda page: (-page.active, page.path, page.host))
    return tuple([_page(page) for page in ranked])


@lru_cache(maxsize=16_384)
def _city(name: str, count: int) -> CityRow:
    # Hundreds of rows, nearly all of them as in the read before.
    return CityRow(name, count)


def _cities(counts: Mapping[str, int]) -> tuple[CityRow, ...]:
    names = sorted(counts)
    # Stable, so that equal counts stay in the order of their names.
    names.sort(key=counts.__getitem__, reverse=True)
    return tuple([_city(name, counts[name]) for name in names if name])


def _countries(counts: Mapping[str, int]) -> tuple[CountryRow, ...]:
    rows = (CountryRow(code, country_name(code), count) for code, count in counts.items())
    return tuple(sorted(rows, key=lambda row: (-row.count, row.name, row.code)))


def realtime_snapshot(
    site_id: str, counts: LiveCounts, now_ms: int, window_s: int
) -> RealtimeSnapshot:
    """Return the published form of a site's counts at `now_ms`."""
    return RealtimeSnapshot(
        site=site_id,
        updated_at=utc_text(now_ms * 1000),
        window_seconds=window_s,
        total_realtime=counts.active,
        total_pageviews_today=counts.pageviews_today,
        total_unique_visitors_today=counts.visitors_today,
        devices=dict(sorted(counts.devices.items())),
        top_pages=_pages(counts.pages),
        countries=_countries(counts.countries),
        cities=_cities(counts.cities),
        sources_top5=source_rows(counts.sources, counts.active, _TOP_SOURCES),
    )


def sources_answer(site_id: str, counts: LiveCounts, now_ms: int) -> SourcesAnswer:
    """Return every source of the live window in the published form."""
    total = sum(item.count for item in counts.sources)
    return SourcesAnswer(
        site_id, utc_text(now_ms * 1000), total, source_rows(counts.sources, total)
    )


def _system_ms() -> int:
    return int(time.time() * 1000)


class RealtimeService:
    """Answers what happens on a site now; `window_s` is the length of the live window.

    Watchers get a snapshot at most every `step_s` seconds, and a heartbeat after `heartbeat_s`: a
    little less than the 15 seconds that are promised, for slow paths. Every method raises
    UnavailableError (REDIS_UNAVAILABLE) if live state cannot be had.
    """

    def __init__(
        self,
        live: LiveState,
        window_s: int,
        clock_ms: Callable[[], int] = _system_ms,
        *,
        step_s: float = 1.0,
        heartbeat_s: float = 14.0,
    ) -> None:
        self._live = live
        self._window_s = window_s
        self._clock_ms = clock_ms
        self._step_s = step_s
        self._heartbeat_s = heartbeat_s
        self._watched: dict[str, _Watched] = {}
        #: The last snapshot of a site, and the counts that it was made of; oldest first.
        self._made: dict[str, tuple[LiveCounts, RealtimeSnapshot]] = {}

    async def snapshot(self, site: Site, now_ms: int | None = None) -> RealtimeSnapshot:
        """Return the site's live snapshot, "today" being its local day."""
        now_ms = self._clock_ms() if now_ms is None else now_ms
        counts = await self._counts(site, now_ms)
        made = self._made.get(site.id)
        if made is not None and made[0] is counts:
            return replace(made[1], updated_at=utc_text(now_ms * 1000))
        snapshot = realtime_snapshot(site.id, counts, now_ms, self._window_s)
        self._made.pop(site.id, None)
        self._made[site.id] = counts, snapshot
        if len(self._made) > _MADE_MAX:
            del self._made[next(iter(self._made))]
        return snapshot

    async def sources(self, site: Site, now_ms: int | None = None) -> SourcesAnswer:
        """Return all traffic sources of the site's live window."""
        now_ms = self._clock_ms() if now_ms is None else now_ms
        return sources_answer(site.id, await self._counts(site, now_ms), now_ms)

    async def _counts(self, site: Site, now_ms: int) -> LiveCounts:
        today = local_day(site.timezone, now_ms * 1000)
        return await self._live.snapshot(site.id, now_ms, today)

    async def watch(self, site: Site) -> AsyncIterator[RealtimeSnapshot | None]:
        """Yield the site's snapshot, then a new one when anything but its time has changed, and
        None for a heartbeat.

        All watchers of a site share one read a step. Only the first read can fail the stream:
        later faults of live state are waited out, with heartbeats.
        """
        loop = asyncio.get_running_loop()
        last = await self.snapshot(site)
        spoke = loop.time()
        yield last
        while True:
            await asyncio.sleep(self._step_s)
            try:
                snapshot = await self._shared(site)
            except UnavailableError:
                snapshot = last
            if replace(snapshot, updated_at=last.updated_at) != last:
                last, spoke = snapshot, loop.time()
                yield snapshot
            elif loop.time() - spoke >= self._heartbeat_s - self._step_s:
                spoke = loop.time()
                yield None

    async def _shared(self, site: Site) -> RealtimeSnapshot:
        """Return a snapshot less than a step old, read once for all watchers of the site."""
        loop = asyncio.get_running_loop()
        watched = self._watched.get(site.id)
        if watched is None or loop.time() >= watched.until:
            for site_id in [key for key, old in self._watched.items() if loop.time() >= old.until]:
                del self._watched[site_id]
            read = asyncio.ensure_future(self.snapshot(site))
            watched = self._watched[site.id] = _Watched(read, loop.time() + 0.9 * self._step_s)
        # A watcher that goes away must not take the read from the others.
        return await asyncio.shield(watched.read)


@dataclass(frozen=True, slots=True)
class _Watched:
    read: asyncio.Future[RealtimeSnapshot]
    until: float
