"""A proxy between a caller and a server that makes their connection slow, silent or short."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_CHUNK = 64 * 1024
#: With this, closing a socket sends a reset instead of an end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PREFACE_START = b"PRI "
_FRAME_HEAD = 9
_HEADERS_FRAME = 1

T = TypeVar("T")


class Proxy:
    """Listens on loopback and passes everything on to `upstream`, until it is told otherwise.

    `upstream` and `address` are `HOST:PORT`, or the path of a unix socket. The proxy's work goes on
    in a thread of its own; its methods may be called from any other.
    """

    def __init__(self, upstream: str, listen: str = "127.0.0.1:0") -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._delay_s = 0.0
        self._refusing = False
        self._cutting = False
        #: How many answers were cut off.
        self.answers_cut = 0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = self._call(self._make_event())
        self._server = self._call(self._listen(listen))
        name = self._server.sockets[0].getsockname()
        self.address = name if isinstance(name, str) else f"{name[0]}:{name[1]}"

    # -- what may happen to connections -----------------------------------------------------------

    def delay(self, seconds: float) -> None:
        """Let every piece of data, either way, wait this long."""
        self._delay_s = seconds

    def stall(self) -> None:
        """Pass nothing on and close nothing: connections are half open, new ones too."""
        self._do(self._flowing.clear)

    def resume(self) -> None:
        """Pass everything on again, what came in the meantime first."""
        self._do(self._flowing.set)

    def reset(self) -> None:
        """End all connections at once, by a reset."""
        self._do(self._reset)

    def refuse(self, refusing: bool = True) -> None:
        """End connections as soon as they are made, those that there are too; or no more."""
        self._refusing = refusing
        if refusing:
            self.reset()

    def cut_answers(self, cutting: bool = True) -> None:
        """Swallow the next answer of each connection from its first byte on, and reset it; or no
        more.

        The server has given the answer by then, and its caller never sees it. An answer begins with
        the first byte over HTTP/1, and with a frame of headers over HTTP/2.
        """
        self._cutting = cutting

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._pairs)

    def close(self) -> None:
        """End all connections and listen no more."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- the proxy's thread -----------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _do(self, work: Callable[[], None]) -> None:
        async def done() -> None:
            work()

        self._call(done())

    async def _make_event(self) -> asyncio.Event:
        event = asyncio.Event()
        event.set()
        return event

    async def _listen(self, address: str) -> asyncio.Server:
        if "/" in address:
            return await asyncio.start_unix_server(self._accept, address)
        host, _, port = address.rpartition(":")
        return await asyncio.start_server(self._accept, host, int(port))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        pair = _Pair(reader, writer)
        self._pairs.add(pair)
        try:
            await self._flowing.wait()
            if self._refusing:
                return
            with contextlib.suppress(OSError):
                await pair.connect(self._upstream)
                await self._carry(pair)
        finally:
            self._pairs.discard(pair)
            pair.reset()

    async def _carry(self, pair: _Pair) -> None:
        """Carry data both ways until either side, or the proxy, ends the connection."""
        there = asyncio.create_task(self._pump(pair, pair.reader, pair.up_writer, back=False))
        back = asyncio.create_task(self._pump(pair, pair.up_reader, pair.writer, back=True))
        both = {there, back}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if back.done() and not pair.gone:
                # The server's end is an end for the caller too, not a reset.
                with contextlib.suppress(OSError):
                    pair.writer.close()
                    await pair.writer.wait_closed()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _pump(
        self,
        pair: _Pair,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        back: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                if back:
                    if pair.answer_begins(data) and self._cutting:
                        self.answers_cut += 1
                        pair.reset()
                        return
                else:
                    pair.note_request(data)
                writer.write(data)
                await writer.drain()

    def _reset(self) -> None:
        for pair in tuple(self._pairs):
            pair.reset()

    async def _close(self) -> None:
        self._server.close()
        self._refusing = True
        self._flowing.set()
        self._reset()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)


class _Pair:
    """A caller's connection and the one that it stands for."""

    up_reader: asyncio.StreamReader
    up_writer: asyncio.StreamWriter

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.gone = False
        self._writers = [writer]
        self._http2: bool | None = None
        self._skip = 0
        self._head = b""

    async def connect(self, upstream: str) -> None:
        if "/" in upstream:
            self.up_reader, self.up_writer = await asyncio.open_unix_connection(upstream)
        else:
            host, _, port = upstream.rpartition(":")
            self.up_reader, self.up_writer = await asyncio.open_connection(host, int(port))
        self._writers.append(self.up_writer)

    def note_request(self, data: bytes) -> None:
        if self._http2 is None:
            self._http2 = data.startswith(_PREFACE_START)

    def answer_begins(self, data: bytes) -> bool:
        """Whether the beginning of an answer is in what the server sent next."""
        if not self._http2:
            return True
        found = False
        while data:
            if self._skip:
                skipped = min(self._skip, len(data))
                self._skip -= skipped
                data = data[skipped:]
                continue
            missing = _FRAME_HEAD - len(self._head)
            self._head += data[:missing]
            data = data[missing:]
            if len(self._head) == _FRAME_HEAD:
                self._skip = int.from_bytes(self._head[:3])
                found = found or self._head[3] == _HEADERS_FRAME
                self._head = b""
        return found

    def reset(self) -> None:
        self.gone = True
        for writer in self._writers:
            found = writer.get_extra_info("socket")
            # A unix socket knows no resets: its other side sees the end.
            if found is not None and found.family != socket.AF_UNIX and found.fileno() >= 0:
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()


@contextmanager
def proxy_to(upstream: str, listen: str = "127.0.0.1:0") -> Iterator[Proxy]:
    """Run a proxy for a block."""
    proxy = Proxy(upstream, listen)
    try:
        yield proxy
    finally:
        proxy.close()
