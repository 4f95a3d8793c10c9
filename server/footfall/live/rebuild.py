"""A site's live state made again from its events."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from footfall.analytics.model import LiveEvent
from footfall.analytics.ports import LiveHistory
from footfall.live.batch import (
    DIRECT,
    EVENTS_MAX,
    LiveBatch,
    PresenceRow,
    own_source,
    page_key,
    pieces,
    presence_row,
)
from footfall.live.state import Generation, LiveStateStore

#: A visitor keeps the source of its first page view while it is active, however long that is. The
#: history is read this many live windows back, each step only if the one before left the source of
#: an active visitor open, and was not too large itself.
_LOOKBACK_WINDOWS = (1, 4, 16)
_LOOKBACK_EVENTS_MAX = 100_000

_ROWS_MAX = 1000


def local_day(now_ms: int, zone: ZoneInfo) -> int:
    """Return the zone's local day at a time, in days since the epoch."""
    return datetime.fromtimestamp(now_ms / 1000, zone).toordinal() - 719163


@dataclass(slots=True)
class _Visitor:
    last: LiveEvent
    ts_ms: int
    #: None if no event so far has brought one.
    source: str | None
    #: When the visitor became active.
    since_ms: int


class Replay:
    """Finds who is active and from where, by the rules of `apply.lua`, from events read since
    `since_ms`, in commit order.
    """

    def __init__(self, events: Iterable[LiveEvent], since_ms: int, now_ms: int, window_ms: int):
        visitors: dict[str, _Visitor] = {}
        for event in events:
            ts_ms = min(event.ts_ms, now_ms)
            source = own_source(event) or None
            visitor = visitors.get(event.visitor_id)
            if visitor is None:
                visitors[event.visitor_id] = _Visitor(event, ts_ms, source, ts_ms)
            elif ts_ms >= visitor.ts_ms:
                if ts_ms - visitor.ts_ms >= window_ms:
                    visitor.source, visitor.since_ms = source, ts_ms
                else:
                    visitor.source = source or visitor.source
                visitor.last, visitor.ts_ms = event, ts_ms
        self._active = [v for v in visitors.values() if v.ts_ms > now_ms - window_ms]
        #: Whether an active visitor may have brought a source before the events begin.
        self.open = any(
            v.source is None and v.since_ms - window_ms < since_ms for v in self._active
        )

    def rows(self) -> Iterator[PresenceRow]:
        """Return the last event of every active visitor, with its source."""
        for visitor in self._active:
            yield presence_row(visitor.last, visitor.source or DIRECT)

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Return (page, title, image) of the pages with active visitors."""
        for visitor in self._active:
            last = visitor.last
            yield page_key(last.host, last.path), last.title, last.og_image


class Rebuilder:
    """Rebuilds one site after the other.

    `last_seq` returns the highest sequence number committed so far. Sequence numbers must come in
    commit order over all servers that share the event store and Redis.
    """

    def __init__(
        self,
        store: LiveStateStore,
        history: LiveHistory,
        last_seq: Callable[[], Awaitable[int]],
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._history = history
        self._last_seq = last_seq
        self._now_ms = now_ms

    async def sites(self) -> list[str]:
        """Return the sites that have anything to rebuild: events of a local day that may still be
        today somewhere.
        """
        since_us = (self._now_ms() - 26 * 3600 * 1000) * 1000
        return await self._history.active_sites(since_us, await self._last_seq())

    async def rebuild(self, site_id: str, zone: ZoneInfo) -> Generation | None:
        """Rebuild a site and return its new generation; None while another builder is at it.

        Batches committed up to the generation's `through_seq` are contained, others are not.
        """
        today = local_day(self._now_ms(), zone)
        days = (today, today + 1)
        building = await self._store.begin(site_id, secrets.token_hex(8), days)
        if building is None:
            return None
        # Only now: whatever another server applied before the state was taken away from it had
        # been committed by then, so that this number covers it.
        through = await self._last_seq()

        replay = await self._replay(site_id, through)
        for rows in pieces(replay.rows(), EVENTS_MAX):
            batch = LiveBatch(today)
            batch.presence = rows
            await self._apply(site_id, building, batch)
        for texts in pieces(replay.texts(), _ROWS_MAX):
            batch = LiveBatch(today)
            for page, title, image in texts:
                if title or image:
                    batch.describe(page, title, image)
            await self._apply(site_id, building, batch)
        for day in days:
            await self._rebuild_day(site_id, building, day, through)
        return await self._store.finish(site_id, building, through)

    async def _replay(self, site_id: str, through: int) -> Replay:
        window_ms = self._store.window_ms
        for windows in _LOOKBACK_WINDOWS:
            now_ms = self._now_ms()
            since_ms = now_ms - windows * window_ms
            events = await self._history.recent_events(site_id, since_ms * 1000, through)
            replay = Replay(events, since_ms, now_ms, window_ms)
            if not replay.open or len(events) > _LOOKBACK_EVENTS_MAX:
                break
        return replay

    async def _rebuild_day(
        self, site_id: str, building: Generation, day: int, through: int
    ) -> None:
        for rows in pieces(await self._history.day_pageviews(site_id, day, through), _ROWS_MAX):
            batch = LiveBatch(day)
            counts = batch.day(day)
            for host, path, views in rows:
                page = page_key(host, path)
                counts.pages[page] = counts.pages.get(page, 0) + views
                counts.total += views
            await self._apply(site_id, building, batch)
        for visitors in pieces(await self._history.day_visitors(site_id, day, through), _ROWS_MAX):
            batch = LiveBatch(day)
            batch.day(day).visitors = dict.fromkeys(visitors)
            await self._apply(site_id, building, batch)

    async def _apply(self, site_id: str, building: Generation, batch: LiveBatch) -> None:
        await self._store.apply(site_id, building, batch, self._now_ms())
