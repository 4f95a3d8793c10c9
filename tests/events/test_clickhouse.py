"""What only ClickHouse needs: taking out what a failed commit has left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy.engine import make_url

from footfall.errors import UnavailableError
from footfall.events.clickhouse.driver import EmbeddedDriver
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
