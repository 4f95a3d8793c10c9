"""Every error is family A's document, whoever makes it; other families are in test_families.py."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.documents import assert_document, at, failing, family_of
from tests.gateway.http1 import ask, raw

MIB = 1 << 20


def test_the_servers_error_becomes_the_document(gateway: Gateway) -> None:
    trailing = [
        ["footfall-reason", "RATE_LIMIT_EXCEEDED"],
        ["footfall-message", "Zu viele %E2%80%93 %22warte%22 \\ %0A%01"],
        ["footfall-status", "429"],
        ["x-ratelimit-limit", "10"],
        ["x-ratelimit-remaining", "0"],
        ["x-ratelimit-reset", "1790000000"],
        ["retry-after", "7"],
    ]
    answer = ask(
        gateway.port,
        "GET",
        at("/v1/realtime?site=", abort="RESOURCE_EXHAUSTED", trailing=trailing),
        {"origin": "https://news.example.com"},
    )
    message = assert_document(answer, 429, "rate_limit_exceeded")
    assert message == 'Zu viele – "warte" \\ \n\x01'
    assert answer.headers["x-ratelimit-limit"] == "10"
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert answer.headers["x-ratelimit-reset"] == "1790000000"
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["access-control-allow-origin"] == "https://news.example.com"
    assert "x-ratelimit-limit" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("grpc_code", "status", "reason"),
    [
        ("INVALID_ARGUMENT", 400, "INVALID_PARAMETER"),
        ("INVALID_ARGUMENT", 413, "PAYLOAD_TOO_LARGE"),
        ("INVALID_ARGUMENT", 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("UNAUTHENTICATED", 401, "MISSING_TOKEN"),
        ("PERMISSION_DENIED", 403, "SITE_NOT_AUTHORIZED"),
        ("NOT_FOUND", 404, "NOT_FOUND"),
        ("UNAVAILABLE", 503, "REDIS_UNAVAILABLE"),
        ("INTERNAL", 500, "INTERNAL"),
        ("DEADLINE_EXCEEDED", 504, "DEADLINE_EXCEEDED"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/sources?site=", "/v1/realtime/stream?site="])
def test_the_status_is_the_servers(
    gateway: Gateway, path: str, grpc_code: str, status: int, reason: str
) -> None:
    answer = ask(gateway.port, "GET", at(path, **failing(grpc_code, status, reason)))
    assert assert_document(answer, status, reason.lower()) == "what"


def test_rejected_events_are_listed(gateway: Gateway) -> None:
    rejected = [{"index": 0, "code": "INVALID_FIELD", "message": 'url: "ü" %41 …'}]
    trailing = [
        ["footfall-reason", "INVALID_EVENTS"],
        ["footfall-message", "No event of the batch is good."],
        ["footfall-status", "400"],
        ["footfall-rejected", quote(json.dumps(rejected, ensure_ascii=False))],
    ]
    path = at("/v1/collect?site=", abort="INVALID_ARGUMENT", trailing=trailing)
    answer = ask(gateway.port, "POST", path, body=b"[{}]")
    assert_document(answer, 400, "invalid_events")
    assert answer.json["error"]["rejected"] == rejected


@pytest.mark.parametrize(
    ("scenario", "status", "code"),
    [
        ({"raise": "psycopg.OperationalError at /srv/app.py"}, 500, "internal"),
        ({"abort": "UNKNOWN", "details": "KeyError('secret')"}, 500, "internal"),
        ({"abort": "UNAVAILABLE", "details": "secret"}, 503, "unavailable"),
        ({"abort": "UNIMPLEMENTED", "details": "secret"}, 404, "not_found"),
        ({"abort": "DEADLINE_EXCEEDED", "details": "secret"}, 504, "unavailable"),
        ({"abort": "RESOURCE_EXHAUSTED", "details": "secret"}, 413, "payload_too_large"),
        ({"abort": "INVALID_ARGUMENT", "details": "secret"}, 400, "invalid_parameter"),
        ({"abort": "DATA_LOSS", "details": "secret"}, 500, "internal"),
    ],
)
def test_errors_without_a_reason_say_nothing_of_the_inside(
    gateway: Gateway, scenario: dict[str, Any], status: int, code: str
) -> None:
    answer = ask(gateway.port, "GET", at("/v1/sources?site=", **scenario))
    message = assert_document(answer, status, code)
    for secret in ("secret", "psycopg", "app.py", "KeyError", "RuntimeError"):
        assert secret not in message


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/nothing/here?a=b", 404, "not_found"),
        ("GET", "/1", 404, "not_found"),
        ("GET", "/1/timeseries/5", 404, "not_found"),
        ("GET", "/1/timeseries/5/6/7", 404, "not_found"),
        ("GET", "/v1/realtimes", 404, "not_found"),
        ("GET", "/V1/realtime", 404, "not_found"),
        ("POST", "/footfall.v1.RealtimeService/GetRealtime", 404, "not_found"),
        ("GET", "/1/timeseries/%ff/2", 400, "invalid_parameter"),
        ("GET", "/1/timeseries/%c3%28/2", 400, "invalid_parameter"),
        ("GET", "/1/timeseries/%ed%a0%80/2", 400, "invalid_parameter"),
        ("GET", "/1/timeseries/1/2?group=%f5%80%80%80", 400, "invalid_parameter"),
        ("GET", "/1/timeseries/1/2?group=%e2%82", 400, "invalid_parameter"),
        ("GET", "/1/timeseries/a%2fb/2", 400, "invalid_parameter"),
        ("GET", "/1/timeseries/a%00/2", 400, "invalid_parameter"),
    ],
)
def test_paths_that_lead_nowhere(
    gateway: Gateway, method: str, path: str, status: int, code: str
) -> None:
    answer = ask(gateway.port, method, path)
    assert_document(answer, status, code)


def test_text_that_is_not_utf_8_is_named(gateway: Gateway) -> None:
    answer = ask(gateway.port, "GET", "/1/timeseries/%ff/2")
    assert "UTF-8" in assert_document(answer, 400, "invalid_parameter")


@pytest.mark.parametrize("text", ["é", "€", "𐍈", "\U0010ffff", "퟿", "zürich"])
def test_any_utf_8_is_passed_on(gateway: Gateway, text: str) -> None:
    answer = ask(gateway.port, "GET", f"/1/timeseries/{quote(text)}/2?group={quote(text)}")
    assert answer.json["range_start"] == text
    assert answer.json["group"] == text


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"%s": <script>}', b'{"%s": 5}', b'{"%s": "\xff"}', b"[1]", b'"x"', b"\x1f\x8b"],
)
@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", "/v1/applications", b"name"),
        ("POST", "/v1/keys", b"kind"),
        ("PATCH", "/v1/members/7", b"password"),
        ("POST", "/v1/auth/login", b"email"),
    ],
)
def test_malformed_documents(
    gateway: Gateway, method: str, path: str, field: bytes, body: bytes
) -> None:
    answer = ask(gateway.port, method, path, {}, body.replace(b"%s", field))
    code = "validation_error" if family_of(path) == "C" else "invalid_parameter"
    assert "script" not in assert_document(answer, 400, code, family_of(path))


def test_a_body_may_have_8_mib(gateway: Gateway) -> None:
    fits = ask(gateway.port, "POST", "/1/event/", {}, b" " * (8 * MIB))
    assert (fits.status, fits.json["rejected"][0]["index"]) == (200, 8 * MIB)
    for method, path in (
        ("POST", "/1/event/"),
        ("POST", "/v1/collect"),
        ("PATCH", "/v1/sites/7"),
        ("POST", "/v1/auth/login"),
    ):
        for size in (8 * MIB + 1, 12 * MIB, 30 * MIB):
            over = ask(gateway.port, method, path, {}, b" " * size)
            assert_document(over, 413, "payload_too_large", family_of(path))
            # A client that sends everything first is read to the end, unless that is too much.
            assert ("connection" in over.headers) == (size > 16 * MIB)


def test_a_body_of_unknown_length_is_limited_too(gateway: Gateway) -> None:
    chunk = b"%x\r\n%s\r\n" % (MIB, b" " * MIB)
    head = b"POST /1/event HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    fits = raw(gateway.port, head + chunk * 8 + b"0\r\n\r\n")
    assert (fits.status, fits.json["rejected"][0]["index"]) == (200, 8 * MIB)
    over = raw(gateway.port, head + chunk * 8 + b"1\r\n \r\n0\r\n\r\n")
    assert_document(over, 413, "payload_too_large")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x_auth_user": "a"}, 400, "invalid_parameter"),
        ({f"x-header-{number}": "1" for number in range(120)}, 431, "headers_too_large"),
        ({"x-header": "1" * 70_000}, 431, "headers_too_large"),
    ],
)
def test_bad_headers(gateway: Gateway, headers: dict[str, str], status: int, code: str) -> None:
    answer = ask(gateway.port, "GET", "/v1/sources?site=x", headers)
    assert_document(answer, status, code)


def test_names_that_grpc_does_not_know_are_nobodys(gateway: Gateway) -> None:
    """HTTP allows them; a server of gRPC's would fail the call without a status."""
    headers = {f"x-a{char}b": "1" for char in "!#$%&'*+^`|~"}
    answer = ask(gateway.port, "GET", "/1/timeseries/1/2?group=kept", headers)
    assert (answer.status, answer.json["group"]) == (200, "kept")


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"FETCH /v1/sources HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /v1/sources HTTP/1.1\r\n\r\n",
        b"GET /v1/sources?site=\xff HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /v1/sources HTTP/1.1\r\nhost: a\r\nx-header: \x01\r\n\r\n",
        b"POST /1/event HTTP/1.1\r\nhost: a\r\ncontent-length: many\r\n\r\n",
    ],
)
def test_requests_that_are_not_http(gateway: Gateway, request_: bytes) -> None:
    assert_document(raw(gateway.port, request_), 400, "invalid_parameter")


