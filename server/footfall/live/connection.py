"""The connection to Valkey or Redis: short timeouts, scripts by digest, and word of restarts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

import structlog
from redis.exceptions import NoScriptError, RedisError

from footfall.errors import UnavailableError
from footfall.live.wire import Destination, Wire

log = structlog.get_logger(__name__)

#: Keys that are looked at in one go, well under a millisecond of the server's time.
_SCAN_KEYS = 1000


class Script:
    """A Lua script made of files in `scripts/`, run by its digest."""

    def __init__(self, *names: str) -> None:
        folder = resources.files(__package__) / "scripts"
        self.name = names[-1]
        self.source = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
        self.digest = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def unavailable() -> UnavailableError:
    """Return the error for a caller who needs live state or a rate limit decision now."""
    return UnavailableError(
        "Live state is not available at the moment. Try again in a few seconds.",
        reason="REDIS_UNAVAILABLE",
    )


class _Lane:
    """A connection for all commands, made when it is needed."""

    def __init__(
        self, destination: Destination, timeout_s: float, greet: Callable[[Wire], Awaitable[None]]
    ) -> None:
        self._destination = destination
        self._timeout_s = timeout_s
        self._greet = greet
        self._wire: Wire | None = None
        #: All who need a connection wait for the same one, and fail together.
        self._opening: asyncio.Task[Wire] | None = None

    async def execute(self, *command: str | bytes | int) -> Any:
        """Run a command and return its reply; raises RedisError or OSError."""
        wire = self._wire
        if wire is None or not wire.is_alive():
            if self._opening is None:
                self._opening = asyncio.create_task(self._open(), name="redis-connect")
                self._opening.add_done_callback(self._opened)
            wire = await asyncio.shield(self._opening)
        return await wire.execute(*command)

    async def _open(self) -> Wire:
        if self._wire is not None:
            self._wire.close()
        async with asyncio.timeout(self._timeout_s):
            wire = await self._destination.open(self._timeout_s)
            try:
                await self._greet(wire)
            except BaseException:
                wire.close()
                raise
        self._wire = wire
        return wire

    def _opened(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        # An error that nobody waits for any more is not one that nobody looked at.
        if not opening.cancelled():
            opening.exception()

    async def aclose(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._wire is not None:
            self._wire.close()


class RedisConnection:
    """Two connections to one server: `timeout_s` for what a caller waits for, `bulk_timeout_s` for
    what moves data in the background.

    No command is ever sent twice by itself: a reply that was lost may belong to a command that was
    run. The calls raise UnavailableError (REDIS_UNAVAILABLE) for every fault, and a later call
    connects anew. Sentinel and Cluster clients are not used: `url` names one server
    (`redis://`, `rediss://` or `unix://`).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 1.0,
        bulk_timeout_s: float = 5.0,
    ) -> None:
        self._on_restart: list[Callable[[], None]] = []
        self._run_id = ""
        self._fault = ""
        destination = Destination(url)
        self._quick = _Lane(destination, timeout_s, self._greet)
        self._bulk = _Lane(destination, bulk_timeout_s, self._greet)

    async def _greet(self, wire: Wire) -> None:
        """Learn which server process answers, before any command runs on the new connection.

        A process that was started since may hold an older state than the one written to its
        predecessor (a dump), so that finding the data there proves nothing.
        """
        info: bytes = await wire.execute("INFO", "server")
        run_id = info.partition(b"run_id:")[2].partition(b"\r\n")[0].decode()
        if self._fault:
            self._fault = ""
            log.info("redis_is_back")
        known, self._run_id = self._run_id, run_id
        if known and known != run_id:
            log.warning("redis_restarted", run_id=run_id)
            for tell in self._on_restart:
                tell()

    def on_restart(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever another server process answers than before."""
        self._on_restart.append(tell)

    async def run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        args: Sequence[str | bytes | int],
        *,
        bulk: bool = False,
    ) -> Any:
        """Run a script and return its reply, texts as bytes."""
        execute = (self._bulk if bulk else self._quick).execute
        try:
            try:
                return await execute("EVALSHA", script.digest, len(keys), *keys, *args)
            except NoScriptError:
                # EVAL runs it and stores it under its digest in one step, so that a flush of the
                # scripts in between cannot fail this call.
                return await execute("EVAL", script.source, len(keys), *keys, *args)
        except (RedisError, OSError) as error:
            raise self._failed(script.name, error) from error

    async def command(self, *parts: str | bytes | int) -> Any:
        """Run one plain command and return its reply, texts as bytes."""
        try:
            return await self._quick.execute(*parts)
        except (RedisError, OSError) as error:
            raise self._failed(str(parts[0]), error) from error

    async def erase(self, pattern: str) -> None:
        """Delete all keys whose names match; what comes meanwhile may be left."""
        cursor: bytes | int = 0
        while True:
            cursor, names = await self.command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_KEYS
            )
            if names:
                await self.command("UNLINK", *names)
            if int(cursor) == 0:
                return

    async def ping(self) -> None:
        await self.command("PING")

    async def aclose(self) -> None:
        for lane in (self._quick, self._bulk):
            await lane.aclose()

    def _failed(self, what: str, error: Exception) -> UnavailableError:
        # One line a fault rather than one a call: each connection that is made tells of the end.
        kind = type(error).__name__
        if kind != self._fault:
            self._fault = kind
            log.warning("redis_failed", what=what, kind=kind, error=str(error))
        return unavailable()


def connect(redis: RedisConnection | str) -> RedisConnection:
    """Return the connection itself, or a new one to the URL."""
    return RedisConnection(redis) if isinstance(redis, str) else redis
