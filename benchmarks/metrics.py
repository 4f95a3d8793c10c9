"""Every metric over a month of two million events, by gRPC, beside the raw engine.

The floor is the engine's own time for the same statements on a copy of the file, without a server
around it. A call and its floor take turns, so that whatever slows the machine slows both, and
neither finds a processor that the other has not used since.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.rpc import Metadata, Server, channel_to, serving
from benchmarks.workspaces import DAY_US, DAYS, fill
from footfall.accounts.management import AccountManager
from footfall.accounts.sql import open_account_store
from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.pricing import PriceList
from footfall.analytics.metrics.questions import (
    Calls,
    CallsQuery,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.analytics.metrics.service import MetricsService
from footfall.analytics.metrics.validation import MetricRequest
from footfall.events import metric_statements as statements
from footfall.events.duckdb.sql import fetch
from footfall.events.workspace_state import Standing
from footfall.v1 import metrics_pb2 as pb

EVENTS = 2_000_000
#: 1 October 2026.
START_US = 1_790_812_800_000_000
END_US = START_US + DAYS * DAY_US - 1
CALLS = 25
TARGET_MS = 25.0
LOG_TARGET_MS = 10.0

#: A metric and its page.
Question = tuple[str, int]
QUESTIONS: list[Question] = [*((name, 1) for name in METRICS), ("api_calls_log", 1_000)]


def prepare(server: Server, events: int) -> tuple[str, Metadata]:
    """Create a workspace without limits and store its month; return its id and its key."""
    store = open_account_store(f"sqlite:///{server.data / 'accounts.sqlite'}")
    manager = AccountManager(store)
    manager.update_plan("bench", {"workspace_requests_per_second": 1_000_000}, like="scale")
    account = manager.create_account("metrics", "bench")
    made = manager.create_workspace(account.id, "metrics")
    store.close()
    server.stop()
    fill(server.data / "events.duckdb", made.workspace.id, START_US, events)
    shutil.copy(server.data / "events.duckdb", _copy_of(server))
    server.start()
    return made.workspace.id, (("x-api-key", made.api_key),)


def _copy_of(server: Server) -> Path:
    """Where the engine alone finds the events; the server has the file to itself."""
    return server.data / "copy.duckdb"


async def bare(server: Server, metadata: Metadata) -> float:
    """Return the median time of a call that asks no event store, in milliseconds."""
    times = []
    async with channel_to(server.target) as channel:
        call = channel.unary_unary("/footfall.v1.MetricsService/ListMetrics")
        for _ in range(10 * CALLS):
            began = time.perf_counter()
            await call(b"", metadata=metadata)
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


@dataclass
class Measured:
    """The times of a question's calls and of its floor, in milliseconds."""

    calls: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)

    @property
    def call_ms(self) -> float:
        """The median of its calls."""
        return statistics.median(self.calls)

    @property
    def floor_ms(self) -> float:
        """The median of its floor."""
        return statistics.median(self.floors)


async def in_turn(
    server: Server, metadata: Metadata, workspace_id: str
) -> dict[Question, Measured]:
    """Ask each question of the server and of the engine alone, in turn."""
    found = {}
    settings = {"threads": 2, "preserve_insertion_order": False}
    with duckdb.connect(str(_copy_of(server)), config=settings) as connection:
        engine = RawEngine(connection)
        alone = MetricsService(engine, PriceList())
        async with channel_to(server.target) as channel:
            call = channel.unary_unary("/footfall.v1.MetricsService/GetMetric")
            for metric, page in QUESTIONS:
                request = MetricRequest(metric, START_US, END_US, page)
                message = pb.GetMetricRequest(
                    metric=metric, time_start=_at(START_US), time_end=_at(END_US), page=page
                ).SerializeToString()
                measured = found[metric, page] = Measured()
                for _ in range(CALLS):
                    began = time.perf_counter()
                    await call(message, metadata=metadata)
                    measured.calls.append((time.perf_counter() - began) * 1000)
                    engine.seconds = 0.0
                    await alone.answer(workspace_id, request, 60.0)
                    measured.floors.append(engine.seconds * 1000)
    return found


def _at(us: int) -> Timestamp:
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


@dataclass
class RawEngine:
    """A WorkspaceHistory of nothing but the engine, which notes the time that it took."""

    connection: duckdb.DuckDBPyConnection
    seconds: float = 0.0

    def _fetch(self, statement: Any, values: Mapping[str, Any]) -> list[Any]:
        began = time.perf_counter()
        rows = fetch(self.connection, statement, values)
        self.seconds += time.perf_counter() - began
        return rows

    async def tallies(self, query: TallyQuery, timeout_s: float) -> list[Tally]:  # noqa: ARG002
        statement = statements.tallies(query, Standing.FOLDED)
        rows = self._fetch(statement, statements.tally_values(query))
        return statements.tallies_of(query, rows)

    async def usage(self, query: UsageQuery, timeout_s: float) -> list[Usage]:  # noqa: ARG002
        rows = self._fetch(statements.usage(query), statements.usage_values(query))
        return statements.usages_of(query, rows)

    async def api_calls(self, query: CallsQuery, timeout_s: float) -> Calls:  # noqa: ARG002
        search = statements.LogSearch(query)
        while search.wide:
            search.narrow(search.parts(self._fetch(statements.log_parts(), search.values)))
        return statements.calls_of(search, self._fetch(statements.log_page(), search.values))


def report(found: Mapping[Question, Measured]) -> None:
    """Print each question beside its floor, the slowest first, and what misses its target."""
    missed = 0
    print(f"{'metric':34} {'gRPC ms':>8} {'raw ms':>8} {'ratio':>6}")
    for (metric, page), measured in sorted(found.items(), key=lambda item: -item[1].call_ms):
        ms, floor = measured.call_ms, measured.floor_ms
        target = LOG_TARGET_MS if metric == "api_calls_log" else TARGET_MS
        met = ms <= target and ms <= 2 * floor + 3
        missed += not met
        name = f"{metric} (page {page:,})" if metric == "api_calls_log" else metric
        print(f"{name:34} {ms:8.1f} {floor:8.1f} {ms / floor:6.2f} {'' if met else ' missed'}")
    print(
        f"{len(found) - missed} of {len(found)} within {TARGET_MS:g} ms (the log: "
        f"{LOG_TARGET_MS:g} ms) and twice the raw engine + 3 ms"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    arguments = parser.parse_args()
    with serving() as server:
        began = time.perf_counter()
        workspace_id, metadata = prepare(server, arguments.events)
        print(f"{arguments.events:,} events stored in {time.perf_counter() - began:.0f} s")
        print(f"a call that asks no store: {asyncio.run(bare(server, metadata)):.1f} ms")
        report(asyncio.run(in_turn(server, metadata, workspace_id)))


if __name__ == "__main__":
    main()
