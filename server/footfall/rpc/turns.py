"""Turns: of an account's questions, a few are answered at a time, and others wait for them.

What a plan allows in a minute may be asked for in a second. All at once it would stand in front of
everybody else's calls, for Python and for the cores of the store.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final
from weakref import WeakValueDictionary

from footfall.rpc.call import Call, Method, Step

#: How many questions of an account have a turn at a time: two, or half of many cores.
AT_ONCE: Final = max(2, (os.cpu_count() or 1) // 2)
#: How long a turn is. A question that takes longer goes on without one, so that those behind it do
#: not wait for its end.
TURN_S: Final = 0.1


class Turns:
    """Makes calls that spend of an allowance wait for others of the same account.

    Streams take no turns, because they go on for hours, nor do writes, which share commits.
    """

    def __init__(self, *, at_once: int = AT_ONCE, turn_s: float = TURN_S) -> None:
        self._at_once = at_once
        self._turn_s = turn_s
        #: By account and whether it is a stranger who asks; kept while somebody has use for them.
        self._places: WeakValueDictionary[tuple[str, bool], asyncio.Semaphore] = (
            WeakValueDictionary()
        )

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that waits for its turn before `proceed`."""
        if method.policy.allowance is None or method.streaming:
            return proceed

        async def step(call: Call) -> None:
            if call.tenant is None:
                await proceed(call)
                return
            caller = (call.tenant.account_id, call.principal is None)
            places = self._places.setdefault(caller, asyncio.Semaphore(self._at_once))
            await places.acquire()
            turn = _Turn(places, self._turn_s)
            try:
                await proceed(call)
            finally:
                turn.end()

        return step


class _Turn:
    """A place that was taken, and is given back once."""

    def __init__(self, places: asyncio.Semaphore, seconds: float) -> None:
        self._places: asyncio.Semaphore | None = places
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end)

    def end(self) -> None:
        """Give the place to the next who waits."""
        self._timer.cancel()
        if self._places is not None:
            self._places.release()
            self._places = None
