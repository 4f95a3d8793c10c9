"""Exports of web events over the wire."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from footfall.accounts.model import Scope, Site
from footfall.v1 import export_pb2
from footfall.v1 import ingest_pb2 as pb
from tests.rpc.conftest import Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = int(time.time())


@pytest_asyncio.fixture(loop_scope="session")
async def filled(service: Service, site: Site) -> Metadata:
    """A reading key of the site, which has 25 events."""
    events = [
        pb.WebEvent(
            url=f"https://{site.host}/{n}",
            timestamp=NOW - n,
            visitor_id="v",
            event_id=f"e{n}",
            ip="192.0.2.77",
            title="Ünïcode",
        )
        for n in range(25)
    ]
    writer = service.key([site], Scope.WRITE)
    await service.ingest.IngestWebEvents(
        pb.IngestWebEventsRequest(site=site.id, events=events), metadata=writer
    )
    return service.key([site], Scope.READ)


async def typed(service: Service, metadata: Metadata, **fields: str) -> list[Any]:
    call = service.export.ExportWebEvents(
        export_pb2.ExportWebEventsRequest(**fields), metadata=metadata
    )
    return [record async for page in call for record in page.records]


async def download(service: Service, metadata: Metadata, **fields: str) -> tuple[str, bytes]:
    call = service.export.DownloadWebEvents(
        export_pb2.DownloadWebEventsRequest(**fields), metadata=metadata
    )
    chunks = [chunk async for chunk in call]
    (kind,) = {chunk.content_type for chunk in chunks}
    return kind, b"".join(chunk.data for chunk in chunks)


async def test_typed_and_resumed(service: Service, site: Site, filled: Metadata) -> None:
    records = await typed(service, filled, website_id=site.id)
    assert [record.event_id for record in records] == [f"e{n}" for n in range(25)]
    assert [record.timestamp for record in records] == [float(NOW - n) for n in range(25)]
    assert {(record.type, record.visitor_id, record.title) for record in records} == {
        ("pageview", "v", "Ünïcode")
    }
    rest = await typed(service, filled, website_id=site.id, cursor=records[9].cursor)
    assert rest == records[10:]
    some = await typed(service, filled, website_id=site.id, start=str(NOW - 4), end=str(NOW - 1))
    assert some == records[2:5]


@pytest.mark.parametrize("named", ["website_id", "site"])
async def test_documents(service: Service, site: Site, filled: Metadata, named: str) -> None:
    kind, body = await download(service, filled, **{named: site.id})
    assert kind == "application/x-ndjson"
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line["path"] for line in lines] == [f"/{n}" for n in range(25)]
    assert b"192.0.2.77" not in body
    kind, body = await download(
        service, (*filled, ("accept", "text/csv")), **{named: site.id}, cursor=lines[20]["cursor"]
    )
    assert (kind, body.count(b"\r\n")) == ("text/csv; charset=utf-8", 5)
    kind, body = await download(service, filled, **{named: site.id}, format="parquet")
    assert kind == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(body))
    assert table["event_id"].to_pylist() == [f"e{n}" for n in range(25)]


async def test_who_may_read(service: Service, site: Site, filled: Metadata) -> None:
    other = service.site()
    writer = service.key([site], Scope.WRITE)
    for metadata, fields, http in (
        ((), {"website_id": site.id}, 401),
        (writer, {"website_id": site.id}, 403),
        (service.key([other], Scope.READ), {"website_id": site.id}, 403),
        (filled, {}, 400),
        (filled, {"website_id": site.id, "start": "x"}, 400),
        (filled, {"website_id": site.id, "format": "xml"}, 400),
        (filled, {"website_id": site.id, "cursor": "x y"}, 400),
    ):
        call = service.export.DownloadWebEvents(
            export_pb2.DownloadWebEventsRequest(**fields), metadata=metadata
        )
        error = await refused(call)
        assert error.http == http, fields
        assert "content-disposition" not in error.trailing
    assert await typed(service, service.key([other], Scope.READ), website_id=other.id) == []


async def test_a_reader_who_goes_away(service: Service, site: Site) -> None:
    writer = service.key([site], Scope.WRITE)
    text = "x" * 8000
    for part in range(8):
        events = [
            pb.WebEvent(
                url=f"https://{site.host}/", title=f"{part}-{n}", referrer="https://a/" + text
            )
            for n in range(100)
        ]
        await service.ingest.IngestWebEvents(
            pb.IngestWebEventsRequest(site=site.id, events=events), metadata=writer
        )
    reader = service.key([site], Scope.READ)
    call = service.export.DownloadWebEvents(
        export_pb2.DownloadWebEventsRequest(website_id=site.id), metadata=reader
    )
    await anext(aiter(call))
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    # Nothing is left of it that would keep the next one from the whole.
    assert len(await typed(service, reader, website_id=site.id)) == 800
