"""What only ClickHouse needs: taking out what a failed commit has left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pyarrow as pa
import pytest
from sqlalchemy.engine import make_url

from footfall.errors import DeadlineError, UnavailableError
from footfall.events.clickhouse.driver import Driver, EmbeddedDriver, ServerDriver, connect
from footfall.events.clickhouse.store import ClickHouseStore
from footfall.ingest.model import Removal
from tests.events.traffic import DAY, HOUR, NOW, FakeClock, api_batch, query, rollup, web_batch


class FaultyDriver(EmbeddedDriver):
    """Loses the answers to inserts into a table, or the inserts themselves."""

    lost_table = ""
    lost = "answer"

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        if table != self.lost_table or self.lost == "answer":
            super().insert(table, rows, token)
        if table == self.lost_table:
            raise UnavailableError("lost")


@pytest.fixture
def driver(chdb_directory: Path) -> Iterator[FaultyDriver]:
    url = make_url(f"chdb:///{chdb_directory}?database=faulty")
    driver = FaultyDriver.connect(url)
    yield driver  # type: ignore[misc]
    driver.command("DROP DATABASE faulty")
    driver.close()


@pytest.mark.parametrize("lost", ["answer", "insert"])
@pytest.mark.parametrize("table", ["web_events", "api_requests", "pages"])
def test_a_lost_commit_is_taken_out(driver: FaultyDriver, table: str, lost: str) -> None:
    store = ClickHouseStore(driver, clock=FakeClock())
    first = web_batch([{"visitor_id": "v", "path": "/a"}, {"visitor_id": "v", "path": "/b"}])
    store.commit([first])
    slots, days = both_rollups(store)
    # Same slot and page as what is stored, a correction, a day of its own, and another site.
    views = [
        {"visitor_id": "v", "path": "/a", "ts_us": NOW - 1, "event_id": "w1"},
        {"visitor_id": "v", "path": "/c", "ts_us": NOW - 3 * DAY, "event_id": "w2"},
        {"visitor_id": "v", "path": "/c", "ts_us": NOW + HOUR, "event_id": "w3"},
    ]
    batches = [
        web_batch(views),
        web_batch(views, tenant_id="other"),
        api_batch([{"event_id": "a1"}]),
    ]
    driver.lost_table, driver.lost = table, lost
    # Pages are no events: once they are stored, a commit need not store them again.
    for _ in range(1 if table == "pages" else 2):
        with pytest.raises(UnavailableError):
            store.commit(batches)
    driver.lost_table = ""

    (outcome,) = store.commit([api_batch([{"event_id": "a0"}])])
    assert outcome.last_seq == 3
    assert query(store, "SELECT count(*) FROM web_events") == [(2,)]
    assert query(store, "SELECT event_id FROM api_requests") == [("a0",)]
    assert both_rollups(store) == (slots, days)

    outcomes = store.commit(batches)
    assert [list(outcome.duplicate_rows) for outcome in outcomes] == [[], [], []]
    # Three views and a correction, three views, one request.
    assert outcomes[0].last_seq == 3 + 4 + 3 + 1
    after = both_rollups(store)
    assert sum(count for count, _ in after[0].values()) == 5
    assert sum(visits for _, visits in after[0].values()) == 3
    assert sum(visits for _, visits in after[1].values()) == 3


def both_rollups(store: ClickHouseStore) -> tuple[dict, dict]:
    return (
        rollup(store, "slot15", ["slot_us"]),
        rollup(store, "pageday", ["local_day", "page_id"]),
    )


def test_no_part_that_is_in_use_holds_what_was_removed(driver: FaultyDriver) -> None:
    """The parts before are deleted by ClickHouse, after its `old_parts_lifetime`."""
    store = ClickHouseStore(driver, clock=FakeClock())
    canary = "kanarienvogel"

    def parts_with_canary() -> set[str]:
        sql = "SELECT table, path FROM system.parts WHERE active AND database = 'faulty'"
        return {
            table
            for table, path in query(store, sql)
            if any(canary.encode() in f.read_bytes() for f in Path(path).iterdir() if f.is_file())
        }

    def view(visitor: str, path: str) -> dict[str, object]:
        return {"visitor_id": visitor, "path": path, "referrer": visitor, "city": visitor}

    store.commit([web_batch([view(f"{canary} v", f"/{canary}"), view("other", "/")])])
    store.commit([web_batch([view("a", "/")], canary)])
    assert parts_with_canary() == {"web_events", "pages", "slot15", "pageday"}
    store.remove(Removal("site", visitor_id=f"{canary} v"))
    store.remove(Removal(canary))
    assert parts_with_canary() == set()
    assert query(store, "SELECT visitor_id FROM web_events") == [("other",)]


@pytest.fixture(params=[ServerDriver, EmbeddedDriver])
def scratch(request: pytest.FixtureRequest, chdb: Any) -> Iterator[Driver]:
    """Both drivers, with a table: chDB's client does for the server's, too."""
    url = make_url(f"chdb:///{chdb.path}?database=scratch")
    driver = connect(url)
    if request.param is ServerDriver:
        driver.close()
        client = clickhouse_connect.get_client(interface="chdb", path=chdb.path)
        client.database = "scratch"
        driver = ServerDriver(client)
    driver.command(
        "CREATE TABLE numbers (number Int64) ENGINE = MergeTree ORDER BY number "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    yield driver
    driver.command("DROP DATABASE scratch")
    driver.close()


def test_rows_are_inserted_once_for_each_token(scratch: Driver) -> None:
    for token in ("first", "first", "second"):
        scratch.insert("numbers", pa.table({"number": pa.array([1], pa.int64())}), token)
    assert scratch.rows("SELECT number FROM numbers") == [(1,), (1,)]


def test_a_statement_may_insert_the_same_again(scratch: Driver) -> None:
    for _ in range(2):
        scratch.command("INSERT INTO numbers SELECT 1")
    assert scratch.rows("SELECT number FROM numbers") == [(1,), (1,)]


def test_what_a_merge_would_leave_is_read(scratch: Driver) -> None:
    scratch.command("CREATE TABLE latest (id Int64) ENGINE = ReplacingMergeTree ORDER BY id")
    scratch.command("SYSTEM STOP MERGES latest")
    for _ in range(2):
        scratch.command("INSERT INTO latest SELECT 1")
    asked = "SELECT id, 'text' AS name FROM latest"
    assert scratch.rows(asked) == [(1, "text")]
    found = scratch.arrow(asked, timeout_s=60)
    assert found.schema.field("name").type == pa.string()
    assert found.to_pylist() == [{"id": 1, "name": "text"}]


def test_a_query_ends_at_its_time_limit(scratch: Driver) -> None:
    with pytest.raises(DeadlineError):
        scratch.arrow("SELECT sum(sleepEachRow(0.11)) AS slept FROM numbers(10)", timeout_s=1)
