"""Turns: while others call, too, an account's questions are answered one after the other.

What a plan allows in a minute may be asked for in a second. All at once it would stand in front of
everybody else's calls, for Python and for the cores of the store.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final
from weakref import WeakValueDictionary

from footfall.rpc.call import Call, Method, Step

#: How many questions of an account have a turn at a time: one, or half of many cores.
AT_ONCE: Final = max(1, (os.cpu_count() or 1) // 2)
#: How long a turn is. A question that takes longer goes on without one, so that those behind it do
#: not wait for its end.
TURN_S: Final = 0.1
#: How long an account is not alone after calls of two accounts have followed each other.
SHARED_S: Final = 10.0


class Turns:
    """Makes calls that spend of an allowance wait for others of the same account, while it is not
    the only one that calls.

    Streams take no turns, because they go on for hours, nor do writes, which share commits.
    """

    def __init__(
        self, *, at_once: int = AT_ONCE, turn_s: float = TURN_S, shared_s: float = SHARED_S
    ) -> None:
        self._at_once = at_once
        self._turn_s = turn_s
        self._shared_s = shared_s
        #: By account and whether it is a stranger who asks; kept while somebody has use for them.
        self._places: WeakValueDictionary[tuple[str, bool], asyncio.Semaphore] = (
            WeakValueDictionary()
        )
        #: Whose call was the last one, and until when it is taken not to be alone.
        self._last = ""
        self._shared_until = 0.0

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that waits for its turn before `proceed`."""
        asks = method.policy.allowance is not None and not method.streaming

        async def step(call: Call) -> None:
            account = _account(call)
            if not (self._is_shared(account) and asks and account):
                await proceed(call)
                return
            caller = (account, call.principal is None)
            places = self._places.setdefault(caller, asyncio.Semaphore(self._at_once))
            await places.acquire()
            turn = _Turn(places, self._turn_s)
            try:
                await proceed(call)
            finally:
                turn.end()

        return step

    def _is_shared(self, account: str) -> bool:
        """Note who calls; return whether others have called lately."""
        now = asyncio.get_running_loop().time()
        if account and account != self._last:
            if self._last:
                self._shared_until = now + self._shared_s
            self._last = account
        return now < self._shared_until


def _account(call: Call) -> str:
    """Return the account that a call is about; empty for those of nobody, or of several."""
    tenant = call.tenant
    return tenant if isinstance(tenant, str) else getattr(tenant, "account_id", "")


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
