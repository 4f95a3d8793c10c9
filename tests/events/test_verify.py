"""Comparing what history is read from with the events: nothing in a whole store, all damage."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from footfall.errors import UnavailableError
from footfall.events import EventStore, verify_event_store
from footfall.events.duckdb import verifying
from footfall.events.verify import Difference, Sums
from tests.events.conftest import Engine
from tests.events.traffic import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SITE,
    execute,
    page_id,
    web_batch,
)

TODAY = NOW // DAY


def fill(store: EventStore, seed: int = 5) -> None:
    """Store page views that come late and early, correct each other, and do not count."""
    pick = random.Random(seed)
    for _ in range(12):
        events = [
            {
                "visitor_id": f"v{pick.randrange(4)}",
                "ts_us": NOW - pick.choice([MINUTE, HOUR, DAY, 9 * DAY]) * pick.randrange(9),
                "path": f"/{pick.randrange(3)}",
                "kind": pick.choice([1, 1, 1, 2, 3]),
                "excluded": pick.choice([0, 0, 0, 1]),
            }
            for _ in range(11)
        ]
        for event in events:
            event["engaged_s"] = pick.choice([0.0, 0.1, 1.7]) if event["kind"] == 2 else 0.0
        store.commit([web_batch(events, tenant_id=pick.choice([SITE, "other"]))])


async def test_a_store_that_nobody_damaged_is_right(engine: Engine) -> None:
    store = engine.open()
    assert await store.differences(10, 60) == []
    fill(store)
    assert await store.differences(10, 60) == []
    store = engine.reopen()
    fill(store, seed=6)
    assert await store.differences(10, 60) == []


def known_traffic(store: EventStore) -> None:
    """Two page views, a visit and 2.5 seconds at NOW on /a, and much at another site, so that an
    engine that folds has folded.
    """
    beat = {"path": "/a", "kind": 2, "engaged_s": 2.5}
    store.commit([web_batch([{"path": "/a"}, {"path": "/a"}, beat])])
    store.commit([web_batch([{"path": f"/{n}"} for n in range(30)], tenant_id="other")])


RIGHT = Sums(2, 1, 2.5)


def at_page(expected: Sums, found: Sums, page: str = "example.com/a") -> Difference:
    return Difference("pageday", SITE, TODAY, None, page, expected, found)


def at_slot(expected: Sums, found: Sums) -> Difference:
    return Difference("slot15", SITE, TODAY, NOW, None, expected, found)


SHIFTED = f"INSERT INTO pageday VALUES ('{SITE}', {TODAY}, 77, 1, 0, 0)"
DAMAGES = [
    (
        "ALTER TABLE pageday UPDATE pageviews = 3",
        "UPDATE pageday SET pageviews = 3",
        [at_page(RIGHT, Sums(3, 1, 2.5))],
    ),
    (
        "ALTER TABLE slot15 UPDATE visits = 0",
        "UPDATE slot15 SET visits = 0",
        [at_slot(RIGHT, Sums(2, 0, 2.5))],
    ),
    (
        "ALTER TABLE slot15 UPDATE engaged_us = engaged_us + 1",
        "UPDATE slot15 SET engaged_us = engaged_us + 1",
        [at_slot(RIGHT, Sums(2, 1, 2.500001))],
    ),
    ("DELETE FROM slot15", "DELETE FROM slot15", [at_slot(RIGHT, Sums(0, 0, 0.0))]),
    (
        "ALTER TABLE web_events DELETE",
        "DELETE FROM web_events",
        [at_slot(Sums(0, 0, 0.0), RIGHT), at_page(Sums(0, 0, 0.0), RIGHT)],
    ),
]


@pytest.mark.parametrize(("clickhouse", "duckdb", "expected"), DAMAGES, ids=lambda v: str(v)[:40])
async def test_damage_is_found(
    engine: Engine, clickhouse: str, duckdb: str, expected: list[Difference]
) -> None:
    store = engine.open()
    known_traffic(store)
    statement = duckdb if engine.name == "duckdb" else clickhouse
    where = f" WHERE site_id = '{SITE}'"
    if engine.name != "duckdb":
        where += " SETTINGS mutations_sync = 1" if statement.startswith("ALTER") else ""
    execute(store, statement + where)
    assert await store.differences(10, 60) == expected
    assert await store.differences(1, 60) == expected[:1]


async def test_a_row_of_an_unknown_page_and_a_wrong_mark_are_found(engine: Engine) -> None:
    store = engine.open()
    known_traffic(store)
    execute(store, SHIFTED)
    assert await store.differences(10, 60) == [
        at_page(Sums(0, 0, 0.0), Sums(1, 0, 0.0), page="page 77")
    ]
    if engine.name == "duckdb":
        # The marks of rows are not believed, where they are still to be folded.
        store.commit([web_batch([{"visitor_id": "new", "path": "/a"}])])
        execute(store, "UPDATE web_events SET visits = 0 WHERE visitor_id = 'new'")
        found = await store.differences(10, 60)
        assert at_slot(Sums(3, 2, 2.5), Sums(3, 1, 2.5)) in found
    assert page_id(SITE, "example.com", "/a") != 77


def verify_in_a_process(url: str) -> str:
    code = (
        "import sys\n"
        "from footfall.events import verify_event_store\n"
        "for found in verify_event_store(sys.argv[1], rows_max=10): print(found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_file_is_verified_beside_the_process_that_writes_to_it(tmp_path: Path) -> None:
    engine = Engine("duckdb", f"duckdb:///{tmp_path}/events.duckdb")
    store = engine.open()
    fill(store)
    known_traffic(store)
    execute(store, f"UPDATE slot15 SET pageviews = 9 WHERE site_id = '{SITE}'")
    assert "pageviews=9" in verify_in_a_process(engine.url)
    # Nothing is left behind, and nothing was taken from the writer.
    assert {file.name for file in tmp_path.iterdir()} == {"events.duckdb", "events.duckdb.wal"}
    fill(store, seed=8)
    engine.close()
    assert "pageviews=9" in verify_in_a_process(engine.url)


def test_a_file_that_changes_all_the_time_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_PAUSE_S", 0)
    path = tmp_path / "events.duckdb"
    path.write_bytes(b"file")
    Path(f"{path}.wal.checkpoint").touch()
    folder = tmp_path / "copy"
    folder.mkdir()
    with pytest.raises(UnavailableError, match="or stop the server"):
        verifying.copy_beside_server(path, folder)
    Path(f"{path}.wal.checkpoint").unlink()
    Path(f"{path}.wal").write_bytes(b"log")
    copy = verifying.copy_beside_server(path, folder)
    assert (copy.read_bytes(), Path(f"{copy}.wal").read_bytes()) == (b"file", b"log")


def test_an_older_schema_is_left_alone(engine: Engine) -> None:
    store = engine.open()
    execute(
        store,
        "DELETE FROM schema_migrations WHERE version > 1"
        if engine.name == "duckdb"
        else "ALTER TABLE schema_migrations DELETE WHERE version > 1 SETTINGS mutations_sync = 1",
    )
    url = engine.url
    engine.close()
    with pytest.raises(UnavailableError, match=r"has schema 1, but .* Start its server once"):
        verify_event_store(url, rows_max=1)
