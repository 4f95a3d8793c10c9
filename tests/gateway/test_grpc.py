"""Native gRPC and grpc-web through the port that REST has."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from footfall.v1 import (
    ingest_pb2,
    ingest_pb2_grpc,
    realtime_pb2,
    realtime_pb2_grpc,
    timeseries_pb2,
    timeseries_pb2_grpc,
)
from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.http1 import ask


@pytest.fixture(scope="module")
def channel(gateway: Gateway) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield channel


def fail(channel: grpc.Channel, timeout: float | None = None, **scenario: Any) -> Any:
    request = realtime_pb2.GetSourcesRequest(site=json.dumps(scenario))
    with pytest.raises(grpc.RpcError) as caught:
        realtime_pb2_grpc.RealtimeServiceStub(channel).GetSources(request, timeout=timeout)
    return caught.value


def test_unary_calls(channel: grpc.Channel) -> None:
    answer, call = realtime_pb2_grpc.RealtimeServiceStub(channel).GetSources.with_call(
        realtime_pb2.GetSourcesRequest(site=json.dumps({"initial": [["x-ratelimit-limit", "5"]]}))
    )
    assert answer.sources[0].source == "Google"
    assert dict(call.initial_metadata())["x-ratelimit-limit"] == "5"


def test_streams_in_both_directions(channel: grpc.Channel) -> None:
    batch = ingest_pb2.IngestApiRequestsRequest(events=[ingest_pb2.ApiRequestEvent()] * 10_000)
    # More than 8 MiB in all: the limit is on a message, not on a stream.
    batches = max(2, (9 << 20) // batch.ByteSize())
    answer = ingest_pb2_grpc.IngestServiceStub(channel).StreamApiRequests(
        batch for _ in range(batches)
    )
    assert answer.accepted == batches * 10_000
    watched = realtime_pb2_grpc.RealtimeServiceStub(channel).WatchRealtime(
        realtime_pb2.WatchRealtimeRequest(site=json.dumps({"messages": 5}))
    )
    assert len(list(watched)) == 5


def test_errors_arrive_as_the_server_sent_them(channel: grpc.Channel) -> None:
    error = fail(
        channel,
        abort="UNAUTHENTICATED",
        details="Give a key.",
        trailing=[["footfall-reason", "MISSING_TOKEN"], ["retry-after", "3"]],
    )
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "Give a key.")
    assert dict(error.trailing_metadata())["retry-after"] == "3"


def test_the_callers_deadline_reaches_the_server(channel: grpc.Channel) -> None:
    stub = timeseries_pb2_grpc.TimeseriesServiceStub(channel)
    request = timeseries_pb2.GetTimeseriesRequest(range_start="1", range_end="2")
    seen = json.loads(stub.GetTimeseries(request, timeout=60).data)
    assert 50 < seen["remaining"] < 70
    assert fail(channel, 0.2, sleep=20).code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_message_beyond_what_anybody_reads_is_too_large(channel: grpc.Channel) -> None:
    method = channel.unary_unary("/footfall.v1.IngestService/IngestWebEvents")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"x" * (34 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than 8 MiB" in caught.value.details()


def test_unknown_methods_are_unimplemented(channel: grpc.Channel) -> None:
    for path in ("/footfall.v1.RealtimeService/Nothing", "/other.Service/Call", "/v1/collect"):
        call = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_and_reflection(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([asked])
    )
    names = {service.name for service in answer.list_services_response.service}
    assert "footfall.v1.RealtimeService" in names


def test_a_server_that_is_down_is_unavailable() -> None:
    with running_gateway() as gateway:
        gateway.server.stop()
        with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            error = fail(channel)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "The service does not answer; try again in a moment."


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Return the (flag, payload) frames of a grpc-web body."""
    found = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return found


@pytest.mark.parametrize("subtype", ["grpc-web", "grpc-web+proto"])
def test_grpc_web(gateway: Gateway, subtype: str) -> None:
    message = realtime_pb2.GetSourcesRequest(site="x").SerializeToString()
    answer = ask(
        gateway.port,
        "POST",
        "/footfall.v1.RealtimeService/GetSources",
        {
            "content-type": f"application/{subtype}",
            "x-grpc-web": "1",
            "origin": "https://news.example.com",
        },
        b"\0" + len(message).to_bytes(4, "big") + message,
    )
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://news.example.com"
    assert "grpc-status" in answer.headers["access-control-expose-headers"]
    (data_flag, data), (trailer_flag, trailer) = frames(answer.body)
    assert (data_flag, trailer_flag) == (0, 0x80)
    assert realtime_pb2.GetSourcesResponse.FromString(data).sources[0].source == "Google"
    assert b"grpc-status:0" in trailer.replace(b" ", b"")


def test_grpc_web_errors(gateway: Gateway) -> None:
    scenario = json.dumps({"abort": "PERMISSION_DENIED", "details": "no"})
    message = realtime_pb2.GetSourcesRequest(site=scenario).SerializeToString()
    answer = ask(
        gateway.port,
        "POST",
        "/footfall.v1.RealtimeService/GetSources",
        {"content-type": "application/grpc-web+proto"},
        b"\0" + len(message).to_bytes(4, "big") + message,
    )
    assert (answer.status, answer.headers["grpc-status"]) == (200, "7")
    assert answer.headers["grpc-message"] == "no"
