"""Live state and rate limits on a real Valkey: `python -m benchmarks.realtime`.

A floor beside each number: a bare PING by the same client on the same connection kind, for a
snapshot; what the client and the server cost together per event or decision is given in CPU time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

import redis as redis_client
import uvloop

from benchmarks.processes import Valkey, valkey
from benchmarks.rpc import AGENTS, Metadata, channel_to, serving
from footfall.accounts.limits import Window
from footfall.analytics.model import LiveEvent
from footfall.live.batch import EVENTS_MAX, LiveBatch, pieces
from footfall.live.connection import RedisConnection
from footfall.live.limiter import RedisRateLimiter
from footfall.live.state import Generation, LiveStateStore
from footfall.v1 import ingest_pb2, realtime_pb2

_DAY = 20_000
_NOON_MS = _DAY * 86_400_000 + 43_200_000
_SITE = "bench"


def origin(dice: random.Random) -> tuple[str, str, str]:
    """Return a source: direct, a search engine of some country, a network, or one of many sites."""
    kind = dice.random()
    if kind < 0.4:
        return "(none)", "(direct)", ""
    if kind < 0.7:
        return "search", "Google Search", f"google.{min(int(dice.expovariate(0.5)), 19)}"
    if kind < 0.9:
        return "social", f"network-{min(int(dice.expovariate(0.7)), 9)}", ""
    return "referral", f"{min(int(dice.expovariate(0.03)), 299)}.example", ""


def visits(
    count: int,
    visitors: int,
    *,
    seed: int,
    at_ms: int = _NOON_MS,
    local_day: int = _DAY,
    host: str = "news.example",
) -> list[LiveEvent]:
    """Return page views of random visitors on some 5,000 pages from some 300 sources."""
    dice = random.Random(seed)
    events = []
    for _ in range(count):
        medium, source, detail = origin(dice)
        event = LiveEvent(
            visitor_id=f"visitor-{dice.randrange(visitors):08}",
            ts_ms=at_ms,
            local_day=local_day,
            pageview=True,
            host=host,
            path=f"/section/{min(int(dice.expovariate(0.002)), 4999)}/a-title-of-usual-length",
            title="",
            og_image="",
            medium=medium,
            source=source,
            detail=detail,
            country=dice.choice(("CH", "DE", "AT", "FR", "US", "IT", "")),
            city=f"city-{min(int(dice.expovariate(0.01)), 799)}",
            device=dice.choice(("mobile", "desktop", "tablet")),
        )
        events.append(event)
    return events


async def open_filled(store: LiveStateStore, visitors: int) -> Generation:
    """Open the site and bring `visitors` of them onto it."""
    building = await store.begin(_SITE, "bench", (_DAY, _DAY + 1))
    generation = building and await store.finish(_SITE, building, 0)
    if generation is None:
        raise RuntimeError("The site is being rebuilt by someone else.")
    for piece in pieces(visits(visitors, 10**9, seed=1), EVENTS_MAX):
        await apply(store, generation, piece)
    return generation


async def apply(
    store: LiveStateStore,
    generation: Generation,
    events: Sequence[LiveEvent],
    site: str = _SITE,
    now_ms: int = _NOON_MS,
) -> None:
    batch = LiveBatch(events[0].local_day)
    for event in events:
        batch.add(event)
    await store.apply(site, generation, batch, now_ms)


async def latencies_ms(call: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """Return the sorted times of calls made one after the other."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        await call()
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times)


def quantiles(times: Sequence[float]) -> str:
    return f"p50 {times[len(times) // 2]:.2f} ms, p99 {times[len(times) * 99 // 100]:.2f} ms"


