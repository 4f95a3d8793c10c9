"""What was removed is not among the bytes of a DuckDB file, and everything else still is."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.analytics.model import HistoryQuery
from footfall.errors import UnavailableError
from footfall.events.duckdb import scrub as scrub_module
from footfall.events.duckdb.store import DuckDBStore
from footfall.ingest.model import Removal
from tests.events.traffic import (
    MINUTE,
    NOW,
    FakeClock,
    api_batch,
    everything,
    execute,
    page,
    query,
    web_batch,
)

#: Texts that are found in a file wherever they are; no compression splits what is there once.
CANARY = "kanarienvogel"
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it's an event.store.duckdb"


@pytest.fixture
def store(path: Path) -> Iterator[DuckDBStore]:
    store = opened(path)
    yield store
    store.close()


def opened(path: Path) -> DuckDBStore:
    return DuckDBStore(str(path), memory_mb=200, clock=FakeClock(), fold_rows=500)


def bytes_with_canaries(path: Path) -> dict[str, int]:
    """Return how often canaries are in each of the store's files."""
    return {
        file.name: found
        for file in path.parent.iterdir()
        if file.is_file() and (found := file.read_bytes().count(CANARY.encode()))
    }


def fill(store: DuckDBStore, events: int = 200, seed: int = 1) -> None:
    """Store events of two sites and an application in between each other; the site CANARY's have
    canaries in all their texts, and so has a visitor's of the other one.
    """
    pick = random.Random(seed)
    for _ in range(events // 20):
        theirs = []
        for _ in range(10):
            name = f"{CANARY}-{pick.getrandbits(64):016x}"
            texts = dict.fromkeys(("referrer", "city", "language", "properties", "event_id"), name)
            theirs.append({**texts, "visitor_id": name, "path": f"/{name}"})
        known = [page(f"/{CANARY}-t{pick.getrandbits(32)}", CANARY, title=f"{CANARY} title")]
        store.commit([web_batch(theirs, CANARY, pages=known)])
        visitors = [f"{CANARY}-visitor", *(f"v{pick.randrange(9)}" for _ in range(9))]
        mine = [
            {"visitor_id": visitor, "path": f"/{pick.randrange(20)}", "ts_us": NOW + n * MINUTE}
            for n, visitor in enumerate(visitors)
        ]
        store.commit([web_batch(mine), api_batch([{"url": "/x"}])])


def remove_canaries(store: DuckDBStore) -> None:
    assert store.remove(Removal(CANARY)) > 0
    assert store.remove(Removal("site", visitor_id=f"{CANARY}-visitor")) > 0


def let_rest(store: DuckDBStore) -> None:
    """Do what the writer's thread does until there is nothing left for it to do."""
    while (wait_s := store.rest()) is not None:
        time.sleep(wait_s)


def contents(store: DuckDBStore) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables in the order of their places in the file."""
    ((names,),) = query(store, "SELECT list(table_name) FROM duckdb_tables()")
    return {
        name: query(store, f"SELECT * EXCLUDE (scrubbed_us) FROM {name}")
        if name == "removals"
        else query(store, f"SELECT * FROM {name} ORDER BY rowid")
        for name in names
    }


async def test_what_is_removed_stays_in_the_file_until_it_is_scrubbed(
    store: DuckDBStore, path: Path
) -> None:
    fill(store)
    execute(store, "CHECKPOINT")
    fill(store, seed=2)
    assert set(bytes_with_canaries(path)) == {path.name, f"{path.name}.wal"}
    remove_canaries(store)
    execute(store, "CHECKPOINT")
    # The reason for all this: should it ever fail, DuckDB has learnt to do it by itself.
    assert bytes_with_canaries(path)
    before = contents(store)
    store.scrub()
    assert bytes_with_canaries(path) == {}
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    after = contents(store)
    assert {name: sorted(rows) for name, rows in after.items()} == {
        name: sorted(rows) for name, rows in before.items()
    }
    assert [row[0] for row in after["web_events"]] == sorted(row[0] for row in after["web_events"])
    assert await store.differences(10, 60) == []
    # The store goes on as before, and is the same when it is opened again.
    store.commit([web_batch([{"visitor_id": "v"}] * 600), api_batch([{}])])
    store.close()
    store = opened(path)
    assert await store.differences(10, 60) == []
    assert len(await everything(store)) == len(before["api_requests"]) + 1
    store.close()


async def test_events_and_reads_go_on_meanwhile(
    store: DuckDBStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_module, "_GATHER_S", 0.0)
    monkeypatch.setattr(scrub_module, "_COPY_ROWS", 50)
    fill(store)
    remove_canaries(store)
    # The copy is held up until events have come.
    held, going = threading.Event(), threading.Event()
    copy = scrub_module._copy

    def held_up(*args: object) -> None:
        going.set()
        held.wait(30)
        copy(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(scrub_module, "_copy", held_up)
    assert store.rest() is not None
    await asyncio.to_thread(going.wait, 30)
    more = [{"visitor_id": f"n{n}", "path": f"/new-{n}"} for n in range(600)]
    store.commit([web_batch(more), api_batch([{"url": "/meanwhile"}])])
    asked = HistoryQuery("site", 0, 2**30, 100)
    history = await store.history(asked, 60)
    held.set()
    let_rest(store)
    assert bytes_with_canaries(path) == {}
    assert await store.history(asked, 60) == history
    assert [row.url for row in await everything(store)][-1] == "/meanwhile"
    assert await store.differences(10, 60) == []


async def test_a_removal_during_a_copy_begins_it_anew(
    store: DuckDBStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_module, "_GATHER_S", 0.0)
    fill(store)
    store.remove(Removal("site", visitor_id=f"{CANARY}-visitor"))
    store.rest()
    assert store._scrubber.copying
    store.remove(Removal(CANARY))
    let_rest(store)
    assert bytes_with_canaries(path) == {}
    assert await store.differences(10, 60) == []


async def test_it_waits_for_reads_and_then_tries_again(
    store: DuckDBStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_module, "_GATHER_S", 0.0)
    monkeypatch.setattr(scrub_module, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(scrub_module, "_PATIENCE_MAX_S", 0.1)
    fill(store)
    remove_canaries(store)
    reading = asyncio.create_task(store._engine.read(lambda c: c.execute(ENDLESS).fetchall(), 600))
    await asyncio.sleep(0.1)
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        wait_s = store.rest()
        assert wait_s is not None
        # Others are let in between.
        await store.ping(30)
        await asyncio.sleep(wait_s)
    assert not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    let_rest(store)
    assert bytes_with_canaries(path) == {}


def test_a_restart_does_what_was_left(path: Path) -> None:
    store = opened(path)
    fill(store)
    remove_canaries(store)
    store.close()
    # What a crash leaves of a copy is in nobody's way.
    Path(f"{path}.fresh").write_bytes(b"half a copy of " + CANARY.encode())
    Path(f"{path}.fresh.wal").write_bytes(b"its log")
    store = opened(path)
    assert set(bytes_with_canaries(path)) == {path.name}
    store.scrub()
    assert bytes_with_canaries(path) == {}
    # Once is enough.
    written = path.stat().st_ino
    store.close()
    store = opened(path)
    assert store.rest() is None
    store.scrub()
    assert path.stat().st_ino == written
    store.close()


def test_without_room_it_is_put_off(
    store: DuckDBStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_module, "_GATHER_S", 0.0)
    fill(store)
    remove_canaries(store)
    monkeypatch.setattr(scrub_module.shutil, "disk_usage", lambda _: _Full)
    wait_s = store.rest()
    assert wait_s is not None
    assert wait_s > 30
    with pytest.raises(UnavailableError, match="no room"):
        store.scrub()
    store.commit([api_batch([{}])])
    monkeypatch.undo()
    store.scrub()
    assert bytes_with_canaries(path) == {}


class _Full:
    free = 1
