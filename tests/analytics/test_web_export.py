"""Exports of web events over a real event store, and their documents."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from footfall.analytics import web_export as export_module
from footfall.analytics.export import cursor_of
from footfall.analytics.model import WebEventRow
from footfall.analytics.web_export import WebExportRequest, WebExportService, web_range
from footfall.errors import InvalidInputError
from footfall.events import EventStore, open_event_store
from footfall.rpc.web_export import (
    GROUP_ROWS,
    MESSAGE_BYTES_TARGET,
    Format,
    parse_web_format,
    web_document,
    web_parts,
)
from tests.events.traffic import NOW, web_batch
from tests.ingest.values import SITE

DAY_US = 86_400_000_000
PLACE = replace(SITE, id="site")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"duckdb:///{tmp_path}/events.duckdb", clock=lambda: NOW)
    yield store
    store.close()


def a_row(number: int, **changes: object) -> WebEventRow:
    row = WebEventRow(number, f"e{number}", NOW + number, 3, 0, *[""] * 27, 0.5)
    told = {
        "visitor_id": f"v{number % 1000}",
        "host": "example.com",
        "path": f"/{number % 77}",
        "name": "signup",
        "properties": f'{{"n":{number},"text":"ü\\n\'"}}',
    }
    return row._replace(**(told | changes))  # type: ignore[arg-type]


async def paged(rows: Sequence[WebEventRow], size: int = 1000) -> AsyncIterator[list[WebEventRow]]:
    for begin in range(0, len(rows), size):
        yield list(rows[begin : begin + size])


async def document(rows: Sequence[WebEventRow], wanted: Format) -> bytes:
    return b"".join([chunk async for chunk in web_document(paged(rows), wanted)])


async def test_pages_widen_until_they_are_full(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "PAGE_ROWS", 3)
    # Runs of this site's events between many of another one's.
    expected = []
    for run in (5, 0, 1, 4, 0, 0, 9, 1):
        times = [NOW - len(expected) - n for n in range(run)]
        if times:
            store.commit([web_batch([{"ts_us": time_us} for time_us in times])])
        store.commit([web_batch([{}] * 40, tenant_id="other")])
        expected += times
    service = WebExportService(store)
    pages = [list(page) async for page in service.pages(PLACE, WebExportRequest())]
    rows = [row for page in pages for row in page]
    assert [row.ts_us for row in rows] == expected
    assert max(map(len, pages)) <= 3
    for place in (0, 4, 12, len(rows) - 1):
        resumed = WebExportRequest(cursor=cursor_of(rows[place]))
        rest = [row async for page in service.pages(PLACE, resumed) for row in page]
        assert rest == rows[place + 1 :]


async def test_what_comes_meanwhile_is_left_to_the_next_export(store: EventStore) -> None:
    store.commit([web_batch([{}] * 1500)])
    count = 0
    async for page in WebExportService(store).pages(PLACE, WebExportRequest()):
        count += len(page)
        store.commit([web_batch([{}])])
    assert count == 1500


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("1700000000", "1700000001", (1_700_000_000, 1_700_000_001)),
        ("2023-11-14T22:13:20Z", "2023-11-14T23:13:21+01:00", (1_700_000_000, 1_700_000_001)),
        # A day of Zurich; the one on which clocks go forward, and the one on which they go back.
        ("2024-01-10", "2024-01-10", (1_704_841_200, 1_704_841_200 + 86_400)),
        ("2024-03-31", "2024-03-31", (1_711_839_600, 1_711_839_600 + 23 * 3600)),
        ("2024-10-27", "2024-10-27", (1_729_980_000, 1_729_980_000 + 25 * 3600)),
        ("", "1700000000", (0, 1_700_000_000)),
        ("0001-01-02", "1970-01-02", (0, 169_200)),
    ],
)
def test_ranges(start: str, end: str, expected: tuple[int, int]) -> None:
    low, high = web_range(PLACE, start, end)
    assert (low / 1e6, high / 1e6) == expected


def test_open_ranges_hold_everything() -> None:
    low, high = web_range(PLACE, "", "")
    assert low == 0
    assert high > NOW + 1000 * 365 * DAY_US
    assert web_range(PLACE, "", "99999999999999") == (low, high)


@pytest.mark.parametrize(
    ("start", "end", "named"),
    [
        ("yesterday", "", "start"),
        ("", "2024-02-30", "end"),
        ("2024-01-01T00:00:00", "", "start"),
        ("2024-01-01T25:00:00Z", "", "start"),
        ("9999-12-31", "9999-12-31", "end"),
        ("1.5", "", "start"),
        ("-1", "", "start"),
        ("٣", "", "start"),
        ("2024-01-02", "2024-01-01", "start"),
        ("5", "5", "start"),
    ],
)
def test_ranges_that_are_none(start: str, end: str, named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{named} must be"):
        web_range(PLACE, start, end)


def test_formats() -> None:
    assert [parse_web_format(text) for text in ("", "ndjson", "csv", "parquet")] == [
        "ndjson",
        "ndjson",
        "csv",
        "parquet",
    ]
    assert parse_web_format("", "*/*") == "ndjson"
    assert parse_web_format("", "text/html, Text/CSV;q=0.9, */*") == "csv"
    assert parse_web_format("ndjson", "text/csv") == "ndjson"
    assert parse_web_format("", "application/vnd.apache.parquet") == "parquet"
    with pytest.raises(InvalidInputError, match="Did you mean parquet"):
        parse_web_format("parket")


async def test_the_three_documents_say_the_same() -> None:
    rows = [
        a_row(1, title="a,b"),
        a_row(2, kind=1, properties="", name="", excluded=1, ts_us=1),
        a_row(3, kind=2, engaged_s=12.25, excluded=2),
    ]
    lines = [json.loads(line) for line in (await document(rows, "ndjson")).splitlines()]
    table = list(csv.DictReader(io.StringIO((await document(rows, "csv")).decode(), newline="")))
    parquet = pq.read_table(io.BytesIO(await document(rows, "parquet"))).to_pylist()
    for row, line, cells, record in zip(rows, lines, table, parquet, strict=True):
        assert list(line) == list(cells) == list(record)
        assert line["timestamp"] == float(cells["timestamp"]) == record["timestamp"].timestamp()
        assert line["engaged_seconds"] == float(cells["engaged_seconds"]) == row.engaged_s
        assert line["properties"] == (json.loads(row.properties) if row.properties else None)
        assert cells["properties"] == record["properties"] == row.properties
        for name in set(line) - {"timestamp", "engaged_seconds", "properties"}:
            assert line[name] == cells[name] == record[name], name
    assert [line["type"] for line in lines] == ["custom", "pageview", "heartbeat"]
    assert [line["excluded"] for line in lines] == ["", "bot", "referrer_spam"]
    assert "key_hi" not in lines[0]
    assert "ip" not in lines[0]


async def test_documents_without_a_row() -> None:
    assert await document([], "ndjson") == b""
    assert (await document([], "csv")).count(b"\r\n") == 1
    assert pq.read_table(io.BytesIO(await document([], "parquet"))).num_rows == 0


def test_parts_fit_into_messages() -> None:
    rows = [a_row(n, title="é" * 60_000) for n in range(40)]
    parts = list(web_parts(rows))
    assert [row for part in parts for row in part] == rows
    assert max(sum(len(row.title.encode()) for row in part) for part in parts) < 2**21


async def test_a_large_file_is_made_in_little_memory(tmp_path: Path) -> None:
    many, page = 200_000, 1000
    chunks: list[int] = []
    waiting: list[int] = []

    async def pages() -> AsyncIterator[list[WebEventRow]]:
        for begin in range(0, many, page):
            yield [a_row(number) for number in range(begin, begin + page)]
            # Each group that is full has left by the time the next page is asked for.
            waiting.append((begin + page) // GROUP_ROWS - len(chunks))

    path = tmp_path / "events.parquet"
    before, peak = pa.total_allocated_bytes(), 0
    with path.open("wb") as file:
        async for chunk in web_document(pages(), "parquet"):
            file.write(chunk)
            chunks.append(len(chunk))
            peak = max(peak, pa.total_allocated_bytes() - before)
    assert max(waiting) <= 0
    assert max(chunks) <= MESSAGE_BYTES_TARGET
    # All of it is over 30 MB as Arrow has it.
    assert peak < 10_000_000

    expected = Counter((f"/{n % 77}", f"v{n % 1000}") for n in range(many))
    table = pq.read_table(path, columns=["path", "visitor_id", "event_id"])
    paths, visitors, ids = (column.to_pylist() for column in table.itercolumns())
    assert Counter(zip(paths, visitors, strict=True)) == expected
    assert ids == [f"e{n}" for n in range(many)]
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT cursor), sum(engaged_seconds),"
            " sum((properties->>'n')::BIGINT), epoch_us(min(timestamp)), epoch_us(max(timestamp))"
            " FROM read_parquet(?)",
            [str(path)],
        ).fetchone()
    assert found == (many, many, many / 2, many * (many - 1) // 2, NOW, NOW + many - 1)