async def snapshots(server: Valkey, visitors: int = 100_000) -> None:
    """Measure reads of a site with many active visitors, quiet and under writes."""
    redis = RedisConnection(server.url)
    store = LiveStateStore(redis)
    generation = await open_filled(store, visitors)

    async def read() -> None:
        await store.snapshot(_SITE, _NOON_MS, _DAY)

    ping = await latencies_ms(redis.ping, 2000)
    quiet = await latencies_ms(read, 2000)
    before = server.cpu_s()
    await latencies_ms(read, 2000)
    server_us = (server.cpu_s() - before) / 2000 * 1e6
    counts = await store.snapshot(_SITE, _NOON_MS, _DAY)
    rows = sum(len(page.sources) for page in counts.pages)
    print(
        f"snapshot, {counts.active:,} active visitors, {len(counts.cities)} cities, "
        f"{rows:,} sources on {len(counts.pages)} pages: {quantiles(quiet)}"
    )
    print(f"PING: {quantiles(ping)}")
    print(f"snapshot, ratio to PING: {quiet[1000] / ping[1000]:.1f}; Valkey {server_us:.0f} µs")

    batches = [visits(EVENTS_MAX, visitors, seed=seed) for seed in range(2, 12)]
    enough = asyncio.Event()

    async def write() -> None:
        for batch in itertools.cycle(batches):
            if enough.is_set():
                break
            await apply(store, generation, batch)

    writer = asyncio.create_task(write())
    busy = await latencies_ms(read, 1000)
    enough.set()
    await writer
    print(f"snapshot while {EVENTS_MAX} events a call are written: {quantiles(busy)}")
    await redis.aclose()


async def writes(server: Valkey, visitors: int = 100_000) -> None:
    """Measure the cost of an event in calls of several sizes."""
    redis = RedisConnection(server.url)
    store = LiveStateStore(redis)
    generation = await open_filled(store, visitors)
    for size in (1, 20, EVENTS_MAX):
        groups = list(pieces(visits(max(40 * size, 2000), visitors, seed=size), size))
        count = sum(map(len, groups))
        client, before, start = time.process_time(), server.cpu_s(), time.perf_counter()
        for group in groups:
            await apply(store, generation, group)
        wall = (time.perf_counter() - start) / count * 1e6
        client = (time.process_time() - client) / count * 1e6
        used = (server.cpu_s() - before) / count * 1e6
        print(
            f"apply, {size} events a call: {wall:.1f} µs an event "
            f"(CPU: {client:.1f} here, {used:.1f} in Valkey)"
        )
    await redis.aclose()


async def limits(server: Valkey, callers: int = 64, calls: int = 400) -> None:
    """Measure decisions by many callers at once, and by one."""
    redis = RedisConnection(server.url)
    limiter = RedisRateLimiter(redis)

    async def caller(number: int, count: int) -> None:
        windows = (Window(f"site:{number}", 10**9, 60),)
        for _ in range(count):
            await limiter.decide(windows)

    for crowd in (1, callers):
        await asyncio.gather(*(caller(number, 20) for number in range(crowd)))
        count = crowd * calls
        cpu, before, start = time.process_time(), server.cpu_s(), time.perf_counter()
        await asyncio.gather(*(caller(number, calls) for number in range(crowd)))
        wall = (time.perf_counter() - start) / count * 1e6
        cpu = (time.process_time() - cpu) / count * 1e6
        used = (server.cpu_s() - before) / count * 1e6
        print(
            f"rate limit, {crowd} callers: {wall:.0f} µs a decision "
            f"(CPU: {cpu:.0f} here, {used:.0f} in Valkey)"
        )
    await redis.aclose()


@dataclass(frozen=True)
class Reads:
    """What calls cost, one after the other: milliseconds of time, and of the CPUs for each call."""

    name: str
    times_ms: Sequence[float]
    server_ms: float
    valkey_ms: float

    def __str__(self) -> str:
        return (
            f"{self.name}: {quantiles(self.times_ms)} "
            f"(CPU: server {self.server_ms:.2f} ms a call, Valkey {self.valkey_ms:.2f} ms)"
        )


def _page_view(event: LiveEvent, site: str) -> bytes:
    """Return the event as a message of a client."""
    query = "" if event.medium == "(none)" else f"?utm_medium={event.medium}&utm_source="
    view = ingest_pb2.WebEvent(
        url=f"https://{event.host}{event.path}{query}{event.source if query else ''}",
        visitor_id=event.visitor_id,
        user_agent=AGENTS[0],
        country=event.country,
        city=event.city,
    )
    return ingest_pb2.IngestWebEventsRequest(site=site, events=[view]).SerializeToString()


