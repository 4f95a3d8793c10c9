"""Live answers and their streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from footfall.accounts.model import KeyKind, Scope, Site
from footfall.settings import Settings
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.live.conftest import Valkey
from tests.rpc.conftest import Metadata, Refusal, Service, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def visit(service: Service, site: Site, key: Metadata, visitor: str, path: str) -> None:
    event = pb.WebEvent(
        url=f"https://{site.host}{path}",
        visitor_id=visitor,
        title="Tïtle",
        referrer="https://www.google.com/",
        country="CH",
    )
    answer = await service.ingest.IngestWebEvents(
        pb.IngestWebEventsRequest(site=site.id, events=[event]), metadata=key
    )
    assert answer.accepted == 1


async def test_sources_are_those_of_the_snapshot(service: Service, site: Site) -> None:
    key = service.key([site], Scope.READ, Scope.WRITE)
    for visitor in ("a", "b", "c"):
        await visit(service, site, key, visitor, "/")
    snapshot = await service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=site.id), metadata=key
    )
    sources = await service.realtime.GetSources(
        realtime_pb2.GetSourcesRequest(site=site.id), metadata=key
    )
    assert snapshot.updated_at.endswith("+00:00")
    assert snapshot.window_seconds == 300
    assert sources.total_visitors == snapshot.total_realtime == 3
    assert list(sources.sources) == list(snapshot.sources_top5)
    [row] = sources.sources
    assert (row.medium, row.count, row.percent) == ("search", 3, 100)
    assert [(item.code, item.count) for item in snapshot.countries] == [("CH", 3)]
    assert sum(snapshot.devices.values()) == 3


async def test_a_watch_begins_with_a_snapshot_and_tells_changes(
    service: Service, site: Site
) -> None:
    key = service.key([site], Scope.READ, Scope.WRITE)
    call = service.realtime.WatchRealtime(
        realtime_pb2.WatchRealtimeRequest(site=site.id), metadata=key
    )
    first = await asyncio.wait_for(call.read(), 10)
    assert first.WhichOneof("event") == "snapshot"
    assert first.snapshot.total_realtime == 0
    headers = dict(await call.initial_metadata())
    assert headers["x-ratelimit-remaining"] == "9"
    await visit(service, site, key, "a", "/x")
    second = await asyncio.wait_for(call.read(), 10)
    assert [page.url for page in second.snapshot.top_pages] == ["/x"]
    call.cancel()


async def test_server_sent_events(service: Service, site: Site) -> None:
    key = service.key([site], Scope.READ, Scope.WRITE)
    await visit(service, site, key, "a", "/line\u2028break?q=日本")
    call = service.realtime.StreamRealtime(
        realtime_pb2.StreamRealtimeRequest(site=site.id), metadata=key
    )
    chunk = await asyncio.wait_for(call.read(), 10)
    call.cancel()
    assert chunk.content_type == "text/event-stream"
    text = chunk.data.decode()
    assert text.endswith("\n\n")
    fields = dict(line.split(": ", 1) for line in text[:-2].split("\n"))
    assert fields["event"] == "snapshot"
    document = json.loads(fields["data"])
    assert fields["id"] == document["updated_at"]
    snapshot = await service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=site.id), metadata=key
    )
    expected: dict[str, Any] = MessageToDict(
        snapshot, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert document | {"updated_at": ""} == expected | {"updated_at": ""}
    assert type(document["total_realtime"]) is int


async def test_a_watch_ends_when_its_key_is_revoked(service: Service, site: Site) -> None:
    made = service.manager.create_key(
        service.account, kind=KeyKind.NM, site_ids=[site.id], scopes=[Scope.READ]
    )
    call = service.realtime.WatchRealtime(
        realtime_pb2.WatchRealtimeRequest(site=site.id),
        metadata=(("authorization", f"Bearer {made.text}"),),
    )
    assert (await asyncio.wait_for(call.read(), 10)).snapshot.site == site.id
    service.store.revoke_key(made.key.id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call.read(), 20)
    assert Refusal.of(caught.value).reason == "INVALID_TOKEN"


async def test_a_watch_ends_well_when_the_server_drains(
    own_settings: Settings, valkey: Valkey
) -> None:
    settings = replace(own_settings, redis_url=valkey.url, drain_s=30.0)
    async with asyncio.timeout(20), contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(settings))
        site = service.site()
        key = service.key([site], Scope.READ)
        channel = grpc.aio.insecure_channel(service.server.addresses[0])
        stub: Any = realtime_pb2_grpc.RealtimeServiceStub(channel)
        call = stub.WatchRealtime(realtime_pb2.WatchRealtimeRequest(site=site.id), metadata=key)
        assert (await call.read()).snapshot.site == site.id
    # The server has ended long before its grace of half a minute, and told so.
    assert await call.code() is grpc.StatusCode.OK
    await channel.close()
