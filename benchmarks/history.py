"""Overview, charts and pace of a site with five million page views in 90 days, and with a tenth.

The events go into a DuckDB file through the store's own writer, in the order of their times, so
that visits, rollups and the tail of events that are not in them yet are what a server would have
made. Nothing is answered from the cache of answers. The floor is what the raw engine takes for the
same sums from the events themselves.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import uvloop
from google.protobuf.message import Message

from benchmarks.data import page_id
from benchmarks.rpc import Server, channel_to, serving
from footfall.analytics.model import HistoryQuery, PaceQuery
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.tables import batch_columns, web_events
from footfall.ingest.model import EventBatch, EventTable, Page, WebEventKind
from footfall.ingest.web_events import local_days
from footfall.v1 import charts_pb2, ingest_pb2, pace_pb2

VIEWS = (500_000, 5_000_000)
DAYS = 90
PAGES = 2_000
TIMEZONE = "Europe/Zurich"
EVENTS_A_COMMIT = 20_000
ROUNDS = 300
SEARCH = "zürich"
_DAY_US = 86_400_000_000

Ints = npt.NDArray[np.int64]
#: Asks one question once.
Ask = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Views:
    """Page views by time."""

    ts_us: Ints
    visitors: Ints
    pages: Ints


def views(count: int, now_us: int, seed: int = 1) -> Views:
    """Return visits of 2.5 pages on average over the last 90 days, most of them by day, to pages
    of which some are seen far more often than others, but nearly all on every day.
    """
    pick = np.random.default_rng(seed)
    lengths = pick.geometric(0.4, count)
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), count)) + 1]
    visits = len(lengths)
    # Two humps: noon and evening.
    hours = np.where(
        pick.random(visits) < 0.6, pick.normal(12, 3, visits), pick.normal(20, 2, visits)
    )
    starts = now_us - (pick.integers(0, DAYS, visits) + 1) * _DAY_US
    starts += (hours % 24 / 24 * _DAY_US).astype(np.int64)
    visit = np.repeat(np.arange(visits), lengths)[:count]
    begins = np.diff(visit, prepend=-1) > 0
    steps = np.where(begins, 0, pick.lognormal(3.7, 0.8, count) * 1e6).astype(np.int64)
    walked = np.cumsum(steps)
    ts_us = np.minimum(starts[visit] + walked - walked[begins][visit], now_us)
    visitors = pick.integers(0, max(visits // 3, 1), visits)[visit]
    popularity = np.cumsum(1 / (np.arange(PAGES) + 10) ** 0.9)
    pages = np.searchsorted(popularity, pick.random(count) * popularity[-1])
    order = np.argsort(ts_us, kind="stable")
    return Views(ts_us[order], visitors[order], pages[order])


def _pages(site_id: str, host: str) -> list[Page]:
    words = "Rat Stadt Wahl Wetter Sport Kultur Bahn Schule Markt Zürich".split()  # noqa: SIM905 - read as a sentence
    return [
        Page(
            site_id,
            host,
            f"/{words[number % 9].lower()}/{number % 97}/artikel-{number:05d}",
            f"{words[number % 7]} und {words[number // 10 % 10]}: Meldung {number}",
            f"Autor {number % 50}",
            "2026-01-01",
            "",
        )
        for number in range(PAGES)
    ]


def batches(seen: Views, site_id: str, host: str) -> Iterator[EventBatch]:
    """Return the page views as the batches that ingest makes of them."""
    known = _pages(site_id, host)
    ids = np.array([page_id(site_id, host, page.path) for page in known])
    names = [column.name for column in batch_columns(web_events)]
    for start, end in pairwise([*range(0, len(seen.ts_us), EVENTS_A_COMMIT), len(seen.ts_us)]):
        size = end - start
        numbers = seen.pages[start:end]
        ts_us = seen.ts_us[start:end].tolist()
        columns = {name: [""] * size for name in names}
        columns |= {
            "ts_us": ts_us,
            "local_day": local_days(TIMEZONE, ts_us),
            "kind": [WebEventKind.PAGEVIEW.value] * size,
            "excluded": [0] * size,
            "visitor_id": [f"{visitor:032x}" for visitor in seen.visitors[start:end].tolist()],
            "page_id": ids[numbers].tolist(),
            "engaged_s": [0.0] * size,
        }
        pages = {int(ids[number]): known[number] for number in np.unique(numbers).tolist()}
        yield EventBatch(
            EventTable.WEB_EVENTS, site_id, ts_us[-1], columns, [bytes(16)] * size, pages
        )


def build(path: Path, site_id: str, host: str, count: int) -> None:
    """Store so many page views, and say how long that took."""
    seen = views(count, time.time_ns() // 1000)
    started = time.perf_counter()
    clock_us = int(seen.ts_us[0]) - _DAY_US
    store = DuckDBStore(str(path), clock=lambda: clock_us)
    for batch in batches(seen, site_id, host):
        clock_us = batch.received_us
        store.commit([batch])
    store.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        ((rows, tail),) = connection.execute(
            "SELECT (SELECT count(*) FROM pageday), (SELECT max(seq) FROM web_events) - through_seq"
            " FROM folded"
        ).fetchall()
    print(
        f"  stored in {time.perf_counter() - started:.0f} s: {rows:,} page days, and {tail:,} "
        "events that are not in the rollups yet"
    )


@dataclass(frozen=True)
class Times:
    """How long a question took, in milliseconds."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms"


