"""Floods of HTTP/2 frames, resets and slow senders: the gateway ends them, and others go on."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.faults.attack_tenants import Attacked
from tests.faults.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    field,
    frame,
    request,
)
from tests.faults.verdicts import Case

#: More memory than the gateway may take for all of its attackers, in bytes.
MEMORY_MAX = 256 * 2**20
PATIENCE_S = 20.0
#: What a call may take in a crowd without anybody minding: twice of less is less than noise.
FLOOR_S = 0.05

_HEAD = request(b"/v1/query/types")


def rapid_reset(number: int) -> bytes:
    """A request that is taken back at once (CVE-2023-44487)."""
    stream = 2 * number + 1
    opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, _HEAD)
    return opened + frame(RST_STREAM, 0, stream, CANCEL)


def settings(_: int) -> bytes:
    return frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64")


def pings(number: int) -> bytes:
    return frame(PING, 0, 0, number.to_bytes(8, "big"))


def empty_data(number: int) -> bytes:
    if number == 0:
        return frame(HEADERS, END_HEADERS, 1, request(b"/v1/query", b"POST"))
    return frame(DATA, 0, 1)


def continuations(number: int) -> bytes:
    if number == 0:
        return frame(HEADERS, 0, 1, request(b"/v1/query/types"))
    return frame(CONTINUATION, 0, 1, field(b"x-%d" % number, b"y" * 100) * 4)


def empty_continuations(number: int) -> bytes:
    return frame(HEADERS, 0, 1, _HEAD) if number == 0 else frame(CONTINUATION, 0, 1)


def priorities(number: int) -> bytes:
    return frame(PRIORITY, 0, 2 * (number % 50) + 1, b"\0\0\0\0\x10")


def window_updates(number: int) -> bytes:
    if number == 0:
        return frame(HEADERS, END_HEADERS, 1, request(b"/v1/query", b"POST"))
    return frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01")


FLOODS = (
    *(rapid_reset, settings, pings, empty_data, continuations, empty_continuations),
    *(priorities, window_updates),
)
FRAMES = 20_000


class Bystander:
    """Somebody who goes on asking while others attack, each time on the same connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.took: list[float] = []
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                connection.request("GET", "/v1/query/types")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failed.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
            self.took.append(time.perf_counter() - began)
            time.sleep(0.005)
        connection.close()

    def p99(self) -> float:
        return sorted(self.took)[int(len(self.took) * 0.99)]


def envoy_memory(attacked: Attacked) -> int:
    """Return the resident memory of the gateway of this service, in bytes."""
    family = {attacked.service.process.pid}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, parent = status.read_text().rpartition(")")[::2]
            if int(parent.split()[1]) in family and "(envoy" in name:
                text = status.with_name("status").read_text()
                return int(text.partition("VmRSS:")[2].split()[0]) * 1024
        except (OSError, IndexError, ValueError):
            continue
    raise AssertionError("there is no gateway")


@contextmanager
def others_go_on(case: Case, attacked: Attacked) -> Iterator[None]:
    """Hold the promise for a block: others are served, in time, and memory is bounded."""
    with Bystander(attacked.port) as before:
        time.sleep(3.0 if case.full else 0.2)
    memory = envoy_memory(attacked)
    with Bystander(attacked.port) as during:
        yield
    grown = envoy_memory(attacked) - memory
    assert before.failed == []
    assert during.failed == []
    assert during.took
    assert grown < MEMORY_MAX
    case.tell(
        f"p99 {before.p99() * 1000:.0f} ms before, {during.p99() * 1000:.0f} ms during; "
        f"{grown / 2**20:.0f} MiB more"
    )
    if case.full:
        assert during.p99() <= max(2 * before.p99(), FLOOR_S)


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_floods(case: Case, attacked: Attacked, flood: Callable[[int], bytes]) -> None:
    connections, ended, sent = 4 if case.full else 1, 0, 0
    with others_go_on(case, attacked):
        for _ in range(connections):
            with Connection(attacked.port) as attacker:
                # In portions, and without a look at what comes back.
                for begin in range(0, FRAMES, 100):
                    if not attacker.send(b"".join(flood(begin + n) for n in range(100))):
                        break
                    sent += 100
                ended += attacker.is_ended(PATIENCE_S)
    assert ended == connections, "the gateway keeps a connection that floods it"
    case.tell(f"ended after {sent // connections} of {FRAMES} frames")


def _slow(port: int, head: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    sock.sendall(head)
    return sock


def test_slow_heads(case: Case, attacked: Attacked) -> None:
    """Requests whose heads never end (slowloris) are answered 408 after ten seconds."""
    count = 1_000 if case.full else 100
    with ExitStack() as stack, others_go_on(case, attacked):
        slow = [
            stack.enter_context(_slow(attacked.port, b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: "))
            for _ in range(count)
        ]
        for letter in b"abcdefgh" if case.full else b"ab":
            for sock in slow:
                sock.sendall(bytes([letter]))
            time.sleep(0.5 if case.full else 0.05)
        if case.full:
            answers = [sock.recv(4096)[:12] for sock in slow]
            assert set(answers) == {b"HTTP/1.1 408"}
    case.tell(f"{count} connections")


def test_slow_bodies(case: Case, attacked: Attacked) -> None:
    """Bodies that stop in the middle, by REST and by gRPC, keep nobody else waiting."""
    # More than there are places for calls under way.
    count = 200 if case.full else 150
    sent = 256 * 1024 if case.full else 16 * 1024
    heads = (
        b"POST /v1/collect?site=a HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n",
        b"POST /footfall.v1.IngestService/IngestWebEvents HTTP/1.1\r\nhost: a\r\nte: trailers\r\n"
        b"content-type: application/grpc-web+proto\r\ncontent-length: 8000000\r\n\r\n\0\0\x70\0\0",
    )
    with ExitStack() as stack, others_go_on(case, attacked):
        for number in range(count):
            sock = stack.enter_context(_slow(attacked.port, heads[number % 2]))
            sock.sendall(b"x" * sent)
        time.sleep(3.0 if case.full else 0.3)
    case.tell(f"{count} bodies of which {sent // 1024} KiB came")
