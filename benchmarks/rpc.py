"""The gRPC server against floors of the same run: a bare echo server, a raw append, the engine.

The server is a process of its own, the client is this one; both share the machine's cores, as the
floors' do. Requests are serialised before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import grpc
import uvloop

from benchmarks.data import api_batch, web_batch
from benchmarks.processes import cpu_s, valkey
from benchmarks.writer import raw_append
from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.sql import open_account_store
from footfall.analytics.timeseries import TimeseriesRequest, plan
from footfall.events import statements
from footfall.events.duckdb.sql import compile_sql
from footfall.ingest.model import EventBatch, EventTable
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import realtime_pb2, timeseries_pb2

CALLERS = 64
START_S = 30.0

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A subject's rate beside its floor's, in the same unit."""

    name: str
    unit: str
    subject: float
    floor: float
    #: The share of the floor that is to be reached.
    target: float

    @property
    def share(self) -> float:
        return self.subject / self.floor

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.subject:,.0f} {self.unit}, floor {self.floor:,.0f}, "
            f"ratio {self.share:.2f} (target {self.target:g})"
        )


@dataclass
class Server:
    """A server that runs, and what was created in it."""

    data: Path
    command: Sequence[str]
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    target: str = ""
    app: str = ""
    writes: Metadata = ()
    reads: Metadata = ()
    site: str = ""
    host: str = "bench.example.com"
    key: Metadata = field(default=())

    def start(self) -> None:
        """Start the process and wait until it serves."""
        self.process = subprocess.Popen(self.command, env=self.environ)
        announcement = self.data / "run" / "server.json"
        deadline = time.monotonic() + START_S
        while not announcement.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("The server does not start.")
            time.sleep(0.02)
        self.target = json.loads(announcement.read_text())["grpc"]

    def stop(self) -> None:
        """End the process, which closes its stores."""
        self.process.terminate()
        self.process.wait()

    def cpu_s(self) -> float:
        """CPU time that the server has used, in seconds."""
        return cpu_s(self.process.pid)


#: The same server, but each request is a commit of its own.
UNCOALESCED = """
import functools, footfall.app
from footfall.cli import main
committer = footfall.app.GroupCommitter
footfall.app.GroupCommitter = functools.partial(committer, commit_rows_max=1)
main(["serve"])
"""


@contextmanager
def serving(program: Sequence[str] = ("-m", "footfall", "serve")) -> Iterator[Server]:
    """Run Valkey and a server on an empty data directory."""
    with valkey() as live, tempfile.TemporaryDirectory(prefix="ffb") as folder:
        data = Path(folder) / "data"
        environ = os.environ | {
            "FOOTFALL_DATA": str(data),
            "FOOTFALL_REDIS_URL": live.url,
            "FOOTFALL_GRPC_LISTEN": "127.0.0.1:0",
            "FOOTFALL_METRICS_LISTEN": "127.0.0.1:0",
            "FOOTFALL_LOG_LEVEL": "error",
        }
        server = Server(data, (sys.executable, *program), environ)
        try:
            server.start()
            _create(server)
            yield server
        finally:
            server.stop()


def _create(server: Server) -> None:
    """Create an account whose limits do not get into the way of a benchmark."""
    with sqlite3.connect(server.data / "accounts.sqlite") as database:
        database.execute(
            "UPDATE plans SET site_requests_per_minute = 100000000,"
            " application_reads_per_10s = 100000000"
        )
    store = open_account_store(f"sqlite:///{server.data / 'accounts.sqlite'}")
    manager = AccountManager(store)
    account = manager.create_account("bench", "scale").id
    app = manager.create_application(account, "bench")
    site = manager.create_site(account, server.host, "Europe/Zurich", public=False)
    key = manager.create_key(
        account, kind=KeyKind.NM, site_ids=[site.id], scopes=[Scope.READ, Scope.WRITE]
    )
    store.close()
    server.app = app.application.id
    server.writes = (("x-auth-user", server.app), ("x-auth-key", app.write_key))
    server.reads = (("x-auth-user", server.app), ("x-auth-key", app.read_key))
    server.site = site.id
    server.key = (("authorization", f"Bearer {key.text}"),)


ECHO = """
import asyncio, sys, grpc, uvloop
async def echo(request, context):
    return request
async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo, None, None)
    server.add_registered_method_handlers("bench.Echo", {"Echo": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()
uvloop.run(main())
"""


