"""The connection itself: whose reply is whose, what ends it, and what a URL may ask for."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from footfall.errors import UnavailableError
from footfall.live.connection import RedisConnection
from tests.live.conftest import Valkey


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_everybody_gets_their_own_reply(valkey: Valkey, kind: str) -> None:
    connection = RedisConnection(valkey.url if kind == "unix" else valkey.tcp_url)
    client_id = await connection.command("CLIENT", "ID")
    pick = random.Random(1)

    async def echo(number: int) -> bool:
        for _ in range(10):
            text = f"{number}-" + "x" * pick.choice([0, 100, 200_000])
            if await connection.command("ECHO", text) != text.encode():
                return False
            # An error is a reply as well, of whoever has asked for it.
            with pytest.raises(UnavailableError):
                await connection.command("NO SUCH COMMAND")
        return True

    calls = [asyncio.create_task(echo(number)) for number in range(64)]
    await asyncio.sleep(0.01)
    gone = [call for call in pick.sample(calls, 20) if call.cancel()]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [each for each in done if each is not True] == [
        each for each in done if isinstance(each, asyncio.CancelledError)
    ]
    assert sum(each is True for each in done) == len(calls) - len(gone)
    # All of that went over one connection, which is as good as new.
    assert await connection.command("CLIENT", "ID") == client_id
    await connection.aclose()


async def test_a_server_that_hangs_fails_all_who_wait_and_is_asked_anew(own_valkey: Valkey) -> None:
    connection = RedisConnection(own_valkey.url, timeout_s=0.3)
    await connection.ping()
    own_valkey.stop()
    # Those of the open connection, and those who then wait for a new one together.
    for _ in range(2):
        async with asyncio.timeout(10):
            done = await asyncio.gather(
                *(connection.ping() for _ in range(50)), return_exceptions=True
            )
        assert all(isinstance(each, UnavailableError) for each in done)
    own_valkey.resume()
    assert await connection.command("ECHO", "again") == b"again"
    await connection.aclose()


async def test_what_nobody_asked_for_ends_the_connection(tmp_path: Path) -> None:
    """What comes after it could be taken for somebody's reply."""
    replies = {b"INFO": b"$9\r\nrun_id:ab\r\n", b"GET": b"+one\r\n+surplus\r\n", b"SET": b"?\r\n"}
    opened = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while data := await reader.read(4096):
            writer.write(next(reply for name, reply in replies.items() if name in data))
        writer.close()

    path = tmp_path / "fake.sock"
    server = await asyncio.start_unix_server(serve, path)
    connection = RedisConnection(f"unix://{path}", timeout_s=5)
    for number in range(1, 4):
        assert await connection.command("GET", "key") == b"one"
        assert opened == number
    with pytest.raises(UnavailableError):
        await connection.command("SET", "key", "value")
    assert await connection.command("GET", "key") == b"one"
    assert opened == 5
    await connection.aclose()
    server.close()


async def test_a_server_may_leave_at_any_moment(tmp_path: Path) -> None:
    """While it lets somebody in, within a reply, or between two of them: no caller hangs or gets
    another error, and the next one is served.
    """
    greeting, reply = b"$9\r\nrun_id:ab\r\n", b"+pong\r\n"
    said = greeting + reply * 3
    pick = random.Random(1)
    #: After how many bytes it leaves, and whether it does so with a reset.
    leaves: tuple[int, bool] | None = None
    opened: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.add(writer)
        left = list(leaves) if leaves else [1 << 30, False]
        with suppress(OSError):
            while data := await reader.read(4096) if left[0] else b"":
                says = greeting if b"INFO" in data else reply * data.count(b"PING")
                writer.write(says[: left[0]])
                left[0] = max(0, left[0] - len(says))
            if left[1]:
                linger = struct.pack("ii", 1, 0)
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        opened.discard(writer)

    server = await asyncio.start_unix_server(serve, tmp_path / "fake.sock")
    tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    for url in (f"unix://{tmp_path / 'fake.sock'}", f"redis://127.0.0.1:{port}/0"):
        connection = RedisConnection(url, timeout_s=5)
        for bytes_ in range(len(said)):
            leaves = bytes_, pick.random() < 0.5
            async with asyncio.timeout(30):
                for _ in range(3):
                    done = await asyncio.gather(
                        *(connection.ping() for _ in range(3)), return_exceptions=True
                    )
                    assert {type(each) for each in done} <= {type(None), UnavailableError}
            leaves = None
            async with asyncio.timeout(30):
                while True:
                    # A connection that is still to end may be found by the first.
                    with suppress(UnavailableError):
                        await connection.ping()
                        break
        assert len(opened) == 1
        await connection.aclose()
    server.close()
    tcp.close()


async def test_a_url_may_name_a_password_a_database_and_tls(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    with own_valkey.client() as client:
        client.config_set("requirepass", "s3cret")
    async with tls_to(own_valkey.port, tmp_path) as (port, authority):
        url = f"rediss://:s3cret@localhost:{port}/3?ssl_ca_certs={authority}"
        connection = RedisConnection(url)
        await connection.command("SET", "key", "x" * 100_000)
        assert await connection.command("GET", "key") == b"x" * 100_000
        assert b" db=3 " in await connection.command("CLIENT", "INFO")
        await connection.aclose()
        # Whoever is not vouched for is not talked to.
        stranger = RedisConnection(f"rediss://:s3cret@localhost:{port}/3")
        with pytest.raises(UnavailableError):
            await stranger.ping()
        await stranger.aclose()
    wrong = RedisConnection(f"redis://:wrong@127.0.0.1:{own_valkey.port}/3")
    with pytest.raises(UnavailableError):
        await wrong.ping()
    await wrong.aclose()


@asynccontextmanager
async def tls_to(port: int, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """Serve TLS in front of a port; give the port of that, and the authority's certificate."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    known = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(known))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, behind[1]), copy(behind[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], known
    finally:
        server.close()
