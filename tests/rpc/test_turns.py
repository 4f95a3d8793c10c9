"""How many questions of an account are answered at a time, and for whom that is of no account."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from footfall.rpc.call import Call
from footfall.rpc.services import methods
from footfall.rpc.turns import Turns
from tests.rpc.conftest import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

METHODS = methods()
READ = METHODS["/footfall.v1.TimeseriesService/QueryTimeseries"]
OTHER_READ = METHODS["/footfall.v1.RealtimeService/GetRealtime"]
WRITE = METHODS["/footfall.v1.IngestService/IngestWebEvents"]
STREAM = METHODS["/footfall.v1.RealtimeService/WatchRealtime"]
LONG_S = 60.0


class Answering:
    """Calls that go through turns and are answered when the test says so."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.go = asyncio.Event()
        self.answering: list[str] = []

    def ask(
        self, account: str | None, method: Any = READ, *, principal: Any = "key"
    ) -> asyncio.Task[None]:
        context: Any = SimpleNamespace(invocation_metadata=tuple)
        call = Call(method, b"", context)
        call.principal = principal
        call.tenant = None if account is None else SimpleNamespace(account_id=account)
        return asyncio.ensure_future(self._turns.wrap(method, self._answer)(call))

    async def _answer(self, call: Call) -> None:
        account = call.tenant.account_id if call.tenant else "nobody"
        self.answering.append(account)
        try:
            await self.go.wait()
        finally:
            self.answering.remove(account)

    async def settle(self) -> list[str]:
        """Return whose calls are being answered once all have come as far as they do."""
        for _ in range(20):
            await asyncio.sleep(0)
        return sorted(self.answering)


async def test_an_account_waits_for_itself_and_nobody_else() -> None:
    calls = Answering(Turns(at_once=2, turn_s=LONG_S, shared_s=LONG_S))
    others = [calls.ask("b"), calls.ask("a", principal=None), calls.ask(None), calls.ask(None)]
    first = [calls.ask("a", method) for method in (READ, OTHER_READ, READ, OTHER_READ, READ)]
    assert await calls.settle() == ["a", "a", "a", "b", "nobody", "nobody"]
    calls.go.set()
    await asyncio.gather(*first, *others)


async def test_who_is_alone_waits_for_nobody() -> None:
    calls = Answering(Turns(at_once=1, turn_s=LONG_S, shared_s=0.2))
    asked = [calls.ask("a") for _ in range(3)]
    assert await calls.settle() == ["a"] * 3
    asked += [calls.ask("b", WRITE), calls.ask("a"), calls.ask("a")]
    assert await calls.settle() == ["a"] * 4 + ["b"]
    await asyncio.sleep(0.25)
    asked.append(calls.ask("a"))
    assert await calls.settle() == ["a"] * 5 + ["b"]
    calls.go.set()
    await asyncio.gather(*asked)


async def test_writes_and_streams_take_no_turns() -> None:
    calls = Answering(shared(turn_s=LONG_S))
    asked = [calls.ask("a", method) for method in (WRITE, WRITE, STREAM, STREAM, READ, READ)]
    assert await calls.settle() == ["a"] * 5
    calls.go.set()
    await asyncio.gather(*asked)


async def test_turns_of_calls_that_end_early_are_given_on() -> None:
    calls = Answering(shared(turn_s=LONG_S))
    answered, waiting, last = (calls.ask("a") for _ in range(3))
    await calls.settle()
    waiting.cancel()
    answered.cancel()
    assert await calls.settle() == ["a"]
    calls.go.set()
    await last
    assert (answered.cancelled(), waiting.cancelled()) == (True, True)


async def test_a_long_question_does_not_keep_others_waiting() -> None:
    calls = Answering(shared(turn_s=0.05))
    asked = [calls.ask("a") for _ in range(3)]
    await eventually(lambda: calls.answering == ["a"] * 3)
    calls.go.set()
    await asyncio.gather(*asked)
    # Places that were given back when the turn ended are not given back again by the answer.
    calls.go.clear()
    again = [calls.ask("a") for _ in range(3)]
    assert await calls.settle() == ["a"]
    calls.go.set()
    await asyncio.gather(*again)


def shared(*, turn_s: float) -> Turns:
    """Return turns of one at a time that somebody else has called through just now."""
    turns = Turns(at_once=1, turn_s=turn_s, shared_s=LONG_S)
    for account in ("b", "a"):
        turns._is_shared(account)
    return turns
