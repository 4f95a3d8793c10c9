"""One connection to Valkey or Redis on which commands follow each other without waiting.

redis-py opens it, with all that a URL may ask for (TLS, passwords, databases). Then the bytes go
between the event loop and hiredis directly: its streams, timeouts and locks take several times as
long as a command does, and every limited call waits for one.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from typing import Any, Final

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: A connection that was used so recently is taken to be alive still, in seconds.
_FRESH_S: Final = 0.05
#: Stands for a reply that has not come whole.
_PARTIAL: Final = object()


class Wire(asyncio.Protocol):
    """An open connection, used by any number of callers at once; replies come in the order of
    commands. A caller who goes away leaves a reply that nobody gets, and nothing else.
    """

    def __init__(self, opened: AbstractConnection, timeout_s: float) -> None:
        """Take over a connection on which no reply is due."""
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(replyError=_reply_error, notEnoughData=_PARTIAL)
        #: What is waited for, and since when, in the order of commands.
        self._due: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._used_at = self._loop.time()
        self._closed = False
        # Kept, since it closes the connection when it goes.
        self._opened = opened
        writer = opened._writer  # noqa: SLF001 - there is no other way to what redis-py has opened
        if writer is None:
            raise RedisConnectionError("The connection is closed.")
        self._transport = writer.transport
        self._transport.set_protocol(self)

    def is_alive(self) -> bool:
        """Whether commands can be sent; no command is sent twice, so that asking comes first."""
        if self._closed or self._transport.is_closing():
            return False
        if self._due or self._loop.time() - self._used_at < _FRESH_S:
            return True
        # Something to read where nothing is due is the end of the connection.
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    async def execute(self, command: tuple[str | bytes | int, ...]) -> Any:
        """Run a command and return its reply; raises RedisError."""
        if self._closed:
            raise RedisConnectionError("The connection is closed.")
        reply: asyncio.Future[Any] = self._loop.create_future()
        now = self._loop.time()
        self._due.append((reply, now))
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._timeout_s, self._look)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # it takes any number
        return await reply

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
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
        self._used_at = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.close(RedisConnectionError(f"The connection has ended: {exc or 'by the server'}."))

    def close(self, error: RedisError | None = None) -> None:
        """Close the connection; whoever waits for a reply gets the error."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._due:
            waiting, _ = self._due.popleft()
            if not waiting.done():
                waiting.set_exception(error or RedisConnectionError("The connection is closed."))
        self._transport.abort()
        # As redis-py does it itself: it would warn of a connection that was left open.
        self._opened._reader = self._opened._writer = None  # noqa: SLF001

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


def _reply_error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
