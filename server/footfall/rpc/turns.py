"""Turns: what one account asks of the event store waits for what it asked before, not others.

A plan's allowance may be used up within a second, and so much work takes seconds. Were all of it
under way at once, every question of everybody else would share the processors with it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from weakref import WeakValueDictionary

from footfall.accounts.model import ApplicationGrant
from footfall.rpc.admission import asks_events
from footfall.rpc.call import Call, Method, Step

#: An account's questions that are answered at the same time: half of the event store's threads.
AT_ONCE: Final = 2


class Turns:
    """Lets a few questions of each account through at a time; the next ones wait in order."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        #: By account, for as long as one of its calls is under way.
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that waits for its turn before `proceed`."""
        if not asks_events(method):
            return proceed

        async def step(call: Call) -> None:
            if call.tenant is None:
                # Nobody's question needs no store.
                await proceed(call)
                return
            account = _account(call.tenant)
            places = self._places.get(account)
            if places is None:
                places = self._places[account] = asyncio.Semaphore(self._at_once)
            async with places:
                await proceed(call)

        return step


def _account(tenant: Any) -> str:
    if isinstance(tenant, ApplicationGrant):
        tenant = tenant.application
    return str(tenant.account_id)
