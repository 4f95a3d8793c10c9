"""The record of calls: nothing on the way of a call, nothing lost that the store can still take."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from footfall.errors import FootfallError, OverloadedError, UnavailableError
from footfall.ingest.model import NO_KEY, CommitOutcome, EventBatch, EventTable
from footfall.ingest.recording import CallRecorder, RecordedCall


@dataclass
class Store:
    """Keeps the batches that it is given, unless it is told to fail."""

    failures: list[Exception] = field(default_factory=list)
    batches: list[EventBatch] = field(default_factory=list)
    took: asyncio.Event = field(default_factory=asyncio.Event)

    async def commit(self, batch: EventBatch) -> CommitOutcome:
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(batch)
        self.took.set()
        return CommitOutcome((), 0)

    def rows(self) -> list[tuple[str, int]]:
        return sorted((b.tenant_id, at) for b in self.batches for at in b.columns["ts_us"])


def call(number: int, workspace_id: str = "w") -> RecordedCall:
    return RecordedCall(workspace_id, "/v1/analytics/{metric}", "GET", 200, number, 1500)


def recorder(store: Store, numbers: Sequence[int] = (), **limits: float) -> CallRecorder:
    made = CallRecorder(store, clock=lambda: 99, **limits)  # type: ignore[arg-type]
    for number in numbers:
        made.record(call(number))
    return made


async def test_a_call_is_an_event_of_its_workspace() -> None:
    store = Store()
    made = recorder(store, (1, 2))
    made.record(call(3, "other"))
    await made.flush()
    mine = next(batch for batch in store.batches if batch.tenant_id == "w")
    assert (mine.table, mine.received_us, mine.dedup_keys) == (
        EventTable.API_CALLS,
        99,
        [NO_KEY, NO_KEY],
    )
    assert mine.columns == {
        "event_id": ["", ""],
        "ts_us": [1, 2],
        "endpoint": ["/v1/analytics/{metric}"] * 2,
        "method": ["GET", "GET"],
        "status": [200, 200],
        "duration_us": [1500, 1500],
    }
    assert store.rows() == [("other", 3), ("w", 1), ("w", 2)]
    assert (made.stats.recorded, made.stats.dropped) == (3, 0)


async def test_what_gathers_is_committed_by_itself() -> None:
    store = Store()
    made = recorder(store, interval_s=0.01)
    running = asyncio.create_task(made.run())
    for number in range(3):
        made.record(call(number))
        await asyncio.wait_for(store.took.wait(), 10)
        store.took.clear()
    running.cancel()
    assert store.rows() == [("w", 0), ("w", 1), ("w", 2)]


@pytest.mark.parametrize("error", [UnavailableError("Down."), OverloadedError("Full.")])
async def test_calls_wait_for_a_store_that_does_not_answer(error: FootfallError) -> None:
    store = Store([error])
    made = recorder(store, (1, 2))
    await made.flush()
    assert not store.batches
    made.record(call(3))
    await made.flush()
    assert store.rows() == [("w", 1), ("w", 2), ("w", 3)]
    assert (made.stats.recorded, made.stats.dropped) == (3, 0)


async def test_calls_that_the_store_will_never_take_are_dropped_and_counted() -> None:
    store = Store([FootfallError("No.")])
    made = recorder(store, (1, 2))
    await made.flush()
    await made.flush()
    assert not store.batches
    assert (made.stats.recorded, made.stats.dropped) == (0, 2)


async def test_no_more_than_so_many_wait() -> None:
    store = Store([UnavailableError("Down.")])
    made = recorder(store, range(5), queue_max=3)
    assert made.stats.dropped == 2
    await made.flush()
    made.record(call(9))
    assert made.stats.dropped == 3
    await made.flush()
    assert store.rows() == [("w", 0), ("w", 1), ("w", 2)]
