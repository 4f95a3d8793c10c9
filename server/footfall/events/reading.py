"""Reads in threads of their own, which end when nobody waits for them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from footfall.errors import DeadlineError, UnavailableError

T = TypeVar("T")

_STOP_AGAIN_S: Final = 0.01


class ReadPool:
    """Threads for an engine's blocking reads."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="events-read")
        self._stopping: set[asyncio.Task[None]] = set()

    async def run(
        self, work: Callable[[], T], stop: Callable[[], Awaitable[None]], timeout_s: float
    ) -> T:
        """Run work in a thread and return what it returns.

        When the time is up (DeadlineError) or the task is cancelled, `stop` is called until the
        work has ended: an interrupt that falls between two statements may be lost.
        """
        if timeout_s <= 0:
            raise DeadlineError("The deadline passed before the query began.")
        try:
            future = self._threads.submit(work)
        except RuntimeError:
            raise UnavailableError("The event store is closed.") from None
        waiting = asyncio.wrap_future(future)
        # A result that nobody waits for any more is not an error that nobody looked at.
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            done, _ = await asyncio.wait({waiting}, timeout=timeout_s)
        except asyncio.CancelledError:
            self._stop(future, stop)
            raise
        if not done:
            self._stop(future, stop)
            raise DeadlineError("The query took longer than its deadline allows.")
        if waiting.cancelled():
            raise UnavailableError("The event store is closed.")
        return waiting.result()

    def _stop(self, future: Future[Any], stop: Callable[[], Awaitable[None]]) -> None:
        if future.cancel():
            return
        task = asyncio.get_running_loop().create_task(_until_done(future, stop))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    def close(self) -> None:
        """Take no more work, and drop what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _until_done(future: Future[Any], stop: Callable[[], Awaitable[None]]) -> None:
    while not future.done():
        await stop()
        await asyncio.sleep(_STOP_AGAIN_S)
