"""Time series and exports over the wire, recounted in plain Python."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import defaultdict
from typing import Any

import grpc
import pytest
import pytest_asyncio

from footfall.v1 import export_pb2, timeseries_pb2
from footfall.v1 import ingest_pb2 as pb
from tests.rpc.conftest import App, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

START = 1_412_605_036
EVENTS: list[dict[str, Any]] = [
    {
        "event_id": f"e{index}" if index % 3 else "",
        "timestamp": START + index * 977 + 0.25,
        "consumer_id": f"c{index % 4}" if index % 4 else "",
        "method": ("GET", "POST", "PUT")[index % 3],
        "url": f'/a:b?x={index % 7}&q=日本,"\n',
        "function": "f",
        "response_us": (index * 7919) % 10_007 + (2**40 if index == 5 else 0),
        **({"status_code": 200 + index % 5} if index % 6 else {}),
        "data": {"k": 'v, "w"\r\n'} if index % 2 else {},
    }
    for index in range(200)
]
END = START + 200_000


@pytest_asyncio.fixture(loop_scope="session")
async def filled(service: Service, app: App) -> App:
    answer = await service.ingest.IngestApiRequests(
        pb.IngestApiRequestsRequest(events=[pb.ApiRequestEvent(**event) for event in EVENTS]),
        metadata=app.writes,
    )
    assert answer.accepted == len(EVENTS)
    return app


async def test_a_grouped_series_equals_a_recount(service: Service, filled: App) -> None:
    hours: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for event in EVENTS:
        if event["method"] in {"GET", "PUT"}:
            bucket = int(event["timestamp"] // 3600) * 3600
            hours[event["consumer_id"]][bucket].append(event["response_us"])
    answer = await service.timeseries.QueryTimeseries(
        timeseries_pb2.QueryTimeseriesRequest(
            start=START,
            end=END,
            granularity="hour",
            group="consumer_id",
            aggregation="sum",
            include=["method:GET", "method:PUT"],
        ),
        metadata=filled.reads,
    )
    found = {
        group.key: [(point.time, point.integer) for point in group.points]
        for group in answer.groups
    }
    assert found == {
        key: [(time, sum(values)) for time, values in sorted(buckets.items())]
        for key, buckets in hours.items()
    }
    assert (answer.start, answer.end) == (START // 3600 * 3600, -(-END // 3600) * 3600)
    assert answer.granularity_ms == 3_600_000


@pytest.mark.parametrize(
    ("aggregation", "expected", "kind"),
    [
        ("", len(EVENTS), int),
        ("sum", sum(event["response_us"] for event in EVENTS), int),
        ("max", max(event["response_us"] for event in EVENTS), int),
        ("mean", statistics.fmean(event["response_us"] for event in EVENTS), float),
    ],
)
async def test_the_document_has_whole_and_real_numbers(
    service: Service, filled: App, aggregation: str, expected: float, kind: type
) -> None:
    body = await service.timeseries.GetTimeseries(
        timeseries_pb2.GetTimeseriesRequest(
            range_start=str(START), range_end=str(END), aggregation=aggregation, include=[""]
        ),
        metadata=filled.reads,
    )
    assert body.content_type == "application/json"
    document = json.loads(body.data)
    [[time, value]] = document["groups"][filled.id]
    assert (time, type(value)) == (START, kind)
    assert value == pytest.approx(expected, rel=1e-12)
    assert document["granularity"] == (END - START) * 1000


async def test_a_wrong_parameter_is_named(service: Service, app: App) -> None:
    error = await refused(
        service.timeseries.GetTimeseries(
            timeseries_pb2.GetTimeseriesRequest(range_start="1", range_end="x"), metadata=app.reads
        )
    )
    assert (error.reason, error.code) == ("INVALID_PARAMETER", grpc.StatusCode.INVALID_ARGUMENT)
    assert [item.field for item in error.details["BadRequest"].field_violations] == ["end"]


async def typed_export(service: Service, app: App, **fields: Any) -> list[Any]:
    request = export_pb2.ExportApiRequestsRequest(start=START, end=END, **fields)
    call = service.export.ExportApiRequests(request, metadata=app.reads)
    return [record async for page in call for record in page.records]


async def download(service: Service, app: App, **fields: Any) -> tuple[set[str], bytes]:
    request = export_pb2.DownloadApiRequestsRequest(
        range_start=str(START), range_end=str(END), **fields
    )
    chunks = [
        chunk async for chunk in service.export.DownloadApiRequests(request, metadata=app.reads)
    ]
    return {chunk.content_type for chunk in chunks}, b"".join(chunk.data for chunk in chunks)


async def test_a_typed_export_gives_everything_back(service: Service, filled: App) -> None:
    records = await typed_export(service, filled)
    assert [
        {
            "event_id": record.event_id,
            "timestamp": record.timestamp,
            "consumer_id": record.consumer_id,
            "method": record.method,
            "url": record.url,
            "function": record.function,
            "response_us": record.response_us,
            **({"status_code": record.status_code} if record.HasField("status_code") else {}),
            "data": dict(record.data),
        }
        for record in records
    ] == EVENTS


async def test_an_export_goes_on_after_any_record(service: Service, filled: App) -> None:
    records = await typed_export(service, filled)
    for place in (0, 1, 77, len(records) - 1):
        rest = await typed_export(service, filled, cursor=records[place].cursor)
        assert [record.cursor for record in rest] == [
            record.cursor for record in records[place + 1 :]
        ]


async def test_newline_delimited_json(service: Service, filled: App) -> None:
    types, body = await download(service, filled)
    assert types == {"application/x-ndjson"}
    assert body.endswith(b"\n")
    rows = [json.loads(line) for line in body.decode().split("\n")[:-1]]
    assert [row["url"] for row in rows] == [event["url"] for event in EVENTS]
    assert [row["status_code"] for row in rows] == [event.get("status_code") for event in EVENTS]
    assert [row["data"] for row in rows] == [event["data"] or None for event in EVENTS]
    _, rest = await download(service, filled, cursor=rows[99]["cursor"], format="ndjson")
    assert [json.loads(line)["cursor"] for line in rest.splitlines()] == [
        row["cursor"] for row in rows[100:]
    ]


async def test_csv(service: Service, filled: App) -> None:
    types, body = await download(service, filled, format="csv")
    assert types == {"text/csv; charset=utf-8"}
    assert body.endswith(b"\r\n")
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert [row["url"] for row in rows] == [event["url"] for event in EVENTS]
    assert [float(row["timestamp"]) for row in rows] == [event["timestamp"] for event in EVENTS]
    assert [row["status_code"] for row in rows] == [
        str(event.get("status_code", "")) for event in EVENTS
    ]
    assert [json.loads(row["data"] or "{}") for row in rows] == [event["data"] for event in EVENTS]
    _, rest = await download(service, filled, format="csv", cursor=rows[150]["cursor"])
    again = list(csv.DictReader(io.StringIO(rest.decode(), newline="")))
    assert again == rows[151:]


async def test_an_empty_export_still_has_a_type(service: Service, app: App) -> None:
    assert await download(service, app) == ({"application/x-ndjson"}, b"")
    types, body = await download(service, app, format="csv")
    assert types == {"text/csv; charset=utf-8"}
    assert body.count(b"\r\n") == 1
    assert await typed_export(service, app) == []


async def test_large_events_come_in_messages_that_clients_take(service: Service, app: App) -> None:
    text = "é" * 8000
    sent = pb.IngestApiRequestsRequest(
        events=[
            pb.ApiRequestEvent(timestamp=START, response_us=index, url=text, data={"k": text})
            for index in range(20)
        ]
    )
    for _ in range(15):
        await service.ingest.IngestApiRequests(sent, metadata=app.writes)
    call = service.export.ExportApiRequests(
        export_pb2.ExportApiRequestsRequest(start=START, end=END), metadata=app.reads
    )
    sizes = [(page.ByteSize(), len(page.records)) async for page in call]
    assert sum(records for _, records in sizes) == 300
    assert max(size for size, _ in sizes) < 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("fields", "parameter"),
    [
        ({"cursor": "no such"}, "cursor"),
        ({"cursor": "-1"}, "cursor"),
        ({"format": "xml"}, "format"),
        ({"range_end": "0"}, "start"),
        ({"range_start": ""}, "start"),
    ],
)
async def test_wrong_export_parameters(
    service: Service, app: App, fields: dict[str, str], parameter: str
) -> None:
    request = export_pb2.DownloadApiRequestsRequest(
        **({"range_start": str(START), "range_end": str(END)} | fields)
    )
    error = await refused(service.export.DownloadApiRequests(request, metadata=app.reads))
    assert (error.reason, error.http) == ("INVALID_PARAMETER", 400)
    assert dict(error.details["ErrorInfo"].metadata) == {"parameter": parameter}
    assert error.initial == {}


async def test_an_export_is_the_applications_own(service: Service, filled: App) -> None:
    assert await typed_export(service, service.app()) == []
