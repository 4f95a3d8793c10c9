"""What only DuckDB does: interrupts, folds, checkpoints, and opening itself again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from footfall.errors import DeadlineError, UnavailableError
from footfall.events.duckdb import store as store_module
from footfall.events.duckdb.store import DuckDBStore
from tests.events.traffic import (
    MINUTE,
    NOW,
    FakeClock,
    api_batch,
    everything,
    execute,
    query,
    rollup,
    web_batch,
)

#: Takes minutes if it is let.
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/events.duckdb"


@pytest.fixture
def store(path: str) -> Iterator[DuckDBStore]:
    store = DuckDBStore(path, memory_mb=200, clock=FakeClock(), fold_rows=10)
    yield store
    store.close()


async def until_free(store: DuckDBStore) -> None:
    give_up = time.monotonic() + 30
    while store._engine._cursors:
        assert time.monotonic() < give_up, "a query goes on that nobody waits for"
        await asyncio.sleep(0.01)


async def test_a_deadline_frees_the_engine(store: DuckDBStore) -> None:
    for _ in range(8):
        with pytest.raises(DeadlineError):
            await store._engine.read(lambda c: c.execute(ENDLESS).fetchall(), 0.05)
    await until_free(store)
    await store.ping(30)


async def test_cancellation_frees_the_engine(store: DuckDBStore) -> None:
    async def endless() -> None:
        await store._engine.read(lambda c: c.execute(ENDLESS).fetchall(), 600)

    # More than there are threads, so that some are cancelled before they begin.
    tasks = [asyncio.create_task(endless()) for _ in range(12)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await until_free(store)
    store.commit([api_batch([{}])])
    assert len(await everything(store)) == 1


async def test_closing_ends_reads(store: DuckDBStore) -> None:
    reading = asyncio.create_task(store._engine.read(lambda c: c.execute(ENDLESS).fetchall(), 600))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(store.close)
    with pytest.raises(UnavailableError):
        await reading
    with pytest.raises(UnavailableError):
        await store.ping(10)
    with pytest.raises(UnavailableError):
        store.commit([api_batch([{}])])
    store.close()


def test_rollups_are_folded_by_the_watermark(store: DuckDBStore) -> None:
    watermark = "SELECT through_seq FROM folded"
    store.commit([web_batch([{"path": f"/{n}"} for n in range(9)])])
    assert query(store, watermark) == [(0,)]
    assert query(store, "SELECT count(*) FROM pageday") == [(0,)]
    store.commit([web_batch([{"path": "/0", "ts_us": NOW + MINUTE}])])
    assert query(store, watermark) == [(10,)]
    assert query(store, "SELECT count(*), sum(pageviews), sum(visits) FROM pageday") == [(9, 10, 1)]
    store.commit([web_batch([{"path": "/0", "ts_us": NOW + MINUTE}] * 10)])
    assert query(store, watermark) == [(20,)]
    # A key has one row however often it is folded.
    assert query(store, "SELECT count(*), sum(pageviews), sum(visits) FROM pageday") == [(9, 20, 1)]
    assert query(store, "SELECT pageviews, visits FROM slot15") == [(20, 1)]


async def test_a_fold_that_fails_is_tried_again_and_no_event_is_refused(
    store: DuckDBStore,
) -> None:
    execute(store, "ALTER TABLE pageday RENAME TO away")
    store.commit([web_batch([{}] * 12)])
    assert query(store, "SELECT through_seq FROM folded") == [(0,)]
    assert query(store, "SELECT count(*) FROM slot15") == [(0,)]
    execute(store, "ALTER TABLE away RENAME TO pageday")
    store.commit([web_batch([{}])])
    assert query(store, "SELECT through_seq FROM folded") == [(13,)]
    assert list(rollup(store, "slot15", ["slot_us"]).values()) == [(13, 1)]


def test_a_fold_whose_word_was_lost_is_not_done_again(store: DuckDBStore) -> None:
    store.commit([web_batch([{"visitor_id": f"v{number}"} for number in range(10)])])
    folded = rollup(store, "slot15", ["slot_us"])
    assert query(store, "SELECT through_seq FROM folded") == [(10,)]
    # Its commit got through, but was taken to have failed.
    store._folded_seq = 0
    store.fold()
    assert rollup(store, "slot15", ["slot_us"]) == folded


def test_the_log_is_folded_into_the_file(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit([api_batch([{}] * 1000)])
    assert store._engine.wal_bytes() > 0
    monkeypatch.setattr(store_module, "_CHECKPOINT_BYTES", 1)
    store.commit([api_batch([{}])])
    assert store._engine.wal_bytes() == 0


def test_at_rest_less_is_worth_folding_into_the_file(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit([api_batch([{}] * 1000)])
    store.rest()
    assert store._engine.wal_bytes() > 0
    monkeypatch.setattr(store_module, "_IDLE_CHECKPOINT_BYTES", 1)
    store.rest()
    assert store._engine.wal_bytes() == 0


def test_the_log_holds_a_bounded_number_of_commits(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_CHECKPOINT_COMMITS", 5)
    store._logged_commits = 0
    for _ in range(2):
        for _ in range(4):
            store.commit([api_batch([{}])])
            assert store._engine.wal_bytes() > 0
        store.commit([api_batch([{}])])
        assert store._engine.wal_bytes() == 0


def test_what_a_crash_left_in_the_log_is_folded_soon(
    store: DuckDBStore, path: str, tmp_path: Path
) -> None:
    store.commit([api_batch([{}])])
    # What a crash now would leave.
    left = f"{tmp_path}/left.duckdb"
    shutil.copy(path, left)
    shutil.copy(f"{path}.wal", f"{left}.wal")
    with closing(DuckDBStore(left, clock=FakeClock())) as again:
        # Those who waited for the start come first.
        again.commit([api_batch([{}])])
        pause_s = again.rest()
        assert pause_s is not None
        assert pause_s > 0
        assert again._engine.wal_bytes() > 0
        again._upkeep_after = 0.0
        assert again.rest() is None
        assert again._engine.wal_bytes() == 0
        assert query(again, "SELECT count(*) FROM api_requests") == [(2,)]


async def test_an_invalidated_database_is_opened_again(store: DuckDBStore) -> None:
    store.commit([api_batch([{"event_id": "a"}])])
    # What a fault of the disk does, without the disk.
    store._engine._note_fault(duckdb.FatalException("database has been invalidated"))
    (outcome,) = store.commit([api_batch([{"event_id": "a"}, {"event_id": "b"}])])
    assert list(outcome.duplicate_rows) == [0]
    assert [row.event_id for row in await everything(store)] == ["a", "b"]


class Faulty(DuckDBStore):
    """Loses the answer of a commit that has succeeded, and cannot ask again at once."""

    losing = False

    def write(self, rows: object) -> None:
        super().write(rows)  # type: ignore[arg-type]
        if self.losing:
            self._doubtful = True
            raise UnavailableError("lost")


def test_a_commit_in_doubt_is_settled_by_the_file(path: str, tmp_path: Path) -> None:
    store = Faulty(path, memory_mb=200, clock=FakeClock(), fold_rows=2)
    store.commit([api_batch([{"event_id": "a"}])])
    store.losing = True
    with pytest.raises(UnavailableError):
        store.commit([web_batch([{}] * 5), api_batch([{"event_id": "b"}])])
    store.losing = False
    assert query(store, "SELECT count(*) FROM web_events") == [(5,)]
    # The callers were told that it failed, so it has.
    (outcome,) = store.commit([api_batch([{"event_id": "b"}])])
    assert (list(outcome.duplicate_rows), outcome.last_seq) == ([], 2)
    assert query(store, "SELECT count(*) FROM web_events") == [(0,)]
    assert query(store, "SELECT event_id FROM api_requests ORDER BY seq") == [("a",), ("b",)]
    store.close()


def test_a_file_in_use_is_refused_with_what_to_do(store: DuckDBStore, path: str) -> None:
    code = (
        "from footfall.events import open_event_store\n"
        "from footfall.errors import UnavailableError\n"
        "try: open_event_store('duckdb:///' + __import__('sys').argv[1])\n"
        "except UnavailableError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    said = done.stdout.strip().splitlines()[-1]
    assert said.startswith("The event store cannot be opened: another process may have it open")
    assert path not in said
