"""One read of live state for many readers of one site at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from footfall.analytics.model import LiveCounts
from footfall.analytics.ports import LiveState


@dataclass(slots=True)
class _Next:
    """The read that begins when the one under way has ended."""

    now_ms: int
    read: asyncio.Task[LiveCounts]


class SharedReads:
    """A LiveState in front of another one.

    Whoever asks while a read of the same site and day is under way shares the next one with all
    who do, so that a popular site costs two reads at a time however many look at it. The shared
    read begins after each of them asked: nobody is told anything older than on their own.
    """

    def __init__(self, live: LiveState) -> None:
        self._live = live
        self._running: dict[tuple[str, int], asyncio.Future[None]] = {}
        self._next: dict[tuple[str, int], _Next] = {}

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts:
        """Return the site's counts at `now_ms` or, shared, a moment later."""
        key = site_id, local_day
        running = self._running.get(key)
        if running is None:
            return await self._read(key, now_ms)
        shared = self._next.get(key)
        if shared is None:
            task = asyncio.create_task(self._read_after(running, key))
            shared = self._next[key] = _Next(now_ms, task)
        shared.now_ms = max(shared.now_ms, now_ms)
        # One reader who goes away must not take the read from the others.
        return await asyncio.shield(shared.read)

    async def ping(self) -> None:
        """See LiveState."""
        await self._live.ping()

    async def _read(self, key: tuple[str, int], now_ms: int) -> LiveCounts:
        ended = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._live.snapshot(key[0], now_ms, key[1])
        finally:
            del self._running[key]
            ended.set_result(None)

    async def _read_after(
        self, running: asyncio.Future[None] | None, key: tuple[str, int]
    ) -> LiveCounts:
        while running is not None:
            await running
            running = self._running.get(key)
        return await self._read(key, self._next.pop(key).now_ms)
