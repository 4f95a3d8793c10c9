"""One connection to Valkey or Redis on which commands follow each other without waiting.

redis-py reads the URL and makes the TLS context. From then on bytes go between the event loop and
hiredis directly: redis-py's streams, timeouts and locks take several times as long as a command
does, and every limited call waits for one.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: A connection that was used so recently is taken to be alive still, in seconds.
_FRESH_S: Final = 0.05
#: Stands for a reply that has not come whole.
_PARTIAL: Final = object()

_Command = tuple[str | bytes | int, ...]


class Wire(asyncio.Protocol):
    """An open connection, used by any number of callers at once; replies come in the order of
    commands. A caller who goes away leaves a reply that nobody gets, and nothing else.
    """

    def __init__(self, timeout_s: float, keep_alive: Mapping[int, int]) -> None:
        """`keep_alive` are options of TCP sockets, of which others have none."""
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._keep_alive = keep_alive
        self._reader = hiredis.Reader(replyError=_reply_error, notEnoughData=_PARTIAL)
        #: What is waited for, and since when, in the order of commands.
        self._due: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._used_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._readable = select.poll()
        #: The descriptor of a connection whose bytes can be written as they are.
        self._plain: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        opened: socket.socket = transport.get_extra_info("socket")
        self._readable.register(opened.fileno(), select.POLLIN)
        if transport.get_extra_info("sslcontext") is None:
            self._plain = opened.fileno()
        if self._keep_alive:
            # The kernel notices that nobody is at the other end, also where nothing is sent.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in self._keep_alive.items():
            opened.setsockopt(socket.IPPROTO_TCP, option, value)

    def is_alive(self) -> bool:
        """Whether commands can be sent; no command is sent twice, so that asking comes first."""
        if self._transport is None:
            return False
        if self._due or self._loop.time() - self._used_at < _FRESH_S:
            return True
        # Something to read where nothing is due is the end of the connection.
        return not self._readable.poll(0)

    async def execute(self, *command: str | bytes | int) -> Any:
        """Run a command and return its reply; raises RedisError."""
        if self._transport is None:
            raise RedisConnectionError("The connection is closed.")
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # it takes any number
        if self._due or self._plain is None:
            self._transport.write(packed)
        else:
            # The loop would write when it comes around. Where nothing is due, it has nothing left
            # to write before.
            self._transport.write(packed[_written(self._plain, packed) :])
        reply: asyncio.Future[Any] = self._loop.create_future()
        now = self._loop.time()
        self._due.append((reply, now))
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._timeout_s, self._look)
        return await reply

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._used_at = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _PARTIAL:
                waiting, _ = self._due.popleft()
                if waiting.done():
                    continue
                if isinstance(reply, Exception):
                    waiting.set_exception(reply)
                else:
                    waiting.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.close(RedisConnectionError("The server sent what was not asked for."))

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.close(RedisConnectionError(f"The connection has ended: {exc or 'by the server'}."))

    def close(self, error: RedisError | None = None) -> None:
        """Close the connection; whoever waits for a reply gets the error."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        while self._due:
            waiting, _ = self._due.popleft()
            if not waiting.done():
                waiting.set_exception(error or RedisConnectionError("The connection is closed."))

    def _look(self) -> None:
        """Give up if the first of the replies has been waited for too long."""
        self._timer = None
        if not self._due:
            return
        end = self._due[0][1] + self._timeout_s
        if end <= self._loop.time():
            self.close(RedisTimeoutError("The server does not answer in time."))
        else:
            self._timer = self._loop.call_at(end, self._look)


def _written(descriptor: int, data: bytes) -> int:
    """Write as much as there is room for; what goes wrong is for the loop to find out."""
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


def _reply_error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


class Destination:
    """Where a URL leads to: `redis://`, `rediss://` or `unix://`, as redis-py reads them."""

    def __init__(self, url: str) -> None:
        pool: ConnectionPool = ConnectionPool.from_url(url, protocol=2)
        # Never opened; it knows what is in the URL.
        self._place: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]

    async def open(self, timeout_s: float) -> Wire:
        """Return a new connection that has been let in; raises RedisError or OSError."""
        loop, place = asyncio.get_running_loop(), self._place
        if isinstance(place, UnixDomainSocketConnection):
            _, wire = await loop.create_unix_connection(lambda: Wire(timeout_s, {}), place.path)
        else:
            place = cast("Connection", place)
            make = partial(Wire, timeout_s, cast("dict[int, int]", place.socket_keepalive_options))
            tls = place.ssl_context.get() if isinstance(place, SSLConnection) else None
            _, wire = await loop.create_connection(make, place.host, place.port, ssl=tls)
        try:
            for command in _greeting(place):
                await wire.execute(*command)
        except BaseException:
            wire.close()
            raise
        return wire


def _greeting(place: AbstractConnection) -> Iterator[_Command]:
    if place.username:
        yield "AUTH", place.username, place.password or ""
    elif place.password:
        yield "AUTH", place.password
    if place.client_name:
        yield "CLIENT", "SETNAME", place.client_name
    if place.db:
        yield "SELECT", place.db
