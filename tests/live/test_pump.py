"""Committed batches to live state, through overflows, restarts and a second server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from footfall.analytics.model import LiveCounts, LiveEvent
from footfall.errors import UnavailableError
from footfall.ingest.model import CommitOutcome, EventBatch, EventTable, Page, WebEventKind
from footfall.live.connection import RedisConnection
from footfall.live.pump import LivePump
from footfall.live.state import LiveStateStore
from tests.live.conftest import Valkey
from tests.live.recount import DAY, NOON_MS, WINDOW_MS, Recount, in_order, random_event, view


@dataclass
class Events:
    """An event store in memory: gives out sequence numbers and answers as LiveHistory does."""

    rows: list[tuple[int, str, LiveEvent]] = field(default_factory=list)
    seq: int = 0
    down: bool = False
    #: Reads that wait for this are how a test gets in between.
    gate: asyncio.Event | None = None
    reads: int = 0

    async def _read(self) -> None:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise UnavailableError("The event store does not answer.")

    async def last_seq(self) -> int:
        if self.down:
            raise UnavailableError("The event store does not answer.")
        return self.seq

    async def active_sites(self, since_us: int, through_seq: int) -> list[str]:
        await self._read()
        return sorted(
            {
                site
                for seq, site, event in self.rows
                if seq <= through_seq and event.ts_ms * 1000 >= since_us
            }
        )

    def _of(self, site_id: str, through_seq: int) -> list[LiveEvent]:
        return [e for seq, site, e in self.rows if site == site_id and seq <= through_seq]

    async def recent_events(
        self, site_id: str, since_us: int, through_seq: int
    ) -> Sequence[LiveEvent]:
        await self._read()
        events = self._of(site_id, through_seq)
        texts: dict[tuple[str, str], tuple[str, str]] = {}
        for event in events:
            title, image = texts.get((event.host, event.path), ("", ""))
            texts[event.host, event.path] = event.title or title, event.og_image or image
        return [
            replace(
                event,
                title=texts[event.host, event.path][0],
                og_image=texts[event.host, event.path][1],
            )
            for event in events
            if event.ts_ms * 1000 >= since_us
        ]

    async def day_pageviews(
        self, site_id: str, local_day: int, through_seq: int
    ) -> Sequence[tuple[str, str, int]]:
        await self._read()
        counts: dict[tuple[str, str], int] = {}
        for event in self._of(site_id, through_seq):
            if event.pageview and event.local_day == local_day:
                counts[event.host, event.path] = counts.get((event.host, event.path), 0) + 1
        return [(host, path, count) for (host, path), count in counts.items()]

    async def day_visitors(self, site_id: str, local_day: int, through_seq: int) -> Sequence[str]:
        await self._read()
        return sorted(
            {
                event.visitor_id
                for event in self._of(site_id, through_seq)
                if event.pageview and event.local_day == local_day
            }
        )


def as_batch(
    site_id: str, events: Sequence[LiveEvent], seq: int, now_ms: int
) -> tuple[EventBatch, CommitOutcome]:
    """Return events as ingest commits them, with a duplicate, a bot and a custom event between."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            *("kind", "excluded", "visitor_id", "ts_us", "local_day", "page_id", "medium"),
            *("source", "source_detail", "country", "city", "device"),
        )
    }
    pages: dict[int, Page] = {}
    duplicates: list[int] = []

    def add(event: LiveEvent, kind: WebEventKind, excluded: int = 0) -> None:
        page_id = hash((event.host, event.path))
        known = pages.get(page_id)
        pages[page_id] = Page(
            site_id=site_id,
            host=event.host,
            path=event.path,
            title=event.title or (known.title if known else ""),
            author="",
            pubdate="",
            og_image=event.og_image or (known.og_image if known else ""),
        )
        row = {
            "kind": int(kind),
            "excluded": excluded,
            "visitor_id": event.visitor_id,
            "ts_us": event.ts_ms * 1000 + 999,
            "local_day": event.local_day,
            "page_id": page_id,
            "medium": event.medium,
            "source": event.source,
            "source_detail": event.detail,
            "country": event.country,
            "city": event.city,
            "device": event.device,
        }
        for name, value in row.items():
            columns[name].append(value)

    noise = view("nobody", now_ms)
    for index, event in enumerate(events):
        if index == 0:
            add(noise, WebEventKind.PAGEVIEW, excluded=1)
            add(noise, WebEventKind.CUSTOM)
            duplicates.append(len(columns["kind"]))
            add(noise, WebEventKind.PAGEVIEW)
        add(event, WebEventKind.PAGEVIEW if event.pageview else WebEventKind.HEARTBEAT)
    batch = EventBatch(
        table=EventTable.WEB_EVENTS,
        tenant_id=site_id,
        received_us=now_ms * 1000 + 999,
        columns=columns,
        dedup_keys=[bytes(16)] * len(columns["kind"]),
        pages=pages,
    )
    return batch, CommitOutcome(duplicates, seq)