def test_an_answer_that_takes_too_long(gateway: Gateway) -> None:
    def hurry(configuration: str) -> str:
        assert configuration.count("timeout: 30s") == 1
        return configuration.replace("timeout: 30s", "timeout: 0.2s")

    with running_gateway(hurry) as hasty:
        for path in ("/v1/sources?site=", "/v1/analytics/flow_runs?page="):
            answer = ask(hasty.port, "GET", at(path, sleep=20))
            assert_document(answer, 504, "unavailable", family_of(path))
        fine = ask(hasty.port, "GET", at("/v1/realtime/stream?site=", sleep=0.5, messages=1))
        assert (fine.status, fine.body.count(b"snapshot")) == (200, 1)


def test_a_request_that_takes_too_long() -> None:
    def hurry(configuration: str) -> str:
        for name in ("max_stream_duration: 120s", "request_headers_timeout: 10s"):
            assert configuration.count(name) == 1
            configuration = configuration.replace(name, name.rpartition(" ")[0] + " 0.3s")
        return configuration

    with running_gateway(hurry) as hasty:
        body = raw(hasty.port, b"POST /1/event HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n[")
        assert_document(body, 408, "request_timeout")
        head = raw(hasty.port, b"GET /v1/sources HTTP/1.1\r\nhost: a\r\n")
        assert_document(head, 408, "request_timeout")
        login = b"POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{"
        assert_document(raw(hasty.port, login), 408, "request_timeout", "C")
        stream = ask(hasty.port, "GET", at("/v1/realtime/stream?site=", sleep=1, messages=1))
        assert (stream.status, stream.body.count(b"snapshot")) == (200, 1)


def test_a_server_that_is_down_and_comes_back() -> None:
    with running_gateway() as gateway:
        gateway.server.stop()
        # Each is tried for seconds before it is given up.
        calls = [("GET", "/v1/sources"), ("POST", "/v1/auth/logout"), ("GET", "/analytics/runs")]
        with ThreadPoolExecutor() as pool:
            answers = pool.map(lambda call: ask(gateway.port, *call, {"origin": "null"}), calls)
        for (_, path), answer in zip(calls, answers, strict=True):
            assert_document(answer, 503, "unavailable", family_of(path))
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["access-control-allow-origin"] == "null"
        # A request that nobody has taken waits for the next server, with its whole body.
        returning = threading.Timer(0.5, gateway.server.start)
        returning.start()
        again = ask(gateway.port, "POST", "/1/event", {}, b"x" * MIB)
        returning.join()
        assert (again.status, again.json["rejected"][0]["index"]) == (200, MIB)
