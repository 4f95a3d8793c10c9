"""Malformed REST: each request gets the document of its family, as the caller's fault or as what
it still means.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest

from tests.faults.attack_tenants import Attacked
from tests.faults.calls import BINDINGS, METHODS, RECIPES
from tests.faults.credentials import good_credentials
from tests.faults.leaks import Answers
from tests.faults.verdicts import Case

#: A caller's fault, or an answer; nothing from 500 up.
STATUSES = frozenset(map(str, (200, 204, 304, *range(400, 500))))
#: What has no answer, because it is no request of HTTP or its sender has hung up.
NO_ANSWER = "none"
AT_ONCE = 24
#: A request that promises more than it has is waited for, for so long.
PATIENCE_S = 3.0
COSTLY = ("/v1/query/custom", "/v1/custom-sql/execute", "/v1/auth/login", "/v1/members")

SEGMENTS = (
    "%ff", "%00", "%2f", "%2e%2e", "..", "%", "%zz", "%u0041", "%c0%ae", "%ed%a0%80", "a" * 5000,
    "ü", "%F0%9F%98%80", ";", "//", "\\", "*", "{id}", "'--", "%0d%0ax:y", "-1", "1e999", "0x1f",
    "9" * 400, "NaN", " ", "+", "?", "#", "@", "aaaaaaaaaaaaaaaa", "١٢٣",
)  # fmt: skip
BODIES = (
    b"", b" ", b"null", b"[", b"{", b"[]", b"{}", b"[null]", b"[[[]]]", b"\xff\xfe{}", b"NaN",
    b'{"a":' * 3000, b"[" * 100_000, b'[{"timestamp":1e400}]', b'{"a":1,"a":2}', b'"\\ud800"',
    b"[" + b"{}," * 9_000 + b"{}]", b"\x00" * 64, b"[1,2,3]", b"true", b"{'a': 1}", b"[1,]",
    b'{"parameters":{"a":[]}}', b'{"parameters":[[[]]]}', b'{"sites":"x","scopes":{}}',
    b'{"email":1,"password":[]}', b'{"query":{}}', b'{"table":1e999}', b'{"public":"maybe"}',
    b'{"id":"x","id":"y"}', b'{"__proto__":{}}', b'{"expires_in_days":99999999999999999999}',
    b'{"name":"' + b"x" * 70_000 + b'"}', b"--boundary\r\n", b"a=b&c=d", b"\x1f\x8b\x08\x00",
)  # fmt: skip
VALUES = (
    *SEGMENTS, "", "null", "true", "[]", "{}", "last30d", "yesterday", "custom", "2026-13-45",
    "0000-00-00", "1970-01-01T00:00:00+99:99", "percentile_101", "a:b:c", "Mars/Olympus", "0", "1",
    "99999999999999999999", "1.0", "-0", "1_000", "٣",
)  # fmt: skip
HEADERS = (
    ("content-type", ("", "text/plain", "application/xml", "application/json; a=\xff", "a/b/c",
                      "multipart/form-data", "application/json" * 50, "application/grpc-")),
    ("content-encoding", ("gzip", "br", "zq", "identity, gzip")),
    ("transfer-encoding", ("chunked", "zq", "gzip, chunked")),
    ("content-length", ("-1", "1e3", "99999999999999999999", "5, 6", "")),
    ("accept", ("*/*;q=zq", "text/csv;;;", "application/x-ndjson", "," * 500)),
    ("if-none-match", ('"', "W/", "*", '"' + "a" * 5000)),
    ("idempotency-key", ("", "x" * 5000, "\xff", "\x7f")),
    ("cookie", ("footfall_session", "footfall_session=;=;", "=" * 3000, "footfall_session=\xff")),
    ("authorization", ("", "Bearer", "Bearer \xff", "Basic Og==", "Bearer " + "x" * 9000)),
    ("expect", ("100-continue", "zq")),
    ("host", ("", "a b", "[::1", "a:99999", "\xff", "x" * 3000)),
    ("connection", ("upgrade", "close, zq", "te")),
    ("upgrade", ("h2c", "websocket", "zq")),
    ("origin", ("null", "zq", "https://[", "\xff")),
    ("sec-fetch-site", ("zq", "cross-site", "")),
    ("x-forwarded-for", ("zq", "," * 200, "::1", "1.2.3.4.5", "[")),
    ("x-forwarded-host", ("[", "\xff", "a" * 3000)),
    ("range", ("bytes=0-0", "zq")),
    ("x-request-id", ("\xff", "a" * 9000)),
    ("x-http-method-override", ("DELETE", "zq")),
)  # fmt: skip
VERBS = (
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "ZQ",
    "get",
)
CHUNKED = b"POST /v1/query HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n"
LINES = (
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n x: y\r\n\r\n", b"GET / HTTP/1.1\nhost: a\n\n", b"\x00" * 100,
    b"GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n", b"GET * HTTP/1.1\r\nhost: a\r\n\r\n",
    CHUNKED + b"\r\nzq\r\n", CHUNKED + b"\r\nffffffffffffffffff\r\n",
    CHUNKED + b"content-length: 3\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nzqzqzqzqzqzqzqzqzq",
)  # fmt: skip


@dataclass
class Request:
    """A request, to be spoiled."""

    verb: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: bytes | None
    raw: bytes | None = field(default=None)

    def encoded(self) -> bytes:
        """Return what goes over the wire."""
        if self.raw is not None:
            return self.raw
        query = "&".join(f"{name}={value}" for name, value in self.query)
        target = self.path + (f"?{query}" if query else "")
        given = {name for name, _ in self.headers}
        headers = [("host", "a")] if "host" not in given else []
        headers += self.headers
        if self.body is not None and not given & {"content-length", "transfer-encoding"}:
            headers.append(("content-length", str(len(self.body))))
        lines = [f"{self.verb} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        head = "\r\n".join([*lines, "", ""])
        return head.encode("utf-8" if "١" in head or "٣" in head else "latin-1", "replace") + (
            self.body or b""
        )


def _spoil_path(chance: random.Random, request: Request) -> None:
    parts = request.path.split("/")
    place = chance.randrange(1, len(parts))
    if chance.random() < 0.5:
        parts[place] = chance.choice(SEGMENTS)
    else:
        parts.insert(place, chance.choice(SEGMENTS))
    request.path = "/".join(parts)


def _spoil_query(chance: random.Random, request: Request) -> None:
    method = METHODS[chance.choice([b.name for b in BINDINGS])]
    names = [name for name, _ in request.query] + [
        *method.request_type.DESCRIPTOR.fields_by_name,
        *("body", "body.data", "content.content_type", "site.id", "x", "%ff", "a.b.c", "limit[]"),
    ]
    for _ in range(chance.randint(1, 4)):
        value = chance.choice(VALUES)
        text = quote(value, safe="%") if chance.random() < 0.7 else value.replace(" ", "+")
        request.query.append((chance.choice(names), text))
    if chance.random() < 0.2:
        request.query *= 2


def _spoil_value(chance: random.Random, request: Request) -> None:
    if not request.query:
        _spoil_query(chance, request)
        return
    place = chance.randrange(len(request.query))
    request.query[place] = (request.query[place][0], quote(chance.choice(VALUES), safe="%"))


def _spoil_body(chance: random.Random, request: Request) -> None:
    body = request.body or b"{}"
    match chance.randrange(5):
        case 0:
            request.body = chance.choice(BODIES)
        case 1:
            request.body = body[: chance.randrange(len(body) + 1)]
        case 2:
            spoiled = bytearray(body or b"x")
            for _ in range(chance.randint(1, 6)):
                spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
            request.body = bytes(spoiled)
        case 3:
            request.body = chance.randbytes(chance.choice((1, 10, 3000)))
        case _:
            request.body = _other_types(chance, body)


def _other_types(chance: random.Random, body: bytes) -> bytes:
    """Return a JSON body with a value or two of another type."""
    others = (None, True, -1, 1e300, 2**70, "", "\0", [], {}, [[]], {"a": [None]}, "x" * 3000)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(document, dict | list):
        return body
    target = document
    for _ in range(chance.randrange(4)):
        inner = list(target.values() if isinstance(target, dict) else target)
        deeper = [each for each in inner if isinstance(each, dict | list) and each]
        if not deeper:
            break
        target = chance.choice(deeper)
    if isinstance(target, dict) and target:
        target[chance.choice(list(target))] = chance.choice(others)
    elif isinstance(target, list) and target:
        target[chance.randrange(len(target))] = chance.choice(others)
    return json.dumps(document).encode()


def _spoil_headers(chance: random.Random, request: Request) -> None:
    for _ in range(chance.choice((1, 1, 2, 3))):
        name, values = chance.choice(HEADERS)
        request.headers.append((name, chance.choice(values)))
    if chance.random() < 0.05:
        request.headers += [(f"x-{number}", "y") for number in range(chance.choice((99, 300)))]
    if chance.random() < 0.05:
        request.headers.append(("x-long", "y" * chance.choice((20_000, 61_000, 100_000))))


def _spoil_verb(chance: random.Random, request: Request) -> None:
    request.verb = chance.choice(VERBS)


def _spoil_all(chance: random.Random, request: Request) -> None:
    request.raw = chance.choice(LINES)
    if chance.random() < 0.3:
        spoiled = bytearray(request.raw)
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        request.raw = bytes(spoiled)


SPOILERS = (
    *(_spoil_path, _spoil_query, _spoil_query, _spoil_value, _spoil_value),
    *(_spoil_body, _spoil_body, _spoil_body, _spoil_headers, _spoil_headers),
    *(_spoil_verb, _spoil_all),
)


def send(port: int, request: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """Send bytes; return the status, all of the answer, its headers and its body."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)) as sock:
        answer = http.client.HTTPResponse(sock, method=request.partition(b" ")[0].decode("latin-1"))
        try:
            sock.sendall(request)
            answer.begin()
            kind = answer.getheader("content-type", "")
            body = answer.read1(65536) if "event-stream" in kind else answer.read()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER, "", {}, b""
        headers = {name.lower(): value for name, value in answer.getheaders()}
    return str(answer.status), f"{headers} {body.decode('utf-8', 'replace')}", headers, body


