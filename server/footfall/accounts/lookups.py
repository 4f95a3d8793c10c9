"""A cache in front of a blocking look-up: what it answers holds for a moment, found or not."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Lookups(Generic[_Key, _Value]):
    """Looks values up in worker threads and remembers each for `ttl_s` seconds.

    The time counts from before the look-up, so that an answer is never older than `ttl_s` when it
    is given out, however slow the store is. Callers that miss the same key at once share one
    look-up. Errors are not remembered. At most `entries_max` values are kept, the ones used last.
    For one event loop.
    """

    def __init__(
        self,
        load: Callable[[_Key], _Value],
        executor: Executor,
        *,
        ttl_s: float,
        entries_max: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._executor = executor
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._clock = clock
        self._entries: OrderedDict[_Key, tuple[float, _Value]] = OrderedDict()
        self._flights: dict[_Key, tuple[float, asyncio.Future[_Value]]] = {}

    async def get(self, key: _Key) -> _Value:
        """Return the key's value; without a suspension if it is remembered.

        Raises what the look-up raises.
        """
        entry = self._entries.get(key)
        now = self._clock()
        if entry is not None and now < entry[0]:
            self._entries.move_to_end(key)
            return entry[1]
        flight = self._flights.get(key)
        if flight is None or now >= flight[0]:
            flight = self._start(key, now + self._ttl_s)
        # One caller's cancellation must not fail the others that wait.
        return await asyncio.shield(flight[1])

    def _start(self, key: _Key, expires: float) -> tuple[float, asyncio.Future[_Value]]:
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._load, key)
        flight = self._flights[key] = (expires, future)

        def land(future: asyncio.Future[_Value]) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            # Asking for the exception marks it as seen, should all callers be gone.
            if not future.cancelled() and future.exception() is None:
                self._keep(key, expires, future.result())

        future.add_done_callback(land)
        return flight

    def _keep(self, key: _Key, expires: float, value: _Value) -> None:
        known = self._entries.get(key)
        if known is not None and known[0] > expires:
            return
        self._entries[key] = (expires, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)
