"""Pages of an export, over a real event store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.analytics import export as export_module
from footfall.analytics.export import ExportRequest, ExportService, cursor_of, parse_format
from footfall.errors import InvalidInputError
from footfall.events import EventStore, open_event_store
from footfall.ingest.api_requests import api_request_batch

NOW_US = 1_700_000_000_000_000
RANGE = ExportRequest(1_600_000_000, 1_600_000_100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"duckdb:///{tmp_path}/events.duckdb", clock=lambda: NOW_US)
    yield store
    store.close()


def add(store: EventStore, application_id: str, times: list[float]) -> None:
    columns = {"timestamp": times, "response_us": list(range(len(times)))}
    batch, rejected = api_request_batch(application_id, columns, None, NOW_US)
    assert rejected == []
    store.commit([batch])


async def test_pages_follow_the_order_of_storage(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PAGE_ROWS", 3)
    first, second = [1_600_000_050.0 - index for index in range(5)], [1_600_000_001.0]
    add(store, "app", first)
    add(store, "other", [1_600_000_002.0] * 4)
    # The range takes its start and leaves its end.
    add(store, "app", [1_599_999_999.9, 1_600_000_100.0, *second, 1_600_000_000.0])
    pages = [list(page) async for page in ExportService(store).pages("app", RANGE)]
    rows = [row for page in pages for row in page]
    assert [row.ts_us / 1e6 for row in rows] == [*first, *second, 1_600_000_000.0]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})


async def test_what_comes_meanwhile_is_left_to_the_next_export(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PAGE_ROWS", 2)
    service = ExportService(store)
    add(store, "app", [1_600_000_001.0] * 4)
    rows = []
    async for page in service.pages("app", RANGE):
        rows += page
        add(store, "app", [1_600_000_002.0])
    assert [row.ts_us // 1_000_000 for row in rows] == [1_600_000_001] * 4
    resumed = ExportRequest(RANGE.start, RANGE.end, cursor_of(rows[-1]))
    rest = [row async for page in service.pages("app", resumed) for row in page]
    assert [row.ts_us // 1_000_000 for row in rest] == [1_600_000_002] * 2
    assert [page async for page in service.pages("app", ExportRequest(1, 2))] == []


@pytest.mark.parametrize("cursor", ["x", "-1", " 1", "f" * 16, "1.0", "0x1"])
async def test_a_cursor_of_somebodys_making_is_refused(store: EventStore, cursor: str) -> None:
    request = ExportRequest(RANGE.start, RANGE.end, cursor)
    with pytest.raises(InvalidInputError, match="cursor"):
        [page async for page in ExportService(store).pages("app", request)]


def test_formats() -> None:
    assert [parse_format(text) for text in ("", "ndjson", "csv")] == ["ndjson", "ndjson", "csv"]
    with pytest.raises(InvalidInputError, match="Did you mean csv"):
        parse_format("cvs")