@contextmanager
def echoing() -> Iterator[str]:
    """Run a bare grpc.aio server that answers what it is asked."""
    process = subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def channel_to(target: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(target) as channel:
        await channel.channel_ready()
        yield channel


async def drive(
    call: Callable[[bytes], Awaitable[bytes]], requests: Sequence[bytes], callers: int = CALLERS
) -> float:
    """Return the seconds that so many callers take for all requests."""
    queue = iter(requests)

    async def caller() -> None:
        for request in queue:
            await call(request)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return time.perf_counter() - started


async def measure_unary(server: Server, calls: int = 6_000, rounds: int = 3) -> Measurement:
    """An authenticated, rate-limited call that reads live state, against an echo."""
    request = realtime_pb2.GetSourcesRequest(site=server.site).SerializeToString()
    echoes, subjects = [], []
    with echoing() as target:
        async with channel_to(target) as bare, channel_to(server.target) as channel:
            echo = bare.unary_unary("/bench.Echo/Echo")
            sources = channel.unary_unary("/footfall.v1.RealtimeService/GetSources")
            for _ in range(rounds):
                echoes.append(calls / await drive(echo, [request] * calls))
                subjects.append(
                    calls
                    / await drive(lambda raw: sources(raw, metadata=server.key), [request] * calls)
                )
    return Measurement(
        "authenticated, rate-limited unary call",
        "calls/s",
        statistics.median(subjects),
        statistics.median(echoes),
        0.4,
    )


def api_message(batch: EventBatch) -> bytes:
    """Return the rows of a batch as a client sends them."""
    names = ("event_id", "consumer_id", "method", "url", "function", "response_us", "status_code")
    columns = batch.columns
    return pb.IngestApiRequestsRequest(
        events=[
            pb.ApiRequestEvent(
                timestamp=columns["ts_us"][row] / 1e6,
                **{name: columns[name][row] for name in names},
            )
            for row in range(len(batch))
        ]
    ).SerializeToString()


AGENTS = tuple(
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 {kind}"
    for system in ("Windows NT 10.0; Win64; x64", "X11; Linux x86_64", "Linux; Android 14; Pixel 8")
    for version in range(100, 130)
    for kind in ("Safari/537.36", "Mobile Safari/537.36")
)
REFERRERS = ("", "", "https://www.google.com/", "https://t.co/x", "https://blog.example.org/post")


def web_message(batch: EventBatch, site: str, host: str, seed: int) -> bytes:
    """Return the page views of a batch as a client sends them, before any enrichment."""
    pick = random.Random(seed)
    columns = batch.columns
    titles = {page.path: page.title for page in batch.pages.values()}
    paths = [batch.pages[page_id].path for page_id in columns["page_id"]]
    return pb.IngestWebEventsRequest(
        site=site,
        events=[
            pb.WebEvent(
                event_id=columns["event_id"][row],
                timestamp=columns["ts_us"][row] / 1e6,
                url=f"https://{host}{paths[row]}?utm_source=x"
                if row % 10 == 0
                else f"https://{host}{paths[row]}",
                title=titles[paths[row]],
                referrer=pick.choice(REFERRERS),
                visitor_id=columns["visitor_id"][row],
                user_agent=pick.choice(AGENTS),
                country=columns["country"][row],
                city=columns["city"][row],
                language="de-CH",
                timezone="Europe/Zurich",
                screen="1920x1080",
            )
            for row in range(len(batch))
        ],
    ).SerializeToString()


async def _rows_s(
    server: Server,
    method: str,
    messages: Sequence[bytes],
    metadata: Metadata,
    size: int,
    callers: int = CALLERS,
) -> float:
    """Return the events a second that so many callers get stored, `size` a message."""
    async with channel_to(server.target) as channel:
        call = channel.unary_unary(
            f"/footfall.v1.IngestService/{method}",
            response_deserializer=pb.IngestResponse.FromString,
        )
        accepted = 0

        async def send(message: bytes) -> bytes:
            nonlocal accepted
            answer = await call(message, metadata=metadata)
            accepted += answer.accepted
            return b""

        cpu = server.cpu_s()
        seconds = await drive(send, messages, callers)
        cpu = server.cpu_s() - cpu
    if accepted != len(messages) * size:
        raise SystemExit(f"{accepted} of {len(messages) * size} events were accepted.")
    print(
        f"  {method}: server CPU {1e6 * cpu / accepted:.2f} us an event, {cpu / seconds:.2f} cores"
    )
    return accepted / seconds


def _floor_s(table: EventTable, batches: Sequence[EventBatch]) -> float:
    """Return the seconds of a raw append of the rows, Arrow tables included."""
    return sum(raw_append(table, batches))


async def measure_api(server: Server, calls: int = 3_000, size: int = 100) -> Measurement:
    """API requests, durable and deduplicated, against a raw append of the same rows."""
    now_us = time.time_ns() // 1000
    batches = [api_batch(size, seed=seed, now_us=now_us) for seed in range(calls)]
    floor = calls * size / _floor_s(EventTable.API_REQUESTS, batches)
    messages = [api_message(batch) for batch in batches]
    rate = await _rows_s(server, "IngestApiRequests", messages, server.writes, size)
    return Measurement(f"API requests, {size} a call", "rows/s", rate, floor, 0.25)


async def measure_web(server: Server, calls: int = 1_000, size: int = 100) -> Measurement:
    """Page views with enrichment, visits and rollups, against a raw append of such rows."""
    now_us = time.time_ns() // 1000
    batches = [
        web_batch(size, seed=seed, now_us=now_us - (calls - seed) * 10_000) for seed in range(calls)
    ]
    floor = calls * size / _floor_s(EventTable.WEB_EVENTS, batches)
    messages = [
        web_message(batch, server.site, server.host, seed) for seed, batch in enumerate(batches)
    ]
    rate = await _rows_s(server, "IngestWebEvents", messages, server.key, size)
    return Measurement(f"web events, {size} a call", "rows/s", rate, floor, 0.1)


async def measure_singles(server: Server, calls: int = 15_000) -> Measurement:
    """Single events of many callers, against a server that commits each by itself."""
    now_us = time.time_ns() // 1000
    messages = [
        api_message(api_batch(1, seed=10_000_000 + seed, now_us=now_us)) for seed in range(calls)
    ]
    alone = messages[: calls // 10]
    with serving(("-c", UNCOALESCED)) as other:
        floor = await _rows_s(other, "IngestApiRequests", alone, other.writes, 1)
    rate = await _rows_s(server, "IngestApiRequests", messages, server.writes, 1)
    return Measurement("single events, 64 callers", "calls/s", rate, floor, 6)


async def measure_timeseries(events: int = 1_000_000, rounds: int = 15) -> list[str]:
    """Grouped series over a million events by gRPC, against the engine's time for their SQL."""
    lines = []
    with serving() as server:
        end_s = int(time.time()) + 61
        now_us = end_s * 1_000_000 - 61_000_000
        size = 10_000
        # Half a month of events in the order of their times.
        spread_us = 15 * 86_400_000_000 // (events // size)
        messages = []
        for seed in range(events // size):
            at_us = now_us - (events // size - seed) * spread_us
            messages.append(api_message(api_batch(size, seed=seed, now_us=at_us)))
        await _rows_s(server, "IngestApiRequests", messages, server.writes, size, callers=4)
        # Both sides read the file as it is once its log has been folded into it.
        server.stop()
        server.start()
        requests = [
            timeseries_pb2.GetTimeseriesRequest(
                range_start=str(end_s - 16 * 86_400),
                range_end=str(end_s),
                granularity="hour",
                group=group,
                aggregation=aggregation,
            )
            for group, aggregation in (
                ("method", "count"),
                ("method", "percentile_95"),
                ("consumer_id", "mean"),
            )
        ]
        taken = []
        async with channel_to(server.target) as channel:
            call = channel.unary_unary("/footfall.v1.TimeseriesService/GetTimeseries")
            for request in requests:
                raw = request.SerializeToString()
                seconds = []
                for _ in range(rounds):
                    started = time.perf_counter()
                    await call(raw, metadata=server.reads)
                    seconds.append(time.perf_counter() - started)
                taken.append(statistics.median(seconds))
        server.stop()
        for request, subject in zip(requests, taken, strict=True):
            floor = _engine_s(server, request, rounds)
            lines.append(
                f"timeseries over {events:,} events, {request.aggregation} by {request.group}: "
                f"{subject * 1e3:.1f} ms by gRPC, the engine alone {floor * 1e3:.1f} ms, "
                f"allowed {(2 * floor + 0.003) * 1e3:.1f} ms"
            )
    return lines


def _engine_s(server: Server, request: timeseries_pb2.GetTimeseriesRequest, rounds: int) -> float:
    """Return the median of the seconds that DuckDB itself takes for the query's SQL."""
    query = plan(
        server.app,
        TimeseriesRequest(
            start=request.range_start,
            end=request.range_end,
            granularity=request.granularity,
            group=request.group,
            aggregation=request.aggregation,
        ),
    )
    sql, parameters = compile_sql(statements.timeseries(query))
    seconds = []
    with duckdb.connect(
        str(server.data / "events.duckdb"), read_only=True, config={"threads": 2}
    ) as connection:
        for _ in range(rounds):
            started = time.perf_counter()
            connection.execute(sql, parameters).fetchall()
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


async def _main(only: set[str]) -> None:
    if not only or only - {"timeseries"}:
        with serving() as server:
            for name, measure in MEASURES.items():
                if not only or name in only:
                    print(await measure(server), flush=True)
    if not only or "timeseries" in only:
        print("\n".join(await measure_timeseries()), flush=True)


MEASURES: dict[str, Callable[[Server], Awaitable[Measurement]]] = {
    "unary": measure_unary,
    "api": measure_api,
    "singles": measure_singles,
    "web": measure_web,
}


def main() -> None:
    """Print the measurements named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="unary, api, singles, web, timeseries")
    uvloop.run(_main(set(parser.parse_args().only)))


if __name__ == "__main__":
    main()