class World:
    """Sites, their events, and the servers that take them to one Redis, on one clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.events = Events()
        self.now_ms = NOON_MS
        self.recounts: dict[str, Recount] = {}

    @asynccontextmanager
    async def server(self, **options: Any) -> AsyncIterator[Server]:
        connection = RedisConnection(self.url)
        store = LiveStateStore(connection, WINDOW_MS // 1000)

        async def zone(site_id: str) -> str | None:
            return "Etc/UTC" if site_id in self.recounts else None

        pump = LivePump(
            store,
            self.events,
            self.events.last_seq,
            zone,
            clock=lambda: self.now_ms / 1000,
            **options,
        )
        pump.start()
        try:
            yield Server(self, store, pump)
        finally:
            await pump.close(timeout_s=0)
            await connection.aclose()

    def commit(self, site_id: str, events: Sequence[LiveEvent]) -> int:
        """Store events without telling live state of them, as a server that dies right then."""
        self.events.seq += len(events)
        self.events.rows += [(self.events.seq, site_id, event) for event in events]
        self.recounts.setdefault(site_id, Recount()).add(events, self.now_ms)
        return self.events.seq


@dataclass
class Server:
    world: World
    store: LiveStateStore
    pump: LivePump

    def ingest(self, site_id: str, events: Sequence[LiveEvent]) -> None:
        seq = self.world.commit(site_id, events)
        self.pump.publish(*as_batch(site_id, events, seq, self.world.now_ms))

    async def snapshot(self, site_id: str) -> LiveCounts:
        return await self.store.snapshot(site_id, self.world.now_ms, DAY)

    async def check(self, site_id: str) -> None:
        wanted = self.world.recounts.setdefault(site_id, Recount()).counts(self.world.now_ms)
        assert in_order(await self.snapshot(site_id)) == in_order(wanted)

    async def becomes_right(self, site_id: str) -> None:
        """Wait for the counts, and accept nothing but right ones and UNAVAILABLE on the way."""
        deadline = time.monotonic() + 10
        while True:
            try:
                await self.check(site_id)
            except UnavailableError:
                assert time.monotonic() < deadline, "live state does not come back"
                await asyncio.sleep(0.02)
            else:
                return


@pytest.fixture
def world(valkey: Valkey) -> World:
    return World(valkey.url)


def burst(world: World, dice: random.Random, count: int) -> list[LiveEvent]:
    """Return events that arrive now, none of them ahead of its time or late by a window.

    A rebuild knows when an event happened, not when it arrived, so only such events have one
    right outcome.
    """
    events = [random_event(dice, world.now_ms, 50) for _ in range(count)]
    return [replace(e, ts_ms=min(max(e.ts_ms, world.now_ms - 3000), world.now_ms)) for e in events]


async def test_acknowledged_events_are_in_the_next_read(world: World, site_id: str) -> None:
    dice = random.Random(1)
    async with world.server() as server:
        await server.check(site_id)
        for _ in range(40):
            world.now_ms += 5_000
            server.ingest(site_id, burst(world, dice, dice.choice((1, 3, 700))))
            await server.check(site_id)


async def test_events_are_applied_without_a_read(
    world: World, site_id: str, valkey: Valkey
) -> None:
    async with world.server() as server:
        server.ingest(site_id, [view("a", world.now_ms)])
        assert await server.pump.settle()
        server.ingest(site_id, [view("b", world.now_ms)])
        assert await server.pump.settle()
        with valkey.client() as client:
            assert client.zcard(f"ff:live1:{{{site_id}}}:seen") == 2


async def test_old_and_late_events_count_where_they_belong(world: World, site_id: str) -> None:
    hour_ms = 3_600_000
    async with world.server() as server:
        await server.check(site_id)
        server.ingest(
            site_id,
            [
                view("late", world.now_ms - 2 * hour_ms, path="/late", title="Late"),
                view("now", world.now_ms, path="/late"),
                *(view(f"old{n}", world.now_ms - 9000 * hour_ms) for n in range(12_000)),
                view("yesterday", world.now_ms - 24 * hour_ms),
                view("gone", world.now_ms - WINDOW_MS),
                view("nearly", world.now_ms - WINDOW_MS + 1),
            ],
        )
        await server.check(site_id)
        counts = await server.snapshot(site_id)
        assert (counts.active, counts.pageviews_today, counts.visitors_today) == (2, 4, 4)
        assert [page.title for page in counts.pages] == ["", "Late"]


async def test_a_start_rebuilds_what_the_last_server_left_out(world: World, site_id: str) -> None:
    dice = random.Random(2)
    async with world.server() as server:
        for _ in range(10):
            world.now_ms += 10_000
            server.ingest(site_id, burst(world, dice, 30))
        await server.check(site_id)
    world.commit(site_id, burst(world, dice, 30))
    async with world.server() as server:
        await server.check(site_id)


async def test_the_source_of_a_long_stay_survives_a_rebuild(world: World, site_id: str) -> None:
    world.commit(site_id, [view("a", world.now_ms, medium="social", source="x")])
    for _ in range(30):
        world.now_ms += 120_000
        world.commit(site_id, [view("a", world.now_ms, pageview=False)])
    async with world.server() as server:
        await server.check(site_id)
        assert [s.source for s in (await server.snapshot(site_id)).sources] == ["x"]


async def test_many_visitors_and_pages_survive_a_rebuild(world: World, site_id: str) -> None:
    events = [
        view(f"v{n}", world.now_ms, path=f"/{n % 1500}", title=f"T{n % 1500}", city=str(n % 9))
        for n in range(2600)
    ]
    world.commit(site_id, events)
    async with world.server() as server:
        await server.check(site_id)


async def test_events_committed_during_a_rebuild_count_once(world: World, site_id: str) -> None:
    dice = random.Random(3)
    world.events.gate = asyncio.Event()
    async with world.server() as server:
        for turn in range(20):
            server.ingest(site_id, burst(world, dice, 10))
            if turn % 4 == 3:
                # Let exactly the next read of the event store go on.
                gate, world.events.gate = world.events.gate, asyncio.Event()
                gate.set()
                await asyncio.sleep(0.01)
        world.events.gate.set()
        await server.becomes_right(site_id)


async def test_a_read_during_a_rebuild_is_refused(world: World, site_id: str) -> None:
    world.commit(site_id, [view("a", world.now_ms)])
    world.events.gate = asyncio.Event()
    async with world.server() as server:
        with pytest.raises(UnavailableError) as refused:
            await server.snapshot(site_id)
        assert refused.value.reason == "REDIS_UNAVAILABLE"
        world.events.gate.set()
        await server.becomes_right(site_id)


async def test_an_event_store_that_is_down_is_waited_for(world: World, site_id: str) -> None:
    world.commit(site_id, [view("a", world.now_ms)])
    world.events.down = True
    async with world.server() as server:
        with pytest.raises(UnavailableError):
            await server.snapshot(site_id)
        world.events.down = False
        await server.becomes_right(site_id)


async def test_a_full_queue_costs_a_rebuild_and_no_event(world: World, site_id: str) -> None:
    dice = random.Random(4)
    async with world.server(events_max=100) as server:
        await server.check(site_id)
        reads = world.events.reads
        for _ in range(30):
            server.ingest(site_id, burst(world, dice, 20))
        await server.becomes_right(site_id)
        assert world.events.reads > reads
        server.ingest(site_id, burst(world, dice, 20))
        await server.check(site_id)


async def test_a_site_that_does_not_exist(world: World) -> None:
    async with world.server() as server:
        server.pump.publish(*as_batch("nowhere", [view("a", world.now_ms)], 1, world.now_ms))
        with pytest.raises(UnavailableError):
            await server.snapshot("nowhere")
        assert await server.pump.settle()


async def test_publishing_from_a_thread(world: World, site_id: str) -> None:
    dice = random.Random(5)
    async with world.server() as server:
        batches = [burst(world, dice, 5) for _ in range(50)]

        def writer() -> None:
            for batch in batches:
                server.ingest(site_id, batch)

        await asyncio.to_thread(writer)
        await server.check(site_id)


async def outage(
    server: Server, site_id: str, dice: random.Random, during: Callable[[], None]
) -> None:
    """Ingest before, while and after something happens to Redis."""
    for _ in range(5):
        server.world.now_ms += 1000
        server.ingest(site_id, burst(server.world, dice, 20))
        await server.check(site_id)
    during()
    for _ in range(5):
        server.world.now_ms += 1000
        server.ingest(site_id, burst(server.world, dice, 20))
        await asyncio.sleep(0.01)


async def test_a_read_does_not_pass_by_events_that_redis_hangs_with(
    world: World, site_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.server() as server:
        await server.check(site_id)
        gate, store = asyncio.Event(), server.pump._store
        apply = store.apply

        async def hang(*batch: Any) -> None:
            await gate.wait()
            await apply(*batch)

        monkeypatch.setattr(store, "apply", hang)
        server.ingest(site_id, [view("a", world.now_ms)])
        with pytest.raises(UnavailableError) as refused:
            await server.snapshot(site_id)
        assert refused.value.reason == "REDIS_UNAVAILABLE"
        gate.set()
        await server.check(site_id)


async def test_redis_killed_and_back(own_valkey: Valkey) -> None:
    world, dice = World(own_valkey.url), random.Random(6)
    async with world.server() as server:
        await outage(server, "a", dice, own_valkey.kill)
        with pytest.raises(UnavailableError) as refused:
            await server.snapshot("a")
        assert refused.value.reason == "REDIS_UNAVAILABLE"
        server.ingest("b", burst(world, dice, 20))
        own_valkey.start()
        await server.becomes_right("a")
        await server.becomes_right("b")
        server.ingest("a", burst(world, dice, 20))
        await server.check("a")


async def test_redis_back_with_an_old_dump(own_valkey: Valkey) -> None:
    world, dice = World(own_valkey.url), random.Random(7)
    async with world.server() as server:
        server.ingest("a", burst(world, dice, 20))
        await server.check("a")
        with own_valkey.client() as client:
            client.save()

        def restart() -> None:
            own_valkey.kill()
            own_valkey.start()

        await outage(server, "a", dice, restart)
        await server.becomes_right("a")


async def test_redis_emptied(own_valkey: Valkey) -> None:
    world, dice = World(own_valkey.url), random.Random(8)
    async with world.server() as server:

        def empty() -> None:
            with own_valkey.client() as client:
                client.flushall()

        await outage(server, "a", dice, empty)
        await server.becomes_right("a")


async def test_redis_emptied_while_nobody_reads_or_writes(own_valkey: Valkey) -> None:
    world = World(own_valkey.url)
    async with world.server() as server:
        server.ingest("a", [view("x", world.now_ms)])
        await server.check("a")
        await asyncio.sleep(1.2)
        with own_valkey.client() as client:
            client.flushall()
            deadline = time.monotonic() + 10
            while client.zcard("ff:live1:{a}:seen") != 1:
                assert time.monotonic() < deadline, "nobody noticed"
                await asyncio.sleep(0.05)
        await server.check("a")


async def test_two_servers_on_one_redis(world: World, site_id: str) -> None:
    """Batches of two servers reach Redis in any order. What has one right outcome all the same are
    visitors who meet one server only, and pages that are called the same by everybody.
    """
    dice = random.Random(9)

    def ingest(server: Server) -> None:
        events = burst(world, dice, 20)
        mine = "first" if server is first else "second"
        server.ingest(
            site_id,
            [
                replace(
                    e, visitor_id=f"{mine}-{e.visitor_id}", title=f"Title of {e.path}", og_image=""
                )
                for e in events
            ],
        )

    async with world.server() as first:
        for _ in range(5):
            ingest(first)
        await first.check(site_id)
        async with world.server() as second:
            for _ in range(30):
                world.now_ms += 1000
                ingest(dice.choice((first, second)))
                await asyncio.sleep(dice.choice((0, 0.005)))
            assert await first.pump.settle()
            assert await second.pump.settle()
            await second.becomes_right(site_id)
            await first.becomes_right(site_id)
            # Neither takes the state away from the other again.
            reads = world.events.reads
            ingest(first)
            assert await first.pump.settle()
            ingest(second)
            assert await second.pump.settle()
            await first.check(site_id)
            await second.check(site_id)
            assert world.events.reads == reads
