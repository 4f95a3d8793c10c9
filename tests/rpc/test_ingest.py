"""Events in by every RPC, and the verdicts on them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import Scope, Site
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import realtime_pb2, timeseries_pb2
from tests.rpc.conftest import App, Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = int(time.time())


def event(**changes: Any) -> pb.ApiRequestEvent:
    fields = {"timestamp": NOW, "consumer_id": "c", "method": "GET", "url": "/", "response_us": 1}
    return pb.ApiRequestEvent(**(fields | changes))


def batch(*events: pb.ApiRequestEvent) -> pb.IngestApiRequestsRequest:
    return pb.IngestApiRequestsRequest(events=events)


def collect(body: object, content_type: str = "application/json") -> pb.CollectApiRequestsRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pb.CollectApiRequestsRequest(content=HttpBody(content_type=content_type, data=data))


async def stored(service: Service, app: App) -> int:
    """How many events the application has, by the query API."""
    answer = await service.timeseries.QueryTimeseries(
        timeseries_pb2.QueryTimeseriesRequest(start=0, end=NOW + 90_000), metadata=app.reads
    )
    count: int = answer.groups[0].points[0].integer
    return count


async def test_good_events_are_stored_and_bad_ones_named(service: Service, app: App) -> None:
    answer = await service.ingest.IngestApiRequests(
        batch(
            event(event_id="a"),
            pb.ApiRequestEvent(method="GET"),
            event(timestamp=NOW + 90_000),
            event(event_id="a"),
            event(url="/ünïcode?q=日本語", consumer_id=""),
        ),
        metadata=app.writes,
    )
    assert (answer.accepted, answer.duplicates) == (2, 1)
    assert [(row.index, row.code) for row in answer.rejected] == [
        (1, "INVALID_FIELD"),
        (2, "INVALID_FIELD"),
    ]
    assert "response_us" in answer.rejected[0].message
    assert await stored(service, app) == 2


async def test_event_ids_and_idempotency_keys_count_once(service: Service, app: App) -> None:
    first = await service.ingest.IngestApiRequests(batch(event(event_id="x")), metadata=app.writes)
    again = await service.ingest.IngestApiRequests(batch(event(event_id="x")), metadata=app.writes)
    assert (first.accepted, again.accepted, again.duplicates) == (1, 0, 1)
    keyed = (*app.writes, ("idempotency-key", "b-1"))
    assert (
        await service.ingest.IngestApiRequests(batch(event(), event()), metadata=keyed)
    ).accepted == 2
    resent = await service.ingest.IngestApiRequests(batch(event(), event()), metadata=keyed)
    assert (resent.accepted, resent.duplicates) == (0, 2)
    other = service.app()
    assert (
        await service.ingest.IngestApiRequests(batch(event(event_id="x")), metadata=other.writes)
    ).accepted == 1
    assert await stored(service, app) == 3


async def test_a_batch_without_a_good_event_fails_as_a_whole(service: Service, app: App) -> None:
    error = await refused(
        service.ingest.IngestApiRequests(
            batch(pb.ApiRequestEvent(), event(response_us=-1)), metadata=app.writes
        )
    )
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_EVENTS",
        400,
    )
    rows = json.loads(unquote(error.trailing["footfall-rejected"]))
    assert [row["index"] for row in rows] == [0, 1]
    fields = [item.field for item in error.details["BadRequest"].field_violations]
    assert fields == ["events[0].response_us", "events[1].response_us"]
    assert error.initial == {}


async def test_an_empty_batch_and_too_many_events(service: Service, app: App) -> None:
    empty = await refused(service.ingest.IngestApiRequests(batch(), metadata=app.writes))
    assert empty.code is grpc.StatusCode.INVALID_ARGUMENT
    many = await refused(
        service.ingest.IngestApiRequests(
            batch(*[pb.ApiRequestEvent(response_us=1)] * 10_001), metadata=app.writes
        )
    )
    assert (many.reason, many.http) == ("PAYLOAD_TOO_LARGE", 413)
    assert "10001" in many.message


async def test_what_public_clients_send_is_valid(service: Service, app: App) -> None:
    sent = [
        {
            "timestamp": NOW - index,
            "consumer_id": "127.0.0.1",
            "method": "GET",
            "url": f"/things?page={index}",
            "function": "unknown",
            "response_us": 1200,
            "status_code": 200,
            "data": None,
        }
        for index in range(91)
    ]
    answer = await service.ingest.CollectApiRequests(collect(sent), metadata=app.writes)
    assert (answer.accepted, len(answer.rejected)) == (91, 0)


async def test_json_is_judged_event_by_event(service: Service, app: App) -> None:
    good = {"response_us": 5, "timestamp": "2024-05-17T10:05:03.25+02:00", "data": {"k": "v"}}
    body = [good, {"response_us": "5"}, 7, None, [good], {**good, "event_id": "e", "extra": {}}]
    answer = await service.ingest.CollectApiRequests(collect(body), metadata=app.writes)
    assert answer.accepted == 2
    assert [row.index for row in answer.rejected] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"null", "null"),
        (b'{"response_us": 1}', "an object"),
        (b'"text"', "a text"),
        (b"3.5", "a number"),
        (b"true", "a boolean"),
        (b'[{"response_us": 1},]', "line 1, column"),
        (b'[\n{"response_us": NaN}]', "line 2, column"),
        (b"\xff\xfe", "line 1"),
        (b"[" * 5000 + b"]" * 5000, "not valid JSON"),
        (b"[]", "no event"),
    ],
)
async def test_bodies_that_are_no_batch(service: Service, app: App, body: bytes, said: str) -> None:
    error = await refused(service.ingest.CollectApiRequests(collect(body), metadata=app.writes))
    assert (error.code, error.http) == (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert said in error.message
    assert "orjson" not in error.message.lower()


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/x+json"],
)
async def test_json_content_types(service: Service, app: App, content_type: str) -> None:
    answer = await service.ingest.CollectApiRequests(
        collect([{"response_us": 1}], content_type), metadata=app.writes
    )
    assert answer.accepted == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "json", "a/jsonp"])
async def test_other_content_types_are_refused(
    service: Service, app: App, content_type: str
) -> None:
    error = await refused(
        service.ingest.CollectApiRequests(
            collect([{"response_us": 1}], content_type), metadata=app.writes
        )
    )
    assert (error.reason, error.http) == ("UNSUPPORTED_MEDIA_TYPE", 415)


async def test_compressed_bodies_are_refused(service: Service, app: App) -> None:
    metadata = (*app.writes, ("content-encoding", "gzip"))
    error = await refused(
        service.ingest.CollectApiRequests(collect([{"response_us": 1}]), metadata=metadata)
    )
    assert (error.reason, error.http) == ("UNSUPPORTED_MEDIA_TYPE", 415)
    metadata = (*app.writes, ("content-encoding", "identity"))
    answer = await service.ingest.CollectApiRequests(
        collect([{"response_us": 1}]), metadata=metadata
    )
    assert answer.accepted == 1


async def test_a_stream_is_stored_message_by_message(service: Service, app: App) -> None:
    messages = [
        batch(event(event_id="s-1"), pb.ApiRequestEvent()),
        batch(pb.ApiRequestEvent()),
        batch(event(event_id="s-1"), event(), event(response_us=-4)),
    ]
    answer = await service.ingest.StreamApiRequests(iter(messages), metadata=app.writes)
    assert (answer.accepted, answer.duplicates, answer.rejected_total) == (2, 1, 3)
    assert [row.index for row in answer.rejected] == [1, 2, 5]
    assert await stored(service, app) == 2


async def test_a_resent_stream_adds_nothing(service: Service, app: App) -> None:
    keyed = (*app.writes, ("idempotency-key", "stream"))

    def messages() -> Iterable[pb.IngestApiRequestsRequest]:
        return iter([batch(event()), batch(event(), event())])

    first = await service.ingest.StreamApiRequests(messages(), metadata=keyed)
    again = await service.ingest.StreamApiRequests(messages(), metadata=keyed)
    assert (first.accepted, again.accepted, again.duplicates) == (3, 0, 3)


async def test_an_error_in_a_stream_says_what_was_stored(service: Service, app: App) -> None:
    too_many = batch(*[pb.ApiRequestEvent(response_us=1)] * 10_001)
    error = await refused(
        service.ingest.StreamApiRequests(iter([batch(event()), too_many]), metadata=app.writes)
    )
    assert error.reason == "PAYLOAD_TOO_LARGE"
    assert dict(error.details["ErrorInfo"].metadata)["accepted"] == "1"
    assert await stored(service, app) == 1


def view(site: Site, **changes: Any) -> pb.WebEvent:
    return pb.WebEvent(**({"url": f"https://{site.host}/p", "visitor_id": "v"} | changes))


async def active(service: Service, site: Site, key: Metadata) -> realtime_pb2.RealtimeSnapshot:
    return await service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=site.id), metadata=key
    )


async def test_web_events_move_live_state(service: Service, site: Site) -> None:
    key = service.key([site], Scope.READ, Scope.WRITE)
    answer = await service.ingest.IngestWebEvents(
        pb.IngestWebEventsRequest(
            site=site.id,
            events=[
                view(site, title="Tïtle", country="CH", city="Zürich"),
                view(site, visitor_id="w", type="heartbeat"),
                view(site, visitor_id="x", type="custom", name="n", properties={"a": [1, None]}),
                view(site, type="click"),
            ],
        ),
        metadata=key,
    )
    assert answer.accepted == 3
    assert [row.index for row in answer.rejected] == [3]
    snapshot = await active(service, site, key)
    assert (snapshot.total_realtime, snapshot.total_pageviews_today) == (2, 1)
    assert [(page.url, page.title, page.realtime_users) for page in snapshot.top_pages] == [
        ("/p", "Tïtle", 2)
    ]


async def test_a_browser_needs_no_key_and_is_not_believed(service: Service, site: Site) -> None:
    key = service.key([site], Scope.READ)
    agent = ("user-agent-of-test", "x")
    body = {
        "url": f"https://{site.host}/b",
        "timestamp": 5,
        "visitor_id": "forged",
        "ip": "203.0.113.9",
    }

    async def send(client_ip: str) -> pb.IngestResponse:
        return await service.ingest.CollectWebEvents(
            pb.CollectWebEventsRequest(
                site=site.id,
                content=HttpBody(content_type="text/plain", data=json.dumps(body).encode()),
            ),
            metadata=(("x-forwarded-for", f"9.9.9.9, {client_ip}"), agent),
        )

    for client_ip in ("198.51.100.1", "198.51.100.1", "198.51.100.2"):
        assert (await send(client_ip)).accepted == 1
    snapshot = await active(service, site, key)
    # Two addresses are two visitors, whatever id and address the body claims.
    assert (snapshot.total_realtime, snapshot.total_pageviews_today) == (2, 3)


async def test_a_browser_may_only_report_the_sites_pages(service: Service, site: Site) -> None:
    error = await refused(
        service.ingest.CollectWebEvents(
            pb.CollectWebEventsRequest(
                site=site.id, content=HttpBody(data=b'{"url": "https://elsewhere.example/"}')
            )
        )
    )
    assert error.reason == "INVALID_EVENTS"
    rows = json.loads(unquote(error.trailing["footfall-rejected"]))
    assert [row["code"] for row in rows] == ["HOST_MISMATCH"]


async def test_a_servers_collect_is_believed(service: Service, site: Site) -> None:
    key = service.key([site], Scope.READ, Scope.WRITE)
    body = [{"url": f"https://{site.host}/{name}", "visitor_id": name} for name in "abc"]
    answer = await service.ingest.CollectWebEvents(
        pb.CollectWebEventsRequest(site=site.id, content=HttpBody(data=json.dumps(body).encode())),
        metadata=key,
    )
    assert answer.accepted == 3
    assert (await active(service, site, key)).total_realtime == 3


async def test_a_web_stream_is_about_one_site(service: Service, site: Site) -> None:
    other = service.site()
    key = service.key([site, other], Scope.WRITE)

    async def messages(second: str) -> AsyncIterator[pb.IngestWebEventsRequest]:
        yield pb.IngestWebEventsRequest(site=site.id, events=[view(site)])
        yield pb.IngestWebEventsRequest(site=second, events=[view(site)])

    answer = await service.ingest.StreamWebEvents(messages(""), metadata=key)
    assert answer.accepted == 2
    answer = await service.ingest.StreamWebEvents(messages(site.id), metadata=key)
    assert answer.accepted == 2
    error = await refused(service.ingest.StreamWebEvents(messages(other.id), metadata=key))
    assert error.reason == "INVALID_PARAMETER"


async def test_an_empty_web_stream_names_no_site(service: Service, site: Site) -> None:
    key = service.key([site], Scope.WRITE)
    error = await refused(service.ingest.StreamWebEvents(iter(()), metadata=key))
    assert (error.reason, error.http) == ("SITE_REQUIRED", 400)
