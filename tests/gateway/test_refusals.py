"""Refusals for used-up allowances that the gateway repeats without asking the server."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from footfall.errors import RateLimitedError
from footfall.rpc.status import failure
from footfall.supervisor.gateway import gateway_dir
from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.documents import family_of, internal_headers
from tests.gateway.http1 import Answer, ask
from tests.rpc.conftest import Refusal

ALLOWANCE = (
    ("x-ratelimit-limit", "30"),
    ("x-ratelimit-remaining", "0"),
    ("x-ratelimit-reset", "1704067210"),
)
#: The longest that the gateway holds anything, and what tests let it hold, in milliseconds.
MOST, LONG = 500, 60_000

_serial = count()


def patient(configuration: str) -> str:
    """Let the gateway hold a refusal for as long as it is told to."""
    file = gateway_dir() / "refusals.lua"
    script, limits = re.subn(rf"(HOLDS_MS_MAX =) {MOST}\b", rf"\1 {LONG}", file.read_text())
    named = json.dumps(str(file))
    assert (limits, configuration.count(f"{{filename: {named}}}")) == (1, 1)
    return configuration.replace(f"filename: {named}", f"inline_string: {json.dumps(script)}")


@pytest.fixture(scope="module")
def patient_gateway() -> Iterator[Gateway]:
    with running_gateway(patient) as gateway:
        yield gateway


def refusal(holds_ms: int = LONG, site: str = "", **scenario: Any) -> str:
    """Return the scenario of a call that the server refuses in its own words."""
    error = RateLimitedError(
        "Used up.",
        metadata={"subject": "site:a"},
        retry_after_s=8,
        holds_ms=holds_ms,
        holds_for=site,
    )
    told = failure(error, request_id="r-1", headers=ALLOWANCE)
    trailing = [
        (key, value if isinstance(value, str) else base64.b64encode(value).decode())
        for key, value in told.trailing
    ]
    return json.dumps(
        {"abort": told.code.name, "details": told.message, "trailing": trailing} | scenario
    )


def a_key() -> dict[str, str]:
    """Return credentials that nobody has shown before."""
    return {"authorization": f"Bearer k-{next(_serial)}"}


def asked(
    gateway: Gateway, path: str, headers: Mapping[str, str], body: bytes | None = None
) -> tuple[Answer, bool]:
    """Return the answer, and whether it is the server's."""
    before = gateway.server.calls
    answer = ask(gateway.port, "GET" if body is None else "POST", path, headers, body)
    return answer, gateway.server.calls > before


def sources(gateway: Gateway, site: str, headers: Mapping[str, str]) -> tuple[int, bool]:
    """Return the status of a call about a site, and whether it was the server's."""
    answer, by_server = asked(gateway, f"/v1/sources?site={quote(site, safe='')}", headers)
    return answer.status, by_server


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/sources?site={}", None),
        ("/v1/realtime/stream?site={}", None),
        ("/1/timeseries/{}/9/", None),
        ("/1/export/{}/9/", None),
        ("/v1/query?website_id={}", b'{"parameters": ["summary"]}'),
        ("/v1/export?website_id={}", None),
        ("/v1/analytics/runs?time_start={}", None),
    ],
)
@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-auth-user"])
def test_a_refusal_is_repeated_as_it_was(
    patient_gateway: Gateway, path: str, body: bytes | None, name: str
) -> None:
    headers = {name: f"k-{next(_serial)}", "origin": "https://news.example.com"}
    answers = []
    for text, by_server in ((refusal(), True), ("9", False), ("10", False)):
        answer, was_by_server = asked(
            patient_gateway, path.format(quote(text, safe="")), headers, body
        )
        assert was_by_server == by_server
        answers.append(answer)
    first = answers[0]
    assert first.status == 429
    assert {**dict(ALLOWANCE), "retry-after": "8"}.items() <= first.headers.items()
    assert {"A": "error", "C": "code", "D": "detail"}[family_of(path)] in first.json
    assert not internal_headers(first)
    for again in answers[1:]:
        assert (again.status, again.body) == (first.status, first.body)
        assert but_for_the_moment(again) == but_for_the_moment(first)
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


def but_for_the_moment(answer: Answer) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k not in ("x-request-id", "date")}


def test_a_refusal_of_a_stub_is_repeated_as_it_was(patient_gateway: Gateway) -> None:
    metadata = tuple(a_key().items())
    told = []
    with grpc.insecure_channel(f"127.0.0.1:{patient_gateway.port}") as channel:
        stub = realtime_pb2_grpc.RealtimeServiceStub(channel)
        before = patient_gateway.server.calls
        for site in (refusal(), "a"):
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetSources(realtime_pb2.GetSourcesRequest(site=site), metadata=metadata)
            told.append(Refusal.of(caught.value))
        assert patient_gateway.server.calls == before + 1
    first, again = told
    assert first.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert first.details["RetryInfo"].retry_delay.seconds == 8
    assert first.details["QuotaFailure"].violations[0].subject == "site:a"
    assert (again.code, again.message, again.details) == (first.code, first.message, first.details)
    ours = [*dict(ALLOWANCE), "retry-after", "footfall-reason", "footfall-message"]
    for name in ours:
        assert again.trailing[name] == first.trailing[name]
    # It is told to others as well, and names no request but by the header that each has for itself.
    assert "RequestInfo" not in first.details
    assert first.trailing["x-request-id"] != again.trailing["x-request-id"]
    assert "footfall-holds" not in first.trailing


