"""History that is asked for again is not read again."""

from __future__ import annotations

import asyncio
from dataclasses import astuple, dataclass, fields
from operator import attrgetter

import orjson

from footfall.analytics.model import (
    DayCount,
    History,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
)
from footfall.analytics.ports import Cache, WebHistory
from footfall.errors import DeadlineError

#: Changes with the form of what is kept, so that no server reads another version's.
FORM = 1
#: Longest time that a read may take which several callers wait for, in seconds.
READ_TIMEOUT_S = 30.0

# `astuple` copies each value, which takes ten times as long.
_day_values = attrgetter(*(field.name for field in fields(DayCount)))
_page_values = attrgetter(*(field.name for field in fields(PageCount)))


class CachedHistory:
    """A WebHistory in front of another one, with a cache in between.

    An answer is kept under the whole question and the site's history version as it was before the
    read. So it is never another site's, and never older than the question: whatever is committed
    changes the version, and with it the key. Who asks what somebody else is asking at the same
    version shares that read; it began after the version was taken, so it is as new as their own.

    An answer that is kept costs no read of the store, only the version, which is next to nothing.
    The pace of the running day changes with every event and is not kept.
    """

    def __init__(self, history: WebHistory, cache: Cache | None) -> None:
        """Without a cache nothing is kept, and reads are shared all the same."""
        self._history = history
        self._cache = cache
        self._reads: dict[bytes, _Read] = {}

    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        """See WebHistory.history."""
        end = asyncio.get_running_loop().time() + timeout_s
        key = cache_key(query, await self._history.history_version(query.site_id, timeout_s))
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = _Read(asyncio.create_task(self._answer(key, query)))
        return await self._share(key, read, end - asyncio.get_running_loop().time())

    async def pace(self, query: PaceQuery, timeout_s: float) -> PaceCounts:
        """See WebHistory.pace."""
        return await self._history.pace(query, timeout_s)

    async def history_version(self, site_id: str, timeout_s: float) -> str:
        """See WebHistory.history_version."""
        return await self._history.history_version(site_id, timeout_s)

    async def _share(self, key: bytes, read: _Read, timeout_s: float) -> History:
        read.callers += 1
        try:
            # One caller who goes away must not take the read from the others.
            return await asyncio.wait_for(asyncio.shield(read.task), timeout_s)
        except TimeoutError:
            raise DeadlineError("The query took longer than its deadline allows.") from None
        finally:
            read.callers -= 1
            if not read.callers:
                # The last one has its answer, or nobody waits for it any more.
                read.task.cancel()
            if (read.task.done() or not read.callers) and self._reads.get(key) is read:
                del self._reads[key]

    async def _answer(self, key: bytes, query: HistoryQuery) -> History:
        if self._cache is None:
            return await self._history.history(query, READ_TIMEOUT_S)
        kept = await self._cache.get(key)
        if kept is not None:
            return decode(kept)
        history = await self._history.history(query, READ_TIMEOUT_S)
        await self._cache.put(key, encode(history))
        return history


@dataclass(slots=True)
class _Read:
    """A read under way, and how many wait for it."""

    task: asyncio.Task[History]
    callers: int = 0


def cache_key(query: HistoryQuery, version: str) -> bytes:
    """Return what an answer is kept under: everything that it depends on."""
    return orjson.dumps(["history", FORM, version, *astuple(query)])


def encode(history: History) -> bytes:
    """Return the answer in the form in which it is kept."""
    return orjson.dumps(
        [
            history.first_day,
            [_day_values(day) for day in history.days],
            [_page_values(page) for page in history.pages],
        ]
    )


def decode(kept: bytes) -> History:
    """Return the answer that was kept."""
    first_day, days, pages = orjson.loads(kept)
    return History(
        first_day,
        [DayCount(*day) for day in days],
        [PageCount(*page) for page in pages],
    )
