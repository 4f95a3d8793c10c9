"""HTTP/2 by hand, frame by frame: what no library would send."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    *range(5), 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS = 1, 4
CANCEL = (8).to_bytes(4, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _text(value: bytes) -> bytes:
    assert len(value) < 127
    return bytes([len(value)]) + value


def request(path: bytes, method: bytes = b"GET") -> bytes:
    """Return a header block, all literal but for what the static table has."""
    verb = {b"GET": b"\x82", b"POST": b"\x83"}[method]
    return verb + b"\x86" + b"\x04" + _text(path) + b"\x01" + _text(b"a")


def field(name: bytes, value: bytes) -> bytes:
    """Return a literal header field."""
    return b"\x00" + _text(name) + _text(value)


class Connection:
    """A connection of HTTP/2 whose other side is the gateway."""

    def __init__(self, port: int, timeout_s: float = 10) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._sock.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.close()

    def send(self, frames: bytes) -> bool:
        """Send frames; return False if the other side has hung up, or takes no more."""
        try:
            self._sock.sendall(frames)
        except OSError:
            return False
        return True

    def is_ended(self, within_s: float) -> bool:
        """Return whether the other side ends the connection; what it sends meanwhile is read."""
        self._sock.settimeout(within_s)
        try:
            while self._sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True
