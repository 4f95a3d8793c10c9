"""Batch queries over 30 days of a site with two million page views: together, apart, and what the
raw engine takes for the same figures.

Two sites are asked: one whose page views are spread over 90 days, and one that has all of them in
the 30 days that are asked for. Calls go over gRPC to a server in this process. Each is made with
counts that nothing is kept of (a page view comes before it), and once more without. The floor is
DuckDB on the same file, with a statement for each parameter as one would write it by hand.

Example: python -m benchmarks.queries --pageviews 200000
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import duckdb
import grpc

from benchmarks import history
from benchmarks.processes import valkey
from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.sql import open_account_store
from footfall.app import running
from footfall.settings import Settings
from footfall.v1 import ingest_pb2, ingest_pb2_grpc, queries_pb2, queries_pb2_grpc

PARAMETERS = ("summary", "pages", "traffic", "events_by_date")
ROUNDS = 7
_DAY_US = 86_400_000_000

_VIEWS = "FROM web_events WHERE site_id = $1 AND kind = 1 AND excluded = 0 AND ts_us >= $2"
_SESSIONS = f"""
    SELECT count(*), count(*) FILTER (views = 1), avg(last - first) FROM (
        SELECT min(ts_us) AS first, max(ts_us) AS last, count(*) AS views FROM (
            SELECT visitor_id, ts_us, sum(start) OVER
                (PARTITION BY visitor_id ORDER BY ts_us) AS session
            FROM (
                SELECT visitor_id, ts_us, CASE WHEN ts_us - lag(ts_us) OVER
                    (PARTITION BY visitor_id ORDER BY ts_us) < 1800000000 THEN 0 ELSE 1 END AS start
                {_VIEWS}
            )
        ) GROUP BY visitor_id, session
    )"""
#: What the figures of a parameter take.
FLOORS = {
    "summary": (f"SELECT count(*), count(DISTINCT visitor_id) {_VIEWS}", _SESSIONS),
    "pages": (
        f"SELECT page_id, count(*) AS views, count(DISTINCT visitor_id) {_VIEWS} "
        "GROUP BY page_id ORDER BY views DESC LIMIT 100",
    ),
    "traffic": (
        f"SELECT source, count(*) AS views, count(DISTINCT visitor_id) {_VIEWS} AND medium <> '' "
        "GROUP BY source ORDER BY views DESC LIMIT 100",
    ),
    "events_by_date": (
        f"SELECT local_day, count(*), count(DISTINCT visitor_id) {_VIEWS} GROUP BY local_day",
        _SESSIONS,
    ),
}


def main() -> None:
    """Build the sites and print what queries take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pageviews", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, nargs="*", default=[90, 30])
    arguments = parser.parse_args()
    count = arguments.pageviews
    for days in arguments.days:
        print(f"\n{count:,} page views in {days} days", flush=True)
        with tempfile.TemporaryDirectory(prefix="ffq") as folder, valkey() as redis:
            settings = Settings(
                data_dir=Path(folder),
                redis_url=redis.url,
                grpc_listen="127.0.0.1:0",
                metrics_listen="",
            )
            asyncio.run(_measure(settings, count, days))


async def _measure(settings: Settings, count: int, days: int) -> None:
    accounts = open_account_store(settings.effective_accounts_url)
    manager = AccountManager(accounts)
    allowances = {"account_requests_per_10s": 10**6, "account_requests_per_minute": 10**6}
    manager.update_plan("queries", allowances, like="free")
    account = manager.create_account("queries", "queries").id
    site = manager.create_site(account, "news.example.com", history.TIMEZONE, public=False)
    scopes = [Scope.READ, Scope.WRITE]
    key = manager.create_key(account, kind=KeyKind.NM, site_ids=[site.id], scopes=scopes)
    accounts.close()
    metadata = (("authorization", f"Bearer {key.text}"),)
    path = Path(settings.effective_events_url.removeprefix("duckdb:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    _build(path, site.id, site.host, count, days)

    async with (
        running(settings) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        queries = queries_pb2_grpc.QueryServiceStub(channel)
        ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        view = ingest_pb2.WebEvent(url=f"https://{site.host}/", visitor_id="somebody")
        one = ingest_pb2.IngestWebEventsRequest(site=site.id, events=[view])

        async def ask(*names: str) -> None:
            query = queries_pb2.Query(
                parameters=[queries_pb2.QueryParameter(name=name) for name in names],
                preset="last_30d",
            )
            request = queries_pb2.RunQueriesRequest(website_id=site.id, queries=[query])
            answer = await queries.RunQueries(request, metadata=metadata)
            assert all(each.success for each in answer.results[0].data)

        async def touch() -> None:
            await ingest.IngestWebEvents(one, metadata=metadata)

        taken: dict[str, tuple[float, float]] = {}
        for names in [(name,) for name in PARAMETERS] + [PARAMETERS[:3], PARAMETERS]:
            anew = await _p50_ms(lambda names=names: ask(*names), touch)  # type: ignore[misc]
            kept = await _p50_ms(lambda names=names: ask(*names), None)  # type: ignore[misc]
            taken["+".join(names)] = anew, kept
    floors = _floors(path, site.id)
    for label, (anew, kept) in taken.items():
        floor = sum(floors[name] for name in label.split("+"))
        print(
            f"  {label:40} p50 {anew:8.1f} ms, again {kept:6.2f} ms; "
            f"engine {floor:8.1f} ms, {anew / floor:.2f} of it"
        )
    apart = sum(taken[name][0] for name in PARAMETERS[:3])
    together = taken["+".join(PARAMETERS[:3])][0]
    print(f"  together {together / apart:.2f} of what they take apart")


def _build(path: Path, site_id: str, host: str, count: int, days: int) -> None:
    history.DAYS = days
    history.build(path, site_id, host, count)
    # Two page views in five lead to the site, from fifty places.
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "UPDATE web_events SET medium = 'referral', source = 'source ' || hash(seq) % 50 "
            "WHERE hash(seq) % 5 < 2"
        )


async def _p50_ms(
    call: Callable[[], Awaitable[None]], before: Callable[[], Awaitable[None]] | None
) -> float:
    taken = []
    for _ in range(ROUNDS):
        if before is not None:
            await before()
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def _floors(path: Path, site_id: str) -> dict[str, float]:
    since_us = time.time_ns() // 1000 // _DAY_US * _DAY_US - 29 * _DAY_US
    with duckdb.connect(str(path), config={"threads": 2, "memory_limit": "800MiB"}) as connection:

        def run(statements: Sequence[str]) -> float:
            began = time.perf_counter()
            for statement in statements:
                connection.execute(statement, [site_id, since_us]).fetchall()
            return (time.perf_counter() - began) * 1000

        return {
            name: statistics.median(run(statements) for _ in range(3))
            for name, statements in FLOORS.items()
        }


if __name__ == "__main__":
    main()
