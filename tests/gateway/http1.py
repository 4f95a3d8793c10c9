"""HTTP/1.1 on a socket, byte for byte: what a client library would smooth over stays visible."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """An answer; header names are lower case, and a repeated header is joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send one request with just these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        given = dict(headers or {})
        if body is not None and "transfer-encoding" not in given:
            given.setdefault("content-length", str(len(body)))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        if body is not None:
            # Refused before the end of the body: the answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(body)
        return read(connection.getresponse())
    finally:
        connection.close()


def raw(port: int, request: bytes) -> Answer:
    """Send bytes as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(request)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        return read(answer)


def read(answer: http.client.HTTPResponse) -> Answer:
    """Read an answer to its end."""
    body = answer.read()
    headers: dict[str, str] = {}
    for name, value in answer.getheaders():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Answer(answer.status, headers, body)