def document_fault(status: str, headers: dict[str, str], body: bytes) -> str:
    """Return what is wrong with a refusal's document; "" if nothing is."""
    if status == NO_ANSWER or status < "400" or not body:
        return ""
    if headers.get("content-type") == "application/grpc" or "grpc-status" in headers:
        return ""  # a content type of gRPC has its answer
    try:
        document = json.loads(body)
    except ValueError:
        return "no JSON"
    known = ({"error"}, {"success", "error", "code"}, {"success", "error", "code", "details"},
             {"detail"}, {"detail", "rejected"})  # fmt: skip
    return "" if set(document) in known else f"a document of {sorted(document)}"


def _targets(attacked: Attacked, chosen: Iterable[str]) -> list[Request]:
    """Return a good request for each binding, with its credentials."""
    made = []
    for binding in BINDINGS:
        if binding.name not in chosen:
            continue
        recipe = RECIPES[binding.name]
        path, body, typed = binding.target(recipe.message(attacked.own))
        path, _, query = path.partition("?")
        pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
        headers = [*typed.items(), *good_credentials(recipe.kind, attacked)]
        made.append(Request(binding.verb, path, list(pairs), headers, body))
    return made


@pytest.fixture(scope="module")
def targets(attacked: Attacked) -> list[Request]:
    return _targets(attacked, RECIPES)


