"""The visitor salts of UTC days."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog

from footfall.accounts.ports import AccountStore
from footfall.errors import UnavailableError

#: Pauses between looks for salts whose time is over.
FORGET_S = 300.0

log = structlog.get_logger(__name__)

_SALT_BYTES = 32
_DAY_S = 86_400
_PRIVATE_DAYS_MAX = 400


def utc_day() -> int:
    """Return today's UTC day, in days since the Unix epoch."""
    return int(time.time()) // _DAY_S


class SaltCache:
    """Gives the salt of any UTC day (days since the Unix epoch), remembered in this process.

    Yesterday's, today's and tomorrow's come from the store, so that all servers derive the same
    visitor ids. The salts of other days, which late events and imports need, have been forgotten
    or were never made: these are random, of this process alone, and never stored, so visitors of
    such a day are told apart within one run and a day or two. Safe to use from any thread.
    """

    def __init__(self, store: AccountStore, *, now_day: Callable[[], int] = utc_day) -> None:
        self._store = store
        self._now_day = now_day
        self._stored: dict[int, bytes] = {}
        #: Each with the day on which it was made.
        self._private: OrderedDict[int, tuple[bytes, int]] = OrderedDict()
        self._lock = threading.Lock()

    def cached(self, day: int) -> bytes | None:
        """Return the day's salt if that needs no store, else None: then ask `get` or `fetch`."""
        now_day = self._now_day()
        if not now_day - 1 <= day <= now_day + 1:
            return self._private_salt(day)
        return self._stored.get(day)

    def get(self, day: int) -> bytes:
        """Return the day's salt, from the store if need be; may block and raise
        UnavailableError.
        """
        salt = self.cached(day)
        if salt is not None:
            return salt
        now_day = self._now_day()
        if not now_day - 1 <= day <= now_day + 1:
            # Midnight passed since the look into the cache.
            return self._private_salt(day)
        salt = self._store.salt(day, now_day)
        with self._lock:
            self._stored[day] = salt
            self._drop_old(now_day)
        return salt

    async def fetch(self, day: int) -> bytes:
        """Return the day's salt as `get` does, without blocking the event loop."""
        salt = self.cached(day)
        return salt if salt is not None else await asyncio.to_thread(self.get, day)

    def forget(self) -> None:
        """Forget the salts of days before yesterday, here and in the store, and salts of other days
        that were made before yesterday; may block and raise UnavailableError.
        """
        now_day = self._now_day()
        with self._lock:
            self._drop_old(now_day)
        self._store.forget_salts(now_day)

    async def run(self) -> None:
        """Forget salts when their time has come, until cancelled: at once, and every few minutes,
        whether or not anybody asks for one.
        """
        while True:
            try:
                await asyncio.to_thread(self.forget)
            except UnavailableError as error:
                log.warning("old_salts_not_deleted", reason=error.reason)
            await asyncio.sleep(FORGET_S)

    def _drop_old(self, now_day: int) -> None:
        for day in [day for day in self._stored if day < now_day - 1]:
            del self._stored[day]
        for day in [day for day, (_, made) in self._private.items() if made < now_day - 1]:
            del self._private[day]

    def _private_salt(self, day: int) -> bytes:
        with self._lock:
            known = self._private.get(day)
            if known is None:
                known = secrets.token_bytes(_SALT_BYTES), self._now_day()
                self._private[day] = known
                if len(self._private) > _PRIVATE_DAYS_MAX:
                    self._private.popitem(last=False)
            self._private.move_to_end(day)
            return known[0]
