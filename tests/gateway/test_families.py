"""The error documents of families C and D, whoever makes them, and answers without a document."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.gateway.conftest import Gateway
from tests.gateway.documents import assert_document, at, failing, internal_headers
from tests.gateway.http1 import Answer, ask

ALLOWANCE = (
    ("x-ratelimit-limit", "30"),
    ("x-ratelimit-remaining", "0"),
    ("x-ratelimit-reset", "1704067210"),
    ("retry-after", "8"),
)


def login(gateway: Gateway, scenario: object) -> Answer:
    body = json.dumps({"email": json.dumps(scenario), "password": "x"}).encode()
    return ask(gateway.port, "POST", "/v1/auth/login", {}, body)


@pytest.mark.parametrize(
    ("grpc_code", "status", "reason", "code"),
    [
        ("INVALID_ARGUMENT", 400, "INVALID_PARAMETER", "VALIDATION_ERROR"),
        ("UNAUTHENTICATED", 401, "INVALID_LOGIN", "AUTH_REQUIRED"),
        ("UNAUTHENTICATED", 401, "MISSING_TOKEN", "AUTH_REQUIRED"),
        ("PERMISSION_DENIED", 403, "CROSS_ORIGIN", "FORBIDDEN"),
        ("NOT_FOUND", 404, "NOT_FOUND", "NOT_FOUND"),
        ("INVALID_ARGUMENT", 413, "PAYLOAD_TOO_LARGE", "PAYLOAD_TOO_LARGE"),
        ("INVALID_ARGUMENT", 415, "UNSUPPORTED_MEDIA_TYPE", "UNSUPPORTED_MEDIA_TYPE"),
        ("INTERNAL", 500, "INTERNAL", "INTERNAL_SERVER_ERROR"),
        ("UNAVAILABLE", 503, "REDIS_UNAVAILABLE", "UNAVAILABLE"),
        ("RESOURCE_EXHAUSTED", 503, "OVERLOADED", "UNAVAILABLE"),
        ("DEADLINE_EXCEEDED", 504, "DEADLINE_EXCEEDED", "UNAVAILABLE"),
        ("INVALID_ARGUMENT", 400, "MISSING_WEBSITE_ID", "MISSING_WEBSITE_ID"),
        ("NOT_FOUND", 404, "WEBSITE_NOT_FOUND", "WEBSITE_NOT_FOUND"),
        ("INVALID_ARGUMENT", 400, "FORBIDDEN_OPERATION", "FORBIDDEN_OPERATION"),
        ("INVALID_ARGUMENT", 400, "QUERY_TOO_COMPLEX", "QUERY_TOO_COMPLEX"),
    ],
)
def test_the_servers_errors_in_family_c(
    gateway: Gateway, grpc_code: str, status: int, reason: str, code: str
) -> None:
    answer = login(gateway, failing(grpc_code, status, reason, message='Nö "so" \\ %41'))
    assert assert_document(answer, status, code, "C") == 'Nö "so" \\ %41'
    assert answer.json.keys() == {"success", "error", "code"}


def test_a_used_up_allowance_in_family_c(gateway: Gateway) -> None:
    used_up = failing("RESOURCE_EXHAUSTED", 429, "RATE_LIMIT_EXCEEDED", *ALLOWANCE)
    answer = login(gateway, used_up)
    assert answer.status == 429
    # As published.
    assert answer.json == {
        "success": False,
        "error": "Rate limit exceeded. Please try again later.",
        "code": "RATE_LIMIT_EXCEEDED",
        "limit": 30,
        "remaining": 0,
        "reset": "2024-01-01T00:00:10.000Z",
        "retryAfter": 8,
    }
    assert {name: answer.headers[name] for name, _ in ALLOWANCE} == dict(ALLOWANCE)


def test_faults_of_a_query_in_family_c(gateway: Gateway) -> None:
    faults = [{"field": "filters[0].op", "message": "ü", "suggestion": "eq"}]
    detail = ("footfall-detail", quote(json.dumps(faults)))
    scenario = failing("INVALID_ARGUMENT", 400, "VALIDATION_ERROR", detail)
    answer = ask(gateway.port, "POST", at("/v1/query?website_id=", **scenario), {}, b"{}")
    assert assert_document(answer, 400, "VALIDATION_ERROR", "C") == "what"
    assert answer.json["details"] == faults


@pytest.mark.parametrize(
    ("grpc_code", "status", "reason"),
    [
        ("INVALID_ARGUMENT", 400, "INVALID_PARAMETER"),
        ("UNAUTHENTICATED", 401, "MISSING_API_KEY"),
        ("PERMISSION_DENIED", 403, "SCOPE_REQUIRED"),
        ("NOT_FOUND", 404, "UNKNOWN_METRIC"),
        ("INTERNAL", 500, "INTERNAL"),
        ("UNAVAILABLE", 503, "REDIS_UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/analytics/runs?time_start=", "/analytics/"])
def test_the_servers_errors_in_family_d(
    gateway: Gateway, path: str, grpc_code: str, status: int, reason: str
) -> None:
    scenario = failing(grpc_code, status, reason, message='Nö "so" %41')
    answer = ask(gateway.port, "GET", at(path, **scenario))
    assert assert_document(answer, status, reason, "D") == 'Nö "so" %41'
    assert answer.json.keys() == {"detail"}


def test_faults_of_parameters_in_family_d(gateway: Gateway) -> None:
    faults = [
        {"loc": ["query", "time_start"], "msg": "field required", "type": "value_error.missing"},
        {"loc": ["query", "page_size"], "msg": 'ü "%41" \\', "type": "value_error.number.not_le"},
    ]
    detail = ("footfall-detail", quote(json.dumps(faults, ensure_ascii=False)))
    scenario = failing("INVALID_ARGUMENT", 422, "INVALID_PARAMETERS", detail)
    answer = ask(gateway.port, "GET", at("/v1/analytics/", **scenario))
    assert (answer.status, answer.json) == (422, {"detail": faults})
    assert answer.headers["content-type"] == "application/json"
    assert not internal_headers(answer)


def test_a_used_up_allowance_in_family_d(gateway: Gateway) -> None:
    used_up = failing("RESOURCE_EXHAUSTED", 429, "RATE_LIMIT_EXCEEDED", *ALLOWANCE)
    answer = ask(gateway.port, "GET", at("/v1/analytics/", **used_up))
    assert (answer.status, answer.json) == (429, {"detail": "Rate limit exceeded"})
    assert {name: answer.headers[name] for name, _ in ALLOWANCE} == dict(ALLOWANCE)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/analytics/%ff",
        "/v1/analytics/a%2fb",
        "/v1/analytics/runs?page=1&page=2",
        "/analytics/runs?page=%ff",
    ],
)
def test_paths_and_queries_that_cannot_be_read(gateway: Gateway, path: str) -> None:
    answer = ask(gateway.port, "GET", path)
    # A slash in disguise is refused before there is a route, and thus a family.
    assert_document(answer, 400, "invalid_parameter", "A" if "%2f" in path else "D")


@pytest.mark.parametrize(
    "scenario", [{"raise": "secret"}, {"abort": "UNKNOWN", "details": "secret"}]
)
def test_errors_without_a_reason_say_nothing_of_the_inside(
    gateway: Gateway, scenario: dict[str, str]
) -> None:
    hidden = "Something went wrong on our side; the answer's X-Request-ID names this request."
    answer = login(gateway, scenario)
    assert assert_document(answer, 500, "INTERNAL_SERVER_ERROR", "C") == hidden
    answer = ask(gateway.port, "GET", at("/v1/analytics/", **scenario))
    assert assert_document(answer, 500, "", "D") == hidden


def test_an_answer_that_has_not_changed(gateway: Gateway) -> None:
    kept = [
        ("etag", '"5f"'),
        ("cache-control", "private, max-age=60"),
        ("vary", "authorization"),
        ("x-ratelimit-limit", "10"),
        ("x-ratelimit-remaining", "9"),
        ("x-ratelimit-reset", "1790000000"),
    ]
    fresh = ask(gateway.port, "GET", at("/v1/overview?site=", initial=kept))
    assert fresh.status == 200
    unchanged = failing("FAILED_PRECONDITION", 304, "NOT_MODIFIED", *kept)
    answer = ask(
        gateway.port,
        "GET",
        at("/v1/overview?site=", **unchanged),
        {"if-none-match": '"5f"', "origin": "https://news.example.com"},
    )
    assert (answer.status, answer.body) == (304, b"")
    assert "content-type" not in answer.headers
    assert not internal_headers(answer)
    for name, value in kept[:2] + kept[3:]:
        assert fresh.headers[name] == answer.headers[name] == value
    assert answer.headers["vary"] == "authorization,origin"
    assert answer.headers["access-control-allow-origin"] == "https://news.example.com"
    assert ("if-none-match", '"5f"') in gateway.server.told


def test_cookies_are_set_and_kept_by_no_cache(gateway: Gateway) -> None:
    cookie = "footfall_session=a-b_c; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000"
    more = "other=1; Path=/"
    given = [("set-cookie", cookie), ("set-cookie", more), ("cache-control", "no-store")]
    answer = login(gateway, {"initial": given})
    assert answer.status == 200
    assert answer.headers["set-cookie"] == f"{cookie}, {more}"
    assert answer.headers["cache-control"] == "no-store"
    answer = login(gateway, failing("UNAUTHENTICATED", 401, "INVALID_LOGIN", *given))
    assert assert_document(answer, 401, "AUTH_REQUIRED", "C")
    assert answer.headers["set-cookie"] == f"{cookie}, {more}"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("POST", "/v1/auth/refresh", True),
        ("POST", "/v1/auth/logout", True),
        ("GET", "/api/me", True),
        ("POST", "/api/me/tracker", True),
        ("GET", "/v1/keys", True),
        ("DELETE", "/v1/members/7", True),
        ("POST", "/v1/applications", True),
        ("POST", "/v1/collect", False),
        ("POST", "/1/event/", False),
        ("POST", "/v1/events", False),
        ("POST", "/v1/query", True),
        ("GET", "/v1/realtime", False),
        ("GET", "/v1/realtime/stream", False),
        ("GET", "/v1/analytics/runs", False),
    ],
)
def test_cookies_go_where_people_sign_in(
    gateway: Gateway, method: str, path: str, *, told: bool
) -> None:
    body = b"{}" if method == "POST" else None
    answer = ask(gateway.port, method, path, {"cookie": "a=b; footfall_session=c"}, body)
    assert answer.status == 200
    assert (("cookie", "a=b; footfall_session=c") in gateway.server.told) == told
