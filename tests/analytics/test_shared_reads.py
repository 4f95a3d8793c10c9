"""Who shares a read with whom, and that nobody is told anything old."""

from __future__ import annotations

import asyncio

import pytest

from footfall.analytics.model import LiveCounts
from footfall.analytics.shared_reads import SharedReads
from footfall.errors import UnavailableError


class Slow:
    """Live state that is read when the test says so; it counts what happened before each read."""

    def __init__(self) -> None:
        self.events = 0
        self.reads: list[tuple[str, int, int]] = []
        self.failing = False
        self._gates: list[asyncio.Event] = []

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts:
        self.reads.append((site_id, now_ms, local_day))
        seen, gate = self.events, asyncio.Event()
        self._gates.append(gate)
        await gate.wait()
        if self.failing:
            raise UnavailableError("away")
        return LiveCounts(seen, 0, 0, {}, {}, {}, (), ())

    async def ping(self) -> None: ...

    async def finish(self) -> None:
        """End the oldest read, and let its readers go on."""
        self._gates.pop(0).set()
        for _ in range(5):
            await asyncio.sleep(0)


async def asked(
    live: SharedReads, site_id: str = "a", now_ms: int = 1, day: int = 1
) -> asyncio.Task[int]:
    async def active() -> int:
        return (await live.snapshot(site_id, now_ms, day)).active

    task = asyncio.create_task(active())
    await asyncio.sleep(0)
    return task


async def test_readers_who_ask_meanwhile_share_the_next_read() -> None:
    state = Slow()
    live = SharedReads(state)
    first = await asked(live)
    state.events = 1
    others = [await asked(live, now_ms=now_ms) for now_ms in (5, 7, 6)]
    assert len(state.reads) == 1
    await state.finish()
    assert await first == 0
    assert state.reads[1:] == [("a", 7, 1)]
    # The shared read has begun: whoever asks now waits for the one after it.
    state.events = 2
    late = await asked(live, now_ms=9)
    await state.finish()
    assert [await other for other in others] == [1, 1, 1]
    await state.finish()
    assert await late == 2
    assert len(state.reads) == 3


async def test_sites_and_days_do_not_wait_for_each_other() -> None:
    state = Slow()
    live = SharedReads(state)
    tasks = [await asked(live), await asked(live, "b"), await asked(live, day=2)]
    assert len(state.reads) == 3
    for _ in tasks:
        await state.finish()
    assert [await task for task in tasks] == [0, 0, 0]


async def test_a_reader_who_goes_away_takes_nothing_from_the_others() -> None:
    state = Slow()
    live = SharedReads(state)
    first, second, third = [await asked(live) for _ in range(3)]
    first.cancel()
    second.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(state.reads) == 2
    await state.finish()
    await state.finish()
    assert await third == 0


async def test_a_failure_reaches_all_who_share_it_and_no_one_later() -> None:
    state = Slow()
    live = SharedReads(state)
    tasks = [await asked(live) for _ in range(3)]
    state.failing = True
    await state.finish()
    await state.finish()
    for task in tasks:
        with pytest.raises(UnavailableError):
            await task
    state.failing = False
    later = await asked(live)
    await state.finish()
    assert await later == 0
