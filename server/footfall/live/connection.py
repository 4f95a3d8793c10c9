"""The connection to Valkey or Redis: short timeouts, scripts by digest, and word of restarts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

import structlog
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from footfall.errors import UnavailableError

log = structlog.get_logger(__name__)

#: A connection that was used so recently is taken to be alive still, in seconds.
_FRESH_S = 0.05
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
    """redis-py's connections, lent to one command at a time.

    Its client and pool take several times as long as a command does (locks, retries, telemetry and
    a look at the socket for each), and every limited call waits for them.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        connections_max: int,
        greet: Callable[[AbstractConnection], Awaitable[None]],
    ) -> None:
        self._timeout_s = timeout_s
        self._pool: ConnectionPool = ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            redis_connect_func=greet,
        )
        self._turns = asyncio.Semaphore(connections_max)
        #: Connections that nobody uses, and when each was used last.
        self._idle: list[tuple[AbstractConnection, float]] = []

    async def execute(self, *command: str | bytes | int) -> Any:
        """Run a command and return its reply; raises RedisError or OSError."""
        if self._turns.locked():
            try:
                await asyncio.wait_for(self._turns.acquire(), self._timeout_s)
            except TimeoutError:
                raise RedisConnectionError("All connections are in use.") from None
        else:
            await self._turns.acquire()
        try:
            connection = await self._take()
            try:
                await connection.send_command(*command)
                reply = await connection.read_response()
            except ResponseError:
                self._idle.append((connection, asyncio.get_running_loop().time()))
                raise
            except BaseException:
                # The reply may still come, and belongs to nobody then.
                await connection.disconnect(nowait=True)
                raise
            self._idle.append((connection, asyncio.get_running_loop().time()))
            return reply
        finally:
            self._turns.release()

    async def _take(self) -> AbstractConnection:
        """Return a connection that is open: the one used last, or a new one."""
        while self._idle:
            connection, used_at = self._idle.pop()
            if asyncio.get_running_loop().time() - used_at < _FRESH_S:
                return connection
            try:
                # Something to read where nothing is due is the end of the connection.
                if not await connection.can_read():
                    return connection
            except (RedisError, OSError):
                pass
            await connection.disconnect(nowait=True)
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        await made.connect()  # type: ignore[no-untyped-call]
        return made

    async def aclose(self) -> None:
        while self._idle:
            await self._idle.pop()[0].disconnect()
        await self._pool.aclose()


class RedisConnection:
    """Two small lanes on one server: `timeout_s` for what a caller waits for, `bulk_timeout_s` for
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
        connections_max: int = 8,
    ) -> None:
        self._on_restart: list[Callable[[], None]] = []
        self._run_id = ""
        self._fault = ""
        self._quick = _Lane(url, timeout_s, connections_max, self._greet)
        self._bulk = _Lane(url, bulk_timeout_s, connections_max, self._greet)

    async def _greet(self, connection: AbstractConnection) -> None:
        """Learn which server process answers, before any command runs on the new connection.

        A process that was started since may hold an older state than the one written to its
        predecessor (a dump), so that finding the data there proves nothing.
        """
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        info: bytes = await connection.read_response()
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
