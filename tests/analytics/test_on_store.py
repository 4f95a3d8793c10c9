"""The same answers from a real store as from a plain count, on days when clocks change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.analytics.cached_history import CachedHistory
from footfall.analytics.charts import ChartsService
from footfall.analytics.overview import OverviewService
from footfall.analytics.pace import PaceService
from footfall.analytics.ranges import RangeRequest
from footfall.events.duckdb.store import DuckDBStore
from footfall.ingest.web_events import local_days
from tests.analytics.recount import MINUTE, Event, PlainHistory, at, site
from tests.events.traffic import web_batch


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBStore]:
    path: Path = tmp_path_factory.mktemp("store") / "events.duckdb"
    store = DuckDBStore(str(path), memory_mb=200, fold_rows=100)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("zone", "now"),
    [
        # The day after a change of clocks, and the day itself before and after the change.
        ("Europe/Zurich", "2025-03-31T02:30:00.5"),
        ("Europe/Zurich", "2025-03-30T01:59:59.999999"),
        ("Europe/Zurich", "2025-10-26T02:30"),
        ("Europe/Zurich", "2025-10-27T02:37:11"),
        ("America/New_York", "2025-03-10T02:15"),
        ("America/New_York", "2025-11-03T01:20:59"),
        ("Australia/Lord_Howe", "2025-10-06T02:10"),
        ("Australia/Lord_Howe", "2025-04-07T01:50:30"),
        ("Asia/Kolkata", "2024-03-01T00:00"),
        ("Asia/Kathmandu", "2026-01-01T23:59:59"),
        ("Pacific/Apia", "2011-12-31T12:00:01"),
        ("Pacific/Apia", "2012-01-01T00:00"),
        ("America/Santiago", "2025-09-08T00:30"),
        ("Africa/Cairo", "2025-10-31T23:30"),
    ],
)
async def test_a_store_answers_as_a_plain_count_does(
    store: DuckDBStore, zone: str, now: str
) -> None:
    now_us = at(zone, now)
    place = site(zone, f"{zone}-{now}")
    rng = random.Random(now)
    # Each visitor comes once, so that each page view begins a visit.
    events = [
        Event(now_us - rng.randint(0, 60 * 60 * MINUTE), f"/{rng.randint(1, 9)}", visits=1)
        for _ in range(150)
    ]
    rows = [
        {
            "ts_us": event.ts_us,
            "local_day": local_day,
            "path": event.path,
            "visitor_id": f"visitor-{number}",
        }
        for number, (event, local_day) in enumerate(
            zip(events, local_days(zone, [event.ts_us for event in events]), strict=True)
        )
    ]
    store.commit([web_batch(rows, place.id, received_us=now_us)])
    plain = PlainHistory(zone, events)
    for history in (store, CachedHistory(store, None)):
        pace = await PaceService(history, lambda: now_us).answer(place, 60)
        assert pace == await PaceService(plain, lambda: now_us).answer(place, 60)
        assert pace.yesterday.pageviews >= pace.same_time.pageviews
        overview = await OverviewService(history, lambda: now_us).answer(place, "", 60)
        assert overview == await OverviewService(plain, lambda: now_us).answer(place, "", 60)
        for request in (
            RangeRequest(),
            RangeRequest("yesterday"),
            RangeRequest("last7", limit="3", q="/1"),
        ):
            charts = await ChartsService(history, lambda: now_us).answer(place, request, 60)
            assert charts == await ChartsService(plain, lambda: now_us).answer(place, request, 60)