async def time_of(ask: Ask, rounds: int = ROUNDS, before: Ask | None = None) -> Times:
    """Ask a question again and again, one at a time; what comes `before` is not timed."""
    taken = []
    for _ in range(rounds):
        if before is not None:
            await before()
        started = time.perf_counter()
        await ask()
        taken.append(1e3 * (time.perf_counter() - started))
    return Times(statistics.median(taken), statistics.quantiles(taken, n=100)[98])


async def measure_store(path: Path, site_id: str) -> None:
    """Ask the store itself."""
    now = time.time()
    today = local_days(TIMEZONE, [int(now * 1e6)])[0]
    pace = PaceQuery(site_id, today, int((now - 86_400) * 1e6))
    charts = HistoryQuery(site_id, today - 29, today, pages_max=100)
    queries = {
        "overview": HistoryQuery(site_id, today - 30, today - 1),
        "charts": charts,
        "charts with q": HistoryQuery(site_id, today - 29, today, pages_max=100, search=SEARCH),
        "charts of 90 days": HistoryQuery(site_id, today - 89, today, pages_max=100),
    }
    store = DuckDBStore(str(path))
    try:
        for name in ("overview", "charts"):
            started = time.perf_counter()
            await store.history(queries[name], 60)
            print(
                f"  the store, {name}, first time: {1e3 * (time.perf_counter() - started):.1f} ms"
            )
        for name, query in queries.items():
            print(f"  the store, {name}: {await time_of(lambda q=query: store.history(q, 60))}")
        print(f"  the store, pace: {await time_of(lambda: store.pace(pace, 60))}")
    finally:
        store.close()


def requests(site: str) -> Mapping[str, tuple[str, Message, float]]:
    """Return the questions by name, with their methods and how many milliseconds they may take."""
    charts = "ChartsService/GetCharts"
    asked = charts_pb2.GetChartsRequest(site=site)
    with_q = charts_pb2.GetChartsRequest(site=site, q=SEARCH)
    return {
        "overview": (
            "ChartsService/GetOverview",
            charts_pb2.GetOverviewRequest(site=site),
            5,
        ),
        "charts": (charts, asked, 5),
        "charts with q": (charts, with_q, 15),
        "pace": ("PaceService/GetPace", pace_pb2.GetPaceRequest(site=site), 5),
    }


async def measure_rpc(server: Server) -> dict[str, Times]:
    """Ask a server, one call at a time; then each time after another page view."""
    taken: dict[str, Times] = {}
    views_sent = ingest_pb2.IngestWebEventsRequest(
        site=server.site,
        events=[ingest_pb2.WebEvent(url=f"https://{server.host}/new", visitor_id="somebody")],
    ).SerializeToString()
    async with channel_to(server.target) as channel:
        ingest = channel.unary_unary("/footfall.v1.IngestService/IngestWebEvents")
        for name, (method, request, allowed_ms) in requests(server.site).items():
            call = channel.unary_unary(f"/footfall.v1.{method}")
            raw = request.SerializeToString()

            async def ask(call=call, raw=raw) -> None:  # type: ignore[no-untyped-def]
                await call(raw, metadata=server.key)

            await time_of(ask, 20)
            taken[name] = await time_of(ask)
            after = await time_of(
                ask, ROUNDS // 3, before=lambda: ingest(views_sent, metadata=server.key)
            )
            print(
                f"  by gRPC, {name}: {taken[name]} (p50 up to {allowed_ms} ms); "
                f"right after a page view {after}",
                flush=True,
            )
    return taken


def measure_floor(path: Path, site_id: str, rounds: int = 9) -> None:
    """Let the raw engine sum up the events themselves."""
    today = local_days(TIMEZONE, [time.time_ns() // 1000])[0]
    range_ = (
        f"site_id = '{site_id}' AND excluded = 0 AND local_day BETWEEN {today - 29} AND {today}"
    )
    statements = {
        "daily sums": "SELECT local_day, count(*) FILTER (kind = 1), sum(visits) FROM web_events "
        f"WHERE {range_} GROUP BY 1 ORDER BY 1",
        "top 100 pages": "SELECT page_id, count(*) FILTER (kind = 1) AS views, sum(visits) "
        f"FROM web_events WHERE {range_} GROUP BY 1 ORDER BY views DESC LIMIT 100",
    }
    with duckdb.connect(str(path), read_only=True, config={"threads": 2}) as connection:
        for name, sql in statements.items():
            seconds = []
            for _ in range(rounds):
                started = time.perf_counter()
                connection.execute(sql).fetchall()
                seconds.append(time.perf_counter() - started)
            print(
                f"  the raw engine, {name} of 30 days from the events: "
                f"{1e3 * statistics.median(seconds):.1f} ms"
            )


def measure(count: int) -> dict[str, Times]:
    """Build a site with so many page views, and ask everything of it."""
    print(f"{count:,} page views of {PAGES:,} pages in {DAYS} days", flush=True)
    os.environ["FOOTFALL_CACHE_S"] = "0"
    with serving() as server:
        server.stop()
        path = server.data / "events.duckdb"
        for file in path.parent.glob("events.duckdb*"):
            file.unlink()
        build(path, server.site, server.host, count)
        uvloop.run(measure_store(path, server.site))
        server.start()
        taken = uvloop.run(measure_rpc(server))
        server.stop()
        measure_floor(path, server.site)
    print(f"  load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("views", nargs="*", type=int, default=VIEWS, help="page views of a site")
    taken = [measure(count) for count in parser.parse_args().views]
    if len(taken) > 1:
        for name, most in taken[-1].items():
            print(
                f"{name}: with a tenth of the events {taken[0][name].p50 / most.p50:.2f} of the "
                "time (at least 0.5: it costs by days and pages)"
            )


if __name__ == "__main__":
    main()
