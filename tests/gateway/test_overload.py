"""More calls than the gateway lets under way."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote

import grpc
import pytest

from footfall.rpc.services import methods
from footfall.supervisor.gateway import GatewayOptions, render
from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.http1 import ask
from tests.rpc.conftest import Refusal

PLACES = 4
SLEEP_S = 1.5


def few_places(configuration: str) -> str:
    changed, count = re.subn(r"max_requests: 128\b", f"max_requests: {PLACES}", configuration)
    assert count == 1
    return changed


@pytest.fixture(scope="module")
def narrow() -> Iterator[Gateway]:
    with running_gateway(few_places) as gateway:
        yield gateway


@contextmanager
def all_places_taken(gateway: Gateway) -> Iterator[None]:
    """Keep as many calls under way as there may be, all of which must be answered well."""
    slow = f"/v1/sources?site={json.dumps({'sleep': SLEEP_S})}".replace('"', "%22").replace(" ", "")
    with ThreadPoolExecutor(PLACES) as threads:
        asked = [threads.submit(ask, gateway.port, "GET", slow) for _ in range(PLACES)]
        time.sleep(SLEEP_S / 3)
        yield
        assert [answer.result().status for answer in asked] == [200] * PLACES


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/realtime?site=x", {"error": {"code": "overloaded"}}),
        ("/v1/query/types", {"success": False, "code": "UNAVAILABLE"}),
        ("/v1/analytics", {}),
    ],
)
def test_rest_is_refused_in_its_familys_form(
    narrow: Gateway, path: str, document: dict[str, Any]
) -> None:
    with all_places_taken(narrow):
        began = time.monotonic()
        refused = ask(narrow.port, "GET", path)
        assert time.monotonic() - began < SLEEP_S / 2, "it did not wait for a place"
        assert ask(narrow.port, "GET", "/health").status == 200
    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    got = json.loads(refused.body)
    assert "as much to do as it can" in json.dumps(got)
    if "error" in document:
        assert got["error"]["code"] == document["error"]["code"]
    else:
        assert document.items() <= got.items()


def test_stubs_are_refused_as_by_the_server(narrow: Gateway) -> None:
    with (
        grpc.insecure_channel(f"127.0.0.1:{narrow.port}") as channel,
        all_places_taken(narrow),
    ):
        stub = realtime_pb2_grpc.RealtimeServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetSources(realtime_pb2.GetSourcesRequest(site="x"))
        told = Refusal.of(caught.value)
        # What goes on for hours has places of its own.
        watched = stub.WatchRealtime(
            realtime_pb2.WatchRealtimeRequest(site=json.dumps({"messages": 3}))
        )
        assert len(list(watched)) == 3
    assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told.reason == "OVERLOADED"
    assert told.trailing["retry-after"] == "1"
    assert told.details["RetryInfo"].retry_delay.seconds == 1


UNFINISHED = (
    b"POST /v1/collect?site=a HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{",
    b"POST /v1/query?website_id=a HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{",
    b"POST /footfall.v1.IngestService/IngestWebEvents HTTP/1.1\r\nhost: a\r\nte: trailers\r\n"
    b"content-type: application/grpc-web+proto\r\ncontent-length: 100\r\n\r\n\0\0\0\0\x5f",
)


@pytest.mark.parametrize("unfinished", UNFINISHED)
def test_bodies_that_nobody_finishes_take_no_place(narrow: Gateway, unfinished: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(2 * PLACES):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", narrow.port)))
            sock.sendall(unfinished)
        time.sleep(0.2)
        assert ask(narrow.port, "GET", "/v1/sources?site=x").status == 200


def test_all_streams_and_nothing_else_have_places_of_their_own() -> None:
    routes = render(GatewayOptions())
    found = re.search(r"name: grpc-stream\n +match: \{safe_regex: \{regex: (\"[^\n]*\")\},", routes)
    assert found is not None
    pattern = re.compile(json.loads(found[1]))
    for path, method in methods().items():
        assert bool(pattern.fullmatch(path)) == method.streaming, path


def test_a_call_whose_turn_never_came_is_sent_again(gateway: Gateway) -> None:
    # The server cancels it each time: in the end the caller is told when to come again.
    before = gateway.server.calls
    scenario = json.dumps({"abort": "CANCELLED", "details": "secret"}, separators=(",", ":"))
    refused = ask(gateway.port, "GET", "/v1/sources?site=" + quote(scenario))
    assert refused.status == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json["error"]["code"] == "unavailable"
    assert b"secret" not in refused.body
    assert gateway.server.calls - before > 10
