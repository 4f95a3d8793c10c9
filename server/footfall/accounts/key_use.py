"""When API keys were last used: noted in memory as calls come in, stored a minute at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from footfall.accounts.ports import AccountStore
from footfall.errors import UnavailableError

_MINUTE_S = 60
#: The least time between two writes to the store, in seconds.
FLUSH_S = 60.0

log = structlog.get_logger(__name__)


class KeyUse:
    """Collects uses of API keys and writes them to the store in the background.

    The first use after a quiet time is written at once and what follows at most once in `flush_s`
    seconds, so that a store is written to a minute, however many calls there are. While the store
    does not answer, uses wait in memory: one number a key. For one event loop.
    """

    def __init__(
        self,
        store: AccountStore,
        *,
        flush_s: float = FLUSH_S,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._flush_s = flush_s
        self._wall_clock = wall_clock
        #: Key id → the minute of its last use, in seconds since the Unix epoch: what waits, and
        #: what has been stored lately and need not be stored again.
        self._waiting: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._noted = asyncio.Event()
        self._flushing = asyncio.Lock()

    def note(self, key_id: str) -> None:
        """Take note that a key is used now."""
        minute = int(self._wall_clock()) // _MINUTE_S * _MINUTE_S
        if self._stored.get(key_id) != minute and self._waiting.get(key_id) != minute:
            self._waiting[key_id] = minute
            self._noted.set()

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        while True:
            await self._noted.wait()
            await self.flush()
            await asyncio.sleep(self._flush_s)

    async def flush(self) -> None:
        """Write what is noted now; what the store does not take stays noted."""
        async with self._flushing:
            self._noted.clear()
            uses = dict(self._waiting)
            if not uses:
                return
            try:
                await asyncio.to_thread(self._store.note_key_use, uses)
            except UnavailableError as error:
                log.warning("key_use_not_stored", keys=len(uses), reason=error.reason)
                self._noted.set()
                return
            self._waiting = {
                key: minute for key, minute in self._waiting.items() if uses.get(key) != minute
            }
            self._stored = uses