def test_a_refusal_over_grpc_web_is_repeated(patient_gateway: Gateway) -> None:
    headers = a_key() | {"content-type": "application/grpc-web+proto"}
    answers = []
    for site, by_server in ((refusal(), True), ("a", False)):
        message = realtime_pb2.GetSourcesRequest(site=site).SerializeToString()
        frame = b"\0" + len(message).to_bytes(4, "big") + message
        method = "/footfall.v1.RealtimeService/GetSources"
        answer, was_by_server = asked(patient_gateway, method, headers, frame)
        assert was_by_server == by_server
        answers.append(answer)
    first, again = answers
    assert (first.status, first.headers["grpc-status"], first.body) == (200, "8", b"")
    assert (again.status, again.headers["grpc-status"], again.body) == (200, "8", b"")
    told = "grpc-status-details-bin"
    assert again.headers[told] == first.headers[told]


def test_others_are_not_refused(patient_gateway: Gateway) -> None:
    headers = a_key()
    assert sources(patient_gateway, refusal(), headers) == (429, True)
    assert sources(patient_gateway, "a", headers) == (429, False)
    for others in (
        a_key(),
        {},
        headers | {"x-api-key": "k"},
        headers | {"x-auth-user": "k"},
        headers | {"x-auth-key": "k"},
        {"x-api-key": headers["authorization"]},
    ):
        assert sources(patient_gateway, "a", others) == (200, True)
    # Another method of the same key.
    answer, by_server = asked(patient_gateway, "/v1/realtime?site=a", headers)
    assert (answer.status, by_server) == (200, True)
    # What else a caller sends makes no difference to the server.
    assert sources(patient_gateway, "a", headers | {"cookie": "a=b"}) == (429, False)


def test_nothing_is_held_for_callers_without_credentials(patient_gateway: Gateway) -> None:
    for headers in ({}, {"cookie": "footfall_session=s"}):
        assert sources(patient_gateway, refusal(), headers) == (429, True)
        assert sources(patient_gateway, "a", headers) == (200, True)


@pytest.mark.parametrize("path", ["/v1/charts?site={}&preset=p", "/v1/charts?preset=p&site={}"])
def test_a_refusal_about_a_site_is_about_that_site(patient_gateway: Gateway, path: str) -> None:
    headers = a_key()

    def charts(site: str) -> tuple[int, bool]:
        answer, by_server = asked(patient_gateway, path.format(quote(site)), headers)
        return answer.status, by_server

    assert charts(refusal(site="site-a")) == (429, True)
    assert charts("site-a") == (429, False)
    assert charts("site-b") == (200, True)
    assert charts("") == (200, True)
    assert charts(refusal(site="site-b")) == (429, True)
    assert (charts("site-a"), charts("site-b")) == ((429, False), (429, False))


def test_a_site_is_found_in_any_message_that_the_server_reads(patient_gateway: Gateway) -> None:
    headers = a_key()
    assert sources(patient_gateway, refusal(site="site-a"), headers) == (429, True)
    metadata = tuple(headers.items())
    named = realtime_pb2.GetSourcesRequest(site="site-a").SerializeToString()
    # Of fields that the server does not know, in each encoding that there is.
    unknown = b"\xa8\x06\xff\x01\xa9\x0612345678\xaa\x06\x02ab\xad\x061234"
    other = realtime_pb2.GetSourcesRequest(site="site-b").SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{patient_gateway.port}") as channel:
        call = channel.unary_unary("/footfall.v1.RealtimeService/GetSources")
        for message in (named, unknown + named, named + unknown, other + named):
            with pytest.raises(grpc.RpcError) as caught:
                call(message, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # The last one counts; and what is long or compressed is for the server to read.
        for message in (named + other, b"\xaa\x06\x80\x80\x04" + bytes(65_536) + named):
            call(message, metadata=metadata)
        call(named + 99 * unknown, metadata=metadata, compression=grpc.Compression.Gzip)


def test_a_refusal_is_held_from_when_the_call_came(patient_gateway: Gateway) -> None:
    headers = a_key()
    # When the answer is there, its time is over.
    assert sources(patient_gateway, refusal(300, sleep=0.4), headers) == (429, True)
    assert sources(patient_gateway, "a", headers) == (200, True)


def test_a_refusal_is_held_no_longer_than_it_holds(patient_gateway: Gateway) -> None:
    headers = a_key()
    assert sources(patient_gateway, refusal(2_000), headers) == (429, True)
    assert sources(patient_gateway, "a", headers) == (429, False)
    time.sleep(2)
    assert sources(patient_gateway, "a", headers) == (200, True)


def test_a_refusal_is_held_for_half_a_second_at_most(gateway: Gateway) -> None:
    headers = a_key()
    assert sources(gateway, refusal(LONG), headers) == (429, True)
    time.sleep(MOST / 1_000)
    assert sources(gateway, "a", headers) == (200, True)


def test_the_access_log_tells_who_has_refused(patient_gateway: Gateway) -> None:
    headers = a_key()
    for site in (refusal(), "a"):
        sources(patient_gateway, site, headers)
    time.sleep(0.5)  # written every 0.1 s
    lines = patient_gateway.access_log.read_text().splitlines()[-2:]
    told = [json.loads(line) for line in lines]
    assert [(line["status"], line["details"]) for line in told] == [
        (429, "via_upstream"),
        (429, "lua_response"),
    ]
    assert told[1]["upstream_ms"] is None
