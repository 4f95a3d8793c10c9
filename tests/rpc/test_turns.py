"""How many questions of one account are answered at the same time."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

from footfall.accounts.model import Application, ApplicationAccess, ApplicationGrant, Plan
from footfall.rpc.services import methods
from footfall.rpc.turns import AT_ONCE, Turns

METHODS = methods()
QUESTION = METHODS["/footfall.v1.TimeseriesService/QueryTimeseries"]
LIVE = METHODS["/footfall.v1.RealtimeService/GetRealtime"]


def call_of(account: str | None) -> Any:
    """Return what of a call matters: whom it is about."""
    if account is None:
        return SimpleNamespace(tenant=None)
    application = Application(f"app of {account}", account, "x", Plan("free", 1, 1, 1, 1))
    return SimpleNamespace(tenant=ApplicationGrant(application, ApplicationAccess.READ))


class Answering:
    """Answers calls when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[Any] = []
        self.go = asyncio.Event()

    async def step(self, call: Any) -> None:
        self.under_way.append(call)
        try:
            await self.go.wait()
        finally:
            self.under_way.remove(call)


async def begin(step: Any, *calls: Any) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(step(call)) for call in calls]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_an_account_waits_for_itself_alone() -> None:
    turns, answering = Turns(), Answering()
    step = turns.wrap(QUESTION, answering.step)
    noisy = [call_of("noisy") for _ in range(5)]
    tasks = await begin(step, *noisy)
    assert answering.under_way == noisy[:AT_ONCE]
    # Somebody else, and nobody in particular, are answered at once.
    others = [call_of("quiet"), call_of(None), call_of(None), call_of(None)]
    tasks += await begin(step, *others)
    assert answering.under_way == noisy[:AT_ONCE] + others
    # Who leaves gives up the place, in the queue as well.
    tasks[0].cancel()
    tasks[AT_ONCE].cancel()
    tasks += await begin(step)
    assert answering.under_way == noisy[1:AT_ONCE] + others + noisy[AT_ONCE + 1 : AT_ONCE + 2]
    answering.go.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert answering.under_way == []


async def test_nothing_is_kept_of_whoever_has_no_call_under_way() -> None:
    turns, answering = Turns(), Answering()
    tasks = await begin(turns.wrap(QUESTION, answering.step), call_of("once"))
    assert list(turns._places) == ["once"]
    answering.go.set()
    await asyncio.gather(*tasks)
    tasks.clear()
    gc.collect()
    assert list(turns._places) == []


async def test_only_questions_to_the_event_store_take_turns() -> None:
    answering = Answering()
    assert Turns().wrap(LIVE, answering.step) == answering.step
