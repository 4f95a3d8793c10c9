"""Every binding of the descriptor set has its route, methods and preflights."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from footfall.supervisor.gateway import GatewayOptions, compact, gateway_dir, render, validate
from tests.gateway.conftest import Gateway
from tests.gateway.documents import assert_document, at, family_of, internal_headers
from tests.gateway.http1 import ask, raw

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@dataclass(frozen=True)
class Binding:
    rpc: str
    method: str
    template: str
    streams: bool

    @property
    def path(self) -> str:
        return re.sub(r"\{[^}]*\}", "1", self.template)


def bindings() -> Iterator[Binding]:
    """Yield all REST bindings of the descriptor set that the gateway reads."""
    files = descriptor_pb2.FileDescriptorSet.FromString(
        (gateway_dir() / "footfall.binpb").read_bytes()
    )
    for file in files.file:
        for service in file.service:
            for rpc in service.method:
                rule = rpc.options.Extensions[annotations_pb2.http]
                for one in (rule, *rule.additional_bindings):
                    kind = one.WhichOneof("pattern")
                    if kind:
                        name = f"{file.package}.{service.name}/{rpc.name}"
                        yield Binding(name, kind.upper(), getattr(one, kind), rpc.server_streaming)


BINDINGS = list(bindings())
ALL = pytest.mark.parametrize("binding", BINDINGS, ids=lambda binding: binding.path)


def test_there_are_bindings_and_none_is_taken_twice() -> None:
    assert {binding.method for binding in BINDINGS} >= {"GET", "POST"}
    # Variables are alike to a router, so their names do not tell two templates apart.
    places = Counter((b.method, re.sub(r"\{[^}]*\}", "*", b.template)) for b in BINDINGS)
    assert [place for place, count in places.items() if count > 1] == []
    # Envoy does not start with a template that ends in a slash.
    assert [b.template for b in BINDINGS if b.template.endswith("/")] == []


@ALL
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_binding_reaches_its_rpc(gateway: Gateway, binding: Binding, slash: str) -> None:
    body = b"{}" if binding.method in ("POST", "PATCH") else None
    answer = ask(gateway.port, binding.method, binding.path + slash, {}, body)
    assert answer.status == 200, answer
    assert answer.headers["x-request-id"]
    assert answer.headers["server"] == "footfall"
    assert not internal_headers(answer)


@ALL
def test_other_methods_are_405(gateway: Gateway, binding: Binding) -> None:
    taken = {b.method for b in BINDINGS if b.path == binding.path}
    for method in METHODS:
        if method in taken:
            continue
        answer = ask(gateway.port, method, binding.path)
        assert answer.headers["allow"] == ", ".join(sorted(taken))
        assert answer.headers["access-control-allow-origin"] == "*"
        if method == "HEAD":
            assert (answer.status, answer.body) == (405, b"")
        else:
            assert_document(answer, 405, "method_not_allowed", family_of(binding.path))


@ALL
@pytest.mark.parametrize("origin", ["https://news.example.com", "null", "http://localhost:3000"])
def test_preflights(gateway: Gateway, binding: Binding, origin: str) -> None:
    wanted = {
        "authorization",
        "x-auth-user",
        "x-auth-key",
        "x-api-key",
        "content-type",
        "databuddy-client-id",
        "if-none-match",
        "idempotency-key",
        "traceparent",
    }
    answer = ask(
        gateway.port,
        "OPTIONS",
        binding.path,
        {
            "origin": origin,
            "access-control-request-method": binding.method,
            "access-control-request-headers": ",".join(sorted(wanted)),
        },
    )
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert binding.method in answer.headers["access-control-allow-methods"].split(", ")
    assert wanted <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert int(answer.headers["access-control-max-age"]) > 0


def test_answers_can_be_read_by_any_page(gateway: Gateway) -> None:
    answer = ask(gateway.port, "GET", "/v1/sources?site=x", {"origin": "null"})
    assert answer.headers["access-control-allow-origin"] == "null"
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "retry-after",
        "x-request-id",
        "etag",
        "cache-control",
    } <= exposed
    # Else a cache would give one page's permission to another.
    assert "origin" in answer.headers["vary"]


def test_rate_limit_headers_of_a_success(gateway: Gateway) -> None:
    initial = [["x-ratelimit-limit", "10"], ["x-ratelimit-remaining", "9"]]
    answer = ask(gateway.port, "GET", at("/v1/sources?site=", initial=initial))
    assert answer.status == 200
    assert answer.headers["x-ratelimit-limit"] == "10"
    assert answer.headers["x-ratelimit-remaining"] == "9"


def test_documents_have_every_field_under_its_own_name(gateway: Gateway) -> None:
    answer = ask(gateway.port, "GET", "/v1/realtime?site=x&unknown=1")
    assert answer.json["site"] == "x"
    assert answer.json["window_seconds"] == 300
    assert answer.json["total_realtime"] == 0
    assert answer.json["top_pages"] == []
    assert answer.json["devices"] == {}


def test_query_parameters(gateway: Gateway) -> None:
    path = "/1/timeseries/1/2/?include=a:b&include=c+d%2Be&value=&group=%C3%BC&surprise=1"
    seen = ask(gateway.port, "GET", path).json
    assert (seen["range_start"], seen["range_end"]) == ("1", "2")
    assert seen["include"] == ["a:b", "c d+e"]
    assert (seen["value"], seen["group"]) == ("", "ü")


def test_what_the_server_is_told_of_the_caller(gateway: Gateway) -> None:
    answer = ask(
        gateway.port,
        "GET",
        "/1/timeseries/1/2",
        {
            "x-forwarded-for": "192.0.2.7",
            "x-auth-user": "app",
            "x-request-id": "mine",
            "footfall-internal": "1",
            "x-envoy-retry-on": "5xx",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "x-envoy-original-path": "/somewhere",
            "grpc-timeout": "1n",
            "grpc-encoding": "gzip",
            "x-secret-bin": "not base64 !",
        },
    )
    assert answer.status == 200
    told: dict[str, str] = dict(answer.json["metadata"])
    assert told["x-auth-user"] == "app"
    # What the caller says of itself comes first; the peer, whom nobody can forge, is the last.
    *said, peer = told["x-forwarded-for"].replace(" ", "").split(",")
    assert said == ["192.0.2.7"]
    assert peer != "192.0.2.7"
    assert told["x-request-id"] == answer.headers["x-request-id"] != "mine"
    assert told["x-envoy-original-path"] == "/1/timeseries/1/2"
    for name in ("footfall-internal", "x-envoy-retry-on", "grpc-encoding", "x-secret-bin"):
        assert name not in told
    assert answer.json["remaining"] is None


@pytest.mark.parametrize(
    "content_type",
    ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "application/json", ""],
)
def test_bodies_arrive_byte_for_byte_in_any_content_type(
    gateway: Gateway, content_type: str
) -> None:
    body = b'[{"a": 1,}, "\xff"'
    headers = {"content-type": content_type} if content_type else {}
    answer = ask(gateway.port, "POST", "/v1/collect?site=x", headers, body)
    assert answer.json["rejected"] == [{"index": len(body), "code": content_type, "message": ""}]


def test_streams_are_passed_on_as_they_come(gateway: Gateway) -> None:
    events = ask(gateway.port, "GET", at("/v1/realtime/stream?site=", messages=3))
    assert events.headers["content-type"] == "text/event-stream"
    assert events.body == b"".join(b"event: snapshot\ndata: %d\n\n" % n for n in range(3))
    lines = ask(gateway.port, "GET", at("/1/export/", messages=10_000) + "/2")
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["index"] for line in lines.body.splitlines()] == list(range(10_000))


def test_large_answers(gateway: Gateway) -> None:
    answer = ask(gateway.port, "GET", at("/1/timeseries/", size=30_000_000) + "/2")
    assert (answer.status, len(answer.body)) == (200, 30_000_000)


@pytest.mark.parametrize("path", ["/", "/dashboard", "/dashboard/"])
def test_pages(gateway: Gateway, path: str) -> None:
    page = ask(gateway.port, "GET", path)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.body.startswith(b"<!doctype html>")
    # Self-contained: nothing is loaded from anywhere.
    assert re.findall(rb"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page.body) == []
    head = ask(gateway.port, "HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert_document(ask(gateway.port, "POST", path), 405, "method_not_allowed")


def test_the_tracker(gateway: Gateway) -> None:
    tracker = ask(
        gateway.port, "GET", "/js/footfall.js?v=2", {"origin": "https://news.example.com"}
    )
    assert tracker.status == 200
    assert tracker.headers["content-type"] == "text/javascript; charset=utf-8"
    assert tracker.headers["x-content-type-options"] == "nosniff"
    assert tracker.headers["cache-control"] == "public, max-age=3600"
    assert tracker.headers["access-control-allow-origin"] == "*"
    # For pages that embed nothing that does not allow it.
    assert tracker.headers["cross-origin-resource-policy"] == "cross-origin"
    head = ask(gateway.port, "HEAD", "/js/footfall.js")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", tracker.headers["etag"])
    for tag in (tracker.headers["etag"], f'"x", W/{tracker.headers["etag"]}'):
        kept = ask(gateway.port, "GET", "/js/footfall.js", {"if-none-match": tag})
        assert (kept.status, kept.body, kept.headers["etag"]) == (304, b"", head.headers["etag"])
        assert "location" not in kept.headers
    other = ask(gateway.port, "POST", "/js/footfall.js")
    assert_document(other, 405, "method_not_allowed")
    assert other.headers["allow"] == "GET, HEAD"


def test_the_tracker_loses_comments_and_needless_space() -> None:
    source = """\
    // A comment.
    (() => {
      const a = "b  // c = d", e = `f  ${ g }`;
      // Another one.
      if (a) return   a + " ";
    })();
    """
    assert compact(source) == '(()=>{const a="b  // c = d",e=`f  ${ g }`;if(a)return a+" ";})();'


def test_old_clients_are_served(gateway: Gateway) -> None:
    assert raw(gateway.port, b"GET /v1/sources?site=x HTTP/1.0\r\n\r\n").status == 200


def test_the_access_log_names_no_person(gateway: Gateway) -> None:
    answer = ask(
        gateway.port,
        "GET",
        "/v1/sources?site=secret-site",
        {"authorization": "Bearer secret-key", "user-agent": "agent/1"},
    )
    deadline = time.monotonic() + 10
    line = ""
    while not line and time.monotonic() < deadline:
        lines = gateway.access_log.read_text().splitlines()
        line = next((text for text in lines if answer.headers["x-request-id"] in text), "")
    entry = json.loads(line)
    assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/v1/sources", 200)
    assert (entry["route"], entry["user_agent"]) == ("read", "agent/1")
    assert "secret" not in line
    assert "127.0.0.1" not in line


def test_the_administration_socket_is_private(gateway: Gateway) -> None:
    socket = gateway.access_log.parent / "admin.sock"
    assert socket.stat().st_mode & 0o777 == 0o600


def test_envoy_finds_a_fault() -> None:
    configuration = render(GatewayOptions())
    assert validate(configuration) == ""
    assert "no_such_field" in validate(configuration + "\nno_such_field: 1\n")
