"""From committed batches to live state: in order, each event once, and rebuilt when in doubt."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog

from footfall.analytics.ports import LiveHistory
from footfall.errors import FootfallError, UnavailableError
from footfall.ingest.model import CommitOutcome, EventBatch, EventTable, Removal
from footfall.live.batch import EVENTS_MAX, LiveBatch, live_events
from footfall.live.connection import unavailable
from footfall.live.rebuild import Rebuilder, local_day
from footfall.live.state import Generation, LiveStateStore, MovedOnError

log = structlog.get_logger(__name__)

_CANARY = "ff:live1:canary"
_CANARY_TTL_MS = 50 * 3600 * 1000
_WATCH_S = 1.0
#: How long a read waits for its site to be brought up to date, and for events just acknowledged.
_REBUILD_WAIT_S = 1.0
_EVENTS_WAIT_S = 0.25
#: Events after which the sites whose events were taken are done, whatever else waits.
_TAKE_EVENTS = 5_000
_RETRY_S = 0.1
_RETRY_MAX_S = 0.5
_BUSY_S = 0.05


@dataclass(slots=True)
class _Segment:
    batch: EventBatch
    outcome: CommitOutcome


@dataclass(frozen=True, slots=True)
class _Site:
    """A site whose state this process has brought up to date, and keeps so."""

    generation: Generation
    zone: ZoneInfo


class LivePump:
    """Takes committed web events to live state; the LiveSink of ingest.

    What keeps the state exact:

    - A site's events are applied only after this process has rebuilt its state, or found one that
      another process rebuilt. Events of other sites are dropped, since their rebuild will read
      them from the event store.
    - After a call whose result is unknown, after an overflow of the queue (`events_max`), and when
      Redis has lost the state, the site is rebuilt. So a Redis that is down costs no memory.
    - A rebuild takes the state away from every other process, and contains the batches up to a
      sequence number; the processes go on with the batches after it. With several servers this
      holds as long as sequence numbers come in commit order.
    - A Redis that was restarted or emptied is noticed by its process id on each new connection, by
      the sites' generations on each call, and by a key that is looked at each second.

    Until a site is up to date, `LiveStateStore.snapshot` waits up to a second and then raises
    UnavailableError; for reads in this process, acknowledged events come first.

    `site_zone` returns the IANA time zone of a site, None for one that does not exist. `publish`
    may be called from any thread, everything else from the event loop of `start`.
    """

    def __init__(
        self,
        store: LiveStateStore,
        history: LiveHistory,
        last_seq: Callable[[], Awaitable[int]],
        site_zone: Callable[[str], Awaitable[str | None]],
        *,
        events_max: int = 100_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._site_zone = site_zone
        self._clock = clock
        self._rebuilder = Rebuilder(store, history, last_seq, self._now_ms)
        self._events_max = events_max

        # Shared with the threads that publish.
        self._lock = threading.Lock()
        self._queue: deque[_Segment] = deque()
        self._overflowed: set[str] = set()
        self._events = 0

        self._published = 0
        self._published_of: dict[str, int] = {}

        self._forwarded = 0
        #: By the event loop's clock, when the call began that takes events to Redis now.
        self._applying_since: float | None = None
        self._forwarded_more: asyncio.Future[None] | None = None
        self._sites: dict[str, _Site] = {}
        #: Events of sites that are being brought up to date, which may not contain them.
        self._held: dict[str, list[_Segment]] = {}
        #: Sites to bring up to date; whether a state that another process has rebuilt will do.
        self._wanted: dict[str, bool] = {}
        self._waiters: dict[str, asyncio.Future[None]] = {}
        self._all_stale = True
        self._building = ""
        self._spoilt = False

        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._rebuild_wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    # -- from ingest ------------------------------------------------------------------------------

    def publish(self, batch: EventBatch, outcome: CommitOutcome) -> None:
        """Take a committed batch; returns at once and never fails."""
        if batch.table is not EventTable.WEB_EVENTS or not len(batch):
            return
        with self._lock:
            if self._events + len(batch) > self._events_max:
                self._overflowed.add(batch.tenant_id)
            else:
                self._events += len(batch)
                self._published += 1
                self._published_of[batch.tenant_id] = self._published
                self._queue.append(_Segment(batch, outcome))
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._wake.set)

    def _drop(self, segments: list[_Segment]) -> None:
        with self._lock:
            self._events -= sum(len(segment.batch) for segment in segments)

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to rebuild every site, and to apply events."""
        self._loop = asyncio.get_running_loop()
        self._store.freshness = self
        self._store.redis.on_restart(self._lost_all)
        self._tasks = [
            asyncio.create_task(self._forward_all(), name="live-forward"),
            asyncio.create_task(self._rebuild_all(), name="live-rebuild"),
            asyncio.create_task(self._watch(), name="live-watch"),
        ]
        self._wake.set()

    async def settle(self, timeout_s: float = 5.0) -> bool:
        """Wait until every event published so far is in live state; return whether it is."""
        deadline = time.monotonic() + timeout_s
        while self._unsettled():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    def _unsettled(self) -> bool:
        if self._forwarded < self._published or self._overflowed or self._held:
            return True
        return self._all_stale or bool(self._wanted) or self._building != ""

    async def close(self, timeout_s: float = 2.0) -> None:
        """Apply what waits, for at most `timeout_s` seconds, and stop."""
        await self.settle(timeout_s)
        with self._lock:
            self._loop = None
        pending = set(self._tasks)
        while pending:
            # More than once, since the client's use of wait_for may lose a cancellation.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        for site_id in list(self._waiters):
            self._answer(site_id, unavailable())

    # -- freshness --------------------------------------------------------------------------------

    async def ensure(self, site_id: str) -> None:
        """Return when the site's state is up to date and contains what was acknowledged.

        Raises UnavailableError if it is not up to date within a second, or if Redis does not answer
        the call that takes events to it. Under a load that the events of the site have to queue
        for, they are waited for a quarter of a second.
        """
        try:
            async with asyncio.timeout(_EVENTS_WAIT_S):
                while self._forwarded < self._published_of.get(site_id, 0):
                    await self._next_forwarded()
        except TimeoutError:
            await self._tell_load_from_fault()
        if site_id in self._sites and site_id not in self._held:
            return
        waiter = self._waiters.get(site_id)
        if waiter is None:
            waiter = self._waiters[site_id] = asyncio.get_running_loop().create_future()
            known = site_id in self._sites or site_id == self._building
            if not known and site_id not in self._wanted:
                self._want(site_id, adopt=False)
        try:
            async with asyncio.timeout(_REBUILD_WAIT_S):
                await asyncio.shield(waiter)
        except TimeoutError:
            raise unavailable() from None

    async def _tell_load_from_fault(self) -> None:
        """Raise UnavailableError if one call to Redis has taken longer than reads wait for events:
        then it is not many events that keep them, and state without them would be a wrong answer.
        """
        began = self._applying_since
        if began is not None:
            await asyncio.sleep(began + _EVENTS_WAIT_S - asyncio.get_running_loop().time())
            if self._applying_since == began:
                raise unavailable()

    def lost(self, site_id: str, found: Generation | None) -> None:
        """Take note that the site's state is gone, or another process's (`found`)."""
        self._sites.pop(site_id, None)
        if found is not None:
            # Rebuilding in turn would take it away from the other process, which would do the same.
            self._held.setdefault(site_id, [])
            self._want(site_id, adopt=True)
            return
        self._drop(self._held.pop(site_id, []))
        self._spoilt = self._spoilt or self._building == site_id
        self._want(site_id, adopt=False)

    async def forget(self, removal: Removal) -> None:
        """Take what was removed from the event store out of live state as well.

        Of a site that is gone all is deleted, which may raise UnavailableError. A site that has
        lost a visitor is rebuilt, and reads wait for that. Old days are in no live state.
        """
        site_id = removal.site_id
        if removal.before is not None:
            return
        self.lost(site_id, None)
        if not removal.of_site:
            return
        # Whoever is at it finds out that the state is lost, and then that there is no such site.
        while site_id == self._building:  # noqa: ASYNC110 - it is rare, and another task's variable
            await asyncio.sleep(_BUSY_S)
        await self._store.erase(site_id)

    def _lost_all(self) -> None:
        for segments in self._held.values():
            self._drop(segments)
        self._held.clear()
        self._sites.clear()
        self._spoilt = True
        self._all_stale = True
        self._rebuild_wake.set()

    def _want(self, site_id: str, *, adopt: bool) -> None:
        self._wanted[site_id] = adopt and self._wanted.get(site_id, True)
        self._rebuild_wake.set()

    def _answer(self, site_id: str, error: UnavailableError | None = None) -> None:
        waiter = self._waiters.pop(site_id, None)
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
            waiter.exception()  # nobody may be waiting any more

    async def _next_forwarded(self) -> None:
        if self._forwarded_more is None:
            self._forwarded_more = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._forwarded_more)

    # -- events to state --------------------------------------------------------------------------

    async def _forward_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while True:
                work, position = self._take()
                if not work:
                    break
                for site_id, segments in work.items():
                    await self._forward(site_id, segments)
                    if site_id in self._sites and site_id not in self._held:
                        self._answer(site_id)
                self._forwarded = position
                if self._forwarded_more is not None:
                    self._forwarded_more.set_result(None)
                    self._forwarded_more = None
                # An old log has nothing to apply, and so nothing else to wait for.
                await asyncio.sleep(0)

    def _take(self) -> tuple[dict[str, list[_Segment]], int]:
        """Return the next segments by site, those held for sites that are up to date first."""
        work = {
            site_id: self._held.pop(site_id)
            for site_id in list(self._held)
            if site_id in self._sites
        }
        position, events = self._forwarded, 0
        with self._lock:
            overflowed, self._overflowed = self._overflowed, set()
            while self._queue and events < _TAKE_EVENTS:
                segment = self._queue.popleft()
                work.setdefault(segment.batch.tenant_id, []).append(segment)
                position += 1
                events += len(segment.batch)
        for site_id in overflowed:
            log.warning("live_queue_overflowed", site_id=site_id)
            self.lost(site_id, None)
        return work, position

    async def _forward(self, site_id: str, segments: list[_Segment]) -> None:
        """Apply segments in order; hold or drop those that the site's state cannot take now."""
        site = self._sites.get(site_id)
        if site is None:
            if site_id in self._held:
                self._held[site_id] += segments
                return
            self._drop(segments)
            self._want(site_id, adopt=False)
            return
        now_ms = self._now_ms()
        today = local_day(now_ms, site.zone)
        through = site.generation.through_seq or 0
        gone_ms = now_ms - self._store.window_ms
        batch = LiveBatch(today, gone_ms)
        unfinished = deque(segments)
        try:
            for index, segment in enumerate(segments):
                if segment.outcome.last_seq > through:
                    for event in live_events(segment.batch, segment.outcome.duplicate_rows):
                        batch.add(event)
                        if len(batch) == EVENTS_MAX:
                            await self._apply(site_id, site.generation, batch, now_ms)
                            batch = LiveBatch(today, gone_ms)
                            self._done(unfinished, len(segments) - index)
            if len(batch):
                await self._apply(site_id, site.generation, batch, now_ms)
            self._done(unfinished, 0)
        except MovedOnError as moved:
            self.lost(site_id, moved.found)
            if moved.found is not None:
                self._held[site_id] += unfinished
                return
            self._drop(list(unfinished))
        except Exception as error:
            # Whether the events are in is unknown, so the state is as good as gone.
            if not isinstance(error, UnavailableError):
                log.exception("live_events_not_applied", site_id=site_id)
            self._drop(list(unfinished))
            self.lost(site_id, None)

    async def _apply(
        self, site_id: str, generation: Generation, batch: LiveBatch, now_ms: int
    ) -> None:
        self._applying_since = asyncio.get_running_loop().time()
        try:
            await self._store.apply(site_id, generation, batch, now_ms)
        finally:
            self._applying_since = None

    def _done(self, unfinished: deque[_Segment], left: int) -> None:
        done: list[_Segment] = []
        while len(unfinished) > left:
            done.append(unfinished.popleft())
        self._drop(done)

    # -- rebuilding -------------------------------------------------------------------------------

    async def _rebuild_all(self) -> None:
        failures = 0
        while True:
            site_id = ""
            try:
                if self._all_stale:
                    await self._want_all()
                elif not self._wanted:
                    self._rebuild_wake.clear()
                    await self._rebuild_wake.wait()
                else:
                    site_id = self._most_wanted()
                    if not await self._bring_up_to_date(site_id, self._wanted.pop(site_id)):
                        await asyncio.sleep(_BUSY_S)
                failures = 0
            except Exception as error:
                if not isinstance(error, FootfallError):
                    log.exception("live_rebuild_failed", site_id=site_id)
                if site_id:
                    self.lost(site_id, None)
                for waiting in list(self._waiters):
                    self._answer(waiting, unavailable())
                failures += 1
                await asyncio.sleep(min(_RETRY_S * failures, _RETRY_MAX_S))

    async def _want_all(self) -> None:
        self._all_stale = False
        try:
            for site_id in await self._rebuilder.sites():
                if site_id not in self._sites:
                    self._want(site_id, adopt=False)
        except BaseException:
            self._all_stale = True
            raise

    def _most_wanted(self) -> str:
        """Return a site that a read waits for, or else the one wanted longest."""
        waited_for = (site_id for site_id in self._waiters if site_id in self._wanted)
        return next(waited_for, next(iter(self._wanted)))

    async def _bring_up_to_date(self, site_id: str, adopt: bool) -> bool:
        """Rebuild a site, or take over what another process has rebuilt.

        Returns False, the site being wanted again, while another process is at it or if the state
        was lost on the way.
        """
        self._building, self._spoilt = site_id, False
        self._sites.pop(site_id, None)
        # From here on, the site's events wait for it.
        self._held.setdefault(site_id, [])
        try:
            zone = await self._site_zone(site_id)
            if zone is None:
                self._drop(self._held.pop(site_id, []))
                self._answer(site_id, unavailable())
                return True
            generation = await self._store.generation(site_id) if adopt else None
            if generation is None:
                adopt = False
                generation = await self._rebuilder.rebuild(site_id, ZoneInfo(zone))
        finally:
            self._building = ""
        if self._spoilt:
            self._drop(self._held.pop(site_id, []))
            self._want(site_id, adopt=False)
            return False
        if generation is None or generation.through_seq is None:
            self._want(site_id, adopt=adopt)
            return False
        self._sites[site_id] = _Site(generation, ZoneInfo(zone))
        log.debug("live_site_up_to_date", site_id=site_id, rebuilt=not adopt)
        self._wake.set()
        return True

    async def _watch(self) -> None:
        """Notice that Redis was emptied although no site is asked for."""
        known = b""
        while True:
            with contextlib.suppress(UnavailableError):
                token = secrets.token_hex(8)
                await self._store.redis.command("SET", _CANARY, token, "NX", "PX", _CANARY_TTL_MS)
                found = await self._store.redis.command("GET", _CANARY) or b""
                await self._store.redis.command("PEXPIRE", _CANARY, _CANARY_TTL_MS)
                if known and found != known:
                    log.warning("redis_emptied")
                    self._lost_all()
                known = found
            await asyncio.sleep(_WATCH_S)
