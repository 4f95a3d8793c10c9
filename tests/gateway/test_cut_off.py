"""Answers of a server that went before it had said how the call ended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.frames import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    field,
    frame,
)
from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.documents import assert_document, family_of
from tests.gateway.http1 import ask

ACK = 1
MESSAGE = bytes(5)  # an empty one
GRPC = field(b"content-type", b"application/grpc")


class CutOffServer:
    """Ends each call with the frames that it is told to, and nothing else."""

    def __init__(self, path: Path) -> None:
        #: Makes the frames of a stream; None: the connection is closed.
        self.answer: Callable[[int], bytes | None] = lambda stream: None
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received:
            received.read(len(PREFACE))
            connection.sendall(frame(SETTINGS, 0, 0))
            while head := received.read(9):
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                received.read(int.from_bytes(head[:3], "big"))
                if kind == SETTINGS and not flags & ACK:
                    connection.sendall(frame(SETTINGS, ACK, 0))
                elif kind in (DATA, HEADERS) and flags & END_STREAM:
                    frames = self.answer(stream)
                    if frames is None:
                        return
                    connection.sendall(frames)


@pytest.fixture(scope="module")
def cut_off() -> Iterator[tuple[Gateway, CutOffServer]]:
    with ExitStack() as stack:
        gateway = stack.enter_context(running_gateway())
        gateway.server.stop()
        server = CutOffServer(Path(gateway.server.socket))
        stack.callback(server.close)
        yield gateway, server


def begin(stream: int, *fields: bytes, flags: int = 0) -> bytes:
    """Return the head of an answer, 200 in HTTP's words."""
    return frame(HEADERS, END_HEADERS | flags, stream, b"\x88" + GRPC + b"".join(fields))


def trailers(stream: int, *fields: bytes) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, b"".join(fields))


@pytest.mark.parametrize("path", ["/v1/sources?site=x", "/v1/query/types", "/v1/analytics"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda stream: None, id="the connection ends"),
        pytest.param(lambda stream: frame(RST_STREAM, 0, stream, CANCEL), id="a reset"),
        pytest.param(
            lambda stream: begin(stream) + frame(RST_STREAM, 0, stream, CANCEL),
            id="a head, then a reset",
        ),
        pytest.param(
            lambda stream: (
                begin(stream)
                + frame(DATA, 0, stream, MESSAGE)
                + frame(RST_STREAM, 0, stream, CANCEL)
            ),
            id="a message, then a reset",
        ),
        pytest.param(lambda stream: begin(stream, flags=END_STREAM), id="a head alone"),
        pytest.param(
            lambda stream: begin(stream, field(b"grpc-status", b"0"), flags=END_STREAM),
            id="well, but no message",
        ),
        pytest.param(
            lambda stream: (
                begin(stream)
                + frame(DATA, 0, stream, MESSAGE)
                + trailers(stream, field(b"a", b"b"))
            ),
            id="a message, then trailers without a status",
        ),
        pytest.param(
            lambda stream: begin(stream, field(b"grpc-status", b"x"), flags=END_STREAM),
            id="a status that is none",
        ),
    ],
)
def test_the_caller_is_told_to_come_again(
    cut_off: tuple[Gateway, CutOffServer], path: str, answer: Callable[[int], bytes | None]
) -> None:
    gateway, server = cut_off
    server.answer = answer
    told = ask(gateway.port, "GET", path)
    message = assert_document(told, 503, "unavailable", family_of(path))
    assert message == "The service does not answer; try again in a moment."
    assert told.headers["retry-after"] == "1"