def test_malformed_requests(case: Case, attacked: Attacked, targets: list[Request]) -> None:
    chance, answers = case.chance, Answers(STATUSES | {NO_ANSWER})
    count = 10_000 if case.full else 300
    cheap = [request for request in targets if request.path not in COSTLY]
    costly = [request for request in targets if request.path in COSTLY]
    requests = []
    for number in range(count):
        good = chance.choice(costly if number % 40 == 0 else cheap)
        spoiled = Request(good.verb, good.path, [*good.query], [*good.headers], good.body)
        for _ in range(chance.choice((1, 1, 2))):
            chance.choice(SPOILERS)(chance, spoiled)
        requests.append(spoiled.encoded())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for sent, answer in zip(
            requests, pool.map(lambda each: send(attacked.port, each), requests), strict=True
        ):
            if answer[0] == "503":
                # A machine that does a hundred other things may be too busy, once.
                answer = send(attacked.port, sent)  # noqa: PLW2901
            status, said, headers, body = answer
            answers.judge(status, said, sent, repr(sent[:300]))
            fault = document_fault(status, headers, body)
            if fault:
                answers.faults.append(f"{status}: {fault}: {body[:200]!r} for {sent[:300]!r}")
            internal = [name for name in headers if re.match("footfall-|x-envoy-", name)]
            assert internal == []
    assert answers.total == count
    assert not answers.faults, "\n".join(answers.faults)
    assert answers.codes["200"] > count / 50
    assert answers.codes["400"] > count / 5
    assert answers.codes[NO_ANSWER] < count / 10
    case.tell(f"{count} requests: {dict(answers.codes.most_common())}")
