"""What an import sends to a server, seen through grpcio's own fake of a channel.

The faults of a call in the middle of a stream are made here, where they happen when they should;
the whole way to a real server is in tests/e2e/test_import_log.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing
import pytest

from footfall.accounts.model import Application, Plan, Site
from footfall.cli.log_targets import (
    ApplicationTarget,
    Delivered,
    Events,
    SiteTarget,
    Target,
    _stream,
)
from footfall.errors import FootfallError, UnavailableError
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import ingest_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["IngestService"]
PLAN = Plan("free", 10, 1000, 50, 300)
SITE = SiteTarget(Site("s1", "a1", "news.example", "UTC", public=False, plan=PLAN))
APPLICATION = ApplicationTarget(Application("p1", "a1", "shop", PLAN))
CREDENTIALS = (("x-auth-user", "p1"), ("x-auth-key", "secret"))
TARGETS = pytest.mark.parametrize(
    ("target", "method", "field"),
    [(SITE, "StreamWebEvents", "url"), (APPLICATION, "StreamApiRequests", "url")],
)


@pytest.fixture
def channel() -> grpc_testing.Channel:
    return grpc_testing.channel(
        pb.DESCRIPTOR.services_by_name.values(), grpc_testing.strict_real_time()
    )


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def send(channel: grpc_testing.Channel, target: Target, batches: Iterator[Events]) -> Delivered:
    return _stream(ingest_pb2_grpc.IngestServiceStub(channel), target, batches, CREDENTIALS)


@TARGETS
def test_batches_become_the_messages_of_one_call(
    channel: grpc_testing.Channel,
    background: ThreadPoolExecutor,
    target: Target,
    method: str,
    field: str,
) -> None:
    batches = [[{field: "https://news.example/ü"}], [{field: "/2"}, {field: "/3"}]]
    sending = background.submit(send, channel, target, iter(batches))
    metadata, call = channel.take_stream_unary(SERVICE.methods_by_name[method])
    call.send_initial_metadata(())
    received = [[getattr(event, field) for event in call.take_request().events] for _ in batches]
    call.requests_closed()
    answer = pb.StreamIngestResponse(
        accepted=1,
        duplicates=1,
        rejected_total=1,
        rejected=[pb.Rejection(index=2, code="INVALID_FIELD", message="no")],
    )
    call.terminate(answer, (), grpc.StatusCode.OK, "")

    assert set(CREDENTIALS) <= set(metadata)
    assert received == [[event[field] for event in batch] for batch in batches]
    delivered = sending.result(timeout=10)
    assert (delivered.events, delivered.accepted, delivered.duplicates, delivered.rejected) == (
        3,
        1,
        1,
        1,
    )
    assert [(row.index, row.code) for row in delivered.first_rejected] == [(2, "INVALID_FIELD")]


@TARGETS
@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.PERMISSION_DENIED, FootfallError),
    ],
)
def test_a_call_that_fails_half_way_says_what_to_do(
    channel: grpc_testing.Channel,
    background: ThreadPoolExecutor,
    target: Target,
    method: str,
    field: str,
    code: grpc.StatusCode,
    raised: type[FootfallError],
) -> None:
    sending = background.submit(send, channel, target, iter([[{field: "/1"}], [{field: "/2"}]]))
    _, call = channel.take_stream_unary(SERVICE.methods_by_name[method])
    call.take_request()
    call.terminate(pb.StreamIngestResponse(), (), code, "The store is away.")
    with pytest.raises(
        raised, match=r"The store is away\. Import the log again to go on"
    ) as caught:
        sending.result(timeout=10)
    assert type(caught.value) is raised


def test_an_error_of_the_log_is_not_lost_in_the_call(
    channel: grpc_testing.Channel, background: ThreadPoolExecutor
) -> None:
    def broken() -> Iterator[list[dict[str, Any]]]:
        yield [{"url": "/1"}]
        raise EOFError("the archive ends too early")

    sending = background.submit(send, channel, APPLICATION, broken())
    _, call = channel.take_stream_unary(SERVICE.methods_by_name["StreamApiRequests"])
    call.take_request()
    call.requests_closed()
    call.terminate(pb.StreamIngestResponse(accepted=1), (), grpc.StatusCode.OK, "")
    with pytest.raises(EOFError, match="ends too early"):
        sending.result(timeout=10)
