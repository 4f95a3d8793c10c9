"""What a server starts and stops: background tasks, and stores that may come later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

import structlog

from footfall.errors import UnavailableError

#: Engines whose files belong to one process: what keeps them from opening will not go away.
_EMBEDDED = frozenset({"duckdb", "sqlite", "chdb"})
_REOPEN_S = 1.0

_Store = TypeVar("_Store")

log = structlog.get_logger(__name__)


def is_embedded(url: str) -> bool:
    """Return whether a store's URL is one of an engine in this process."""
    return url.partition(":")[0].partition("+")[0] in _EMBEDDED


class Background:
    """Tasks that go on until they are stopped together."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a task; what it raises is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel all tasks and wait for their ends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_task_failed", exc_info=error)


class Deferred(Generic[_Store]):
    """A store that may not be there yet: its methods raise UnavailableError until it is.

    A server store is tried again every second; an embedded one that does not open raises at once.
    """

    def __init__(self, url: str, open_store: Callable[[], _Store]) -> None:
        self._embedded = is_embedded(url)
        self._open = open_store
        self._store: _Store | None = None

    @property
    def store(self) -> _Store:
        """What forwards to the store, whatever becomes of it."""
        return cast("_Store", _Forward(self._method))

    async def start(self, background: Background) -> None:
        """Open the store; a server store that does not answer is waited for in the background."""
        try:
            self._store = await asyncio.to_thread(self._open)
        except UnavailableError:
            if self._embedded:
                raise
            log.warning("store_not_there_yet")
            background.start(self._reopen())

    async def _reopen(self) -> None:
        while self._store is None:
            await asyncio.sleep(_REOPEN_S)
            try:
                self._store = await asyncio.to_thread(self._open)
            except UnavailableError:
                continue
            except Exception:
                # Such as a schema that is newer than this server: health tells, the log says why.
                log.exception("store_not_opened")

    def _method(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._store is None:
            raise UnavailableError("A store is not available at the moment; try again later.")
        return getattr(self._store, name)(*args, **kwargs)

    async def close(self) -> None:
        """Close the store if it was opened."""
        if self._store is not None:
            await asyncio.to_thread(self._method, "close")


class _Forward:
    """Forwards every method to whatever `call` finds at the time of the call."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, *args, **kwargs)

        # Found as a plain attribute from now on.
        setattr(self, name, method)
        return method