async def measure_snapshot(
    visitors: int = 100_000, calls: int = 1500, views_s: int = 100
) -> list[Reads]:
    """Measure GetRealtime of a busy site by gRPC: quiet, and while page views are written.

    The server reads the state that it would have had after as many page views of its own.
    """
    with serving() as server:
        url = server.environ["FOOTFALL_REDIS_URL"]
        valkey_info = redis_client.Redis.from_url(url)
        async with channel_to(server.target) as channel:
            get = channel.unary_unary(
                "/footfall.v1.RealtimeService/GetRealtime",
                response_deserializer=realtime_pb2.RealtimeSnapshot.FromString,
            )
            ingest = channel.unary_unary("/footfall.v1.IngestService/IngestWebEvents")
            request = realtime_pb2.GetRealtimeRequest(site=server.site).SerializeToString()

            async def read() -> realtime_pb2.RealtimeSnapshot:
                return await get(request, metadata=server.key)

            def valkey_s() -> float:
                used = valkey_info.info("cpu")
                return float(used["used_cpu_user"] + used["used_cpu_sys"])

            async def measured(name: str) -> Reads:
                cpu, valkey_cpu = server.cpu_s(), valkey_s()
                times = await latencies_ms(read, calls)
                cpu, valkey_cpu = server.cpu_s() - cpu, valkey_s() - valkey_cpu
                return Reads(name, times, 1000 * cpu / calls, 1000 * valkey_cpu / calls)

            # The first read makes the server open the site's state.
            await read()
            now_ms = int(time.time() * 1000)
            local = datetime.fromtimestamp(now_ms / 1000, ZoneInfo("Europe/Zurich"))
            some_visits = partial(
                visits,
                visitors=10**9,
                at_ms=now_ms,
                local_day=local.toordinal() - 719163,
                host=server.host,
            )
            redis = RedisConnection(url)
            store = LiveStateStore(redis)
            generation = await store.generation(server.site)
            assert generation is not None
            for piece in pieces(some_visits(visitors, seed=1), EVENTS_MAX):
                await apply(store, generation, piece, server.site, now_ms)
            await redis.aclose()
            await latencies_ms(read, calls // 10)

            snapshot = await read()
            rows = sum(len(page.sources) for page in snapshot.top_pages)
            what = (
                f"GetRealtime, {snapshot.total_realtime:,} active visitors, "
                f"{len(snapshot.cities)} cities, {rows:,} sources on {len(snapshot.top_pages)} "
                f"pages, {snapshot.ByteSize() // 1024} KiB"
            )
            quiet = await measured(what)

            messages = [
                _page_view(event, server.site) for event in some_visits(100 * views_s, seed=2)
            ]
            writer = asyncio.create_task(_send(ingest, messages, server.key, views_s))
            busy = await measured(f"the same while {views_s} page views a second are written")
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        valkey_info.close()
    return [quiet, busy]


async def _send(
    call: Callable[..., Awaitable[bytes]], messages: Sequence[bytes], key: Metadata, rate: int
) -> None:
    """Send `rate` messages a second at random moments until cancelled."""
    dice = random.Random(3)

    async def send(message: bytes) -> None:
        await call(message, metadata=key)

    at = time.perf_counter()
    async with asyncio.TaskGroup() as writes:
        for message in messages:
            at += dice.expovariate(rate)
            await asyncio.sleep(at - time.perf_counter())
            writes.create_task(send(message))


async def by_grpc() -> None:
    for reads in await measure_snapshot():
        print(reads, flush=True)


def main() -> None:
    """Measure by gRPC and, unless the command line says `grpc`, what lies below it."""
    uvloop.run(by_grpc())
    if sys.argv[1:] == ["grpc"]:
        return
    for measure in (snapshots, writes, limits):
        with valkey() as server:
            uvloop.run(measure(server))


if __name__ == "__main__":
    main()
