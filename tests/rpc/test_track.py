"""Databuddy's SDK's calls over the wire: credentials, websites, answers."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import KeyKind, Scope, Site
from footfall.v1 import export_pb2
from footfall.v1 import ingest_pb2 as pb
from tests.rpc.conftest import Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")


def key(service: Service, *sites: Site, scope: Scope = Scope.WRITE, header: str = "") -> Metadata:
    made = service.manager.create_key(
        service.account, kind=KeyKind.DBDY, site_ids=[site.id for site in sites], scopes=[scope]
    )
    return (("x-api-key", made.text),) if header else (("authorization", f"Bearer {made.text}"),)


def call(service: Service, body: object, metadata: Metadata = (), **fields: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    content = HttpBody(content_type="application/json", data=data)
    request = pb.TrackEventsRequest(content=content, **fields)
    return service.ingest.TrackEvents(request, metadata=metadata)


async def track(service: Service, body: object, metadata: Metadata = (), **fields: str) -> Any:
    answer = await call(service, body, metadata, **fields)
    assert answer.content_type == "application/json"
    return json.loads(answer.data)


async def stored(service: Service, site: Site) -> list[tuple[str, str]]:
    """The type and name of the site's events."""
    export = service.export.ExportWebEvents(
        export_pb2.ExportWebEventsRequest(website_id=site.id),
        metadata=key(service, site, scope=Scope.READ),
    )
    return [(record.type, record.name) async for page in export for record in page.records]


@pytest.mark.parametrize("header", ["", "x-api-key"])
async def test_one_event(service: Service, site: Site, header: str) -> None:
    metadata = key(service, site, header=header)
    event = {"name": "signup", "websiteId": site.id, "eventId": f"one{header}"}
    answer = await track(service, event, metadata)
    assert answer == {
        "status": "success",
        "type": "custom_event",
        "count": 1,
        "eventId": f"one{header}",
    }
    # Sent again it is acknowledged alike, and counted once.
    assert await track(service, event, metadata) == answer
    view = {"name": "screen_view", "path": "/a"}
    assert (await track(service, view, metadata))["type"] == "track"
    assert await stored(service, site) == [("custom", "signup"), ("pageview", "")]


async def test_a_batch_is_judged_event_by_event(service: Service, site: Site) -> None:
    body = [{"name": "a", "eventId": "x"}, {"name": ""}, {"name": "a", "eventId": "x"}, 7]
    answer = await track(service, body, key(service, site))
    assert (answer["status"], answer["count"], answer["processed"]) == ("success", 2, 2)
    assert [verdict["status"] for verdict in answer["results"]] == [
        "success",
        "error",
        "success",
        "error",
    ]
    assert answer["results"][0] == {"status": "success", "type": "custom_event", "eventId": "x"}
    assert answer["results"][1]["error"] == "INVALID_FIELD"
    assert "`name`" in answer["results"][1]["message"]
    assert await stored(service, site) == [("custom", "a")]


async def test_events_of_several_websites(service: Service, site: Site) -> None:
    other = service.site()
    both = key(service, site, other)
    body = [{"name": "a", "websiteId": site.id}, {"name": "b", "websiteId": other.id}]
    assert (await track(service, body, both))["count"] == 2
    # Those that name none are about the one that the call names.
    await track(service, [{"name": "c"}, body[1]], both, website_id=site.id)
    await track(service, {"name": "d"}, both, client_id=other.id)
    assert await stored(service, site) == [("custom", "a"), ("custom", "c")]
    assert await stored(service, other) == [("custom", "b"), ("custom", "b"), ("custom", "d")]
    error = await refused(call(service, {"name": "a"}, both))
    assert (error.reason, error.http) == ("MISSING_WEBSITE_ID", 400)
    error = await refused(call(service, body, key(service, site)))
    assert (error.reason, error.http) == ("SITE_NOT_AUTHORIZED", 403)
    assert len(await stored(service, site)) == 2


async def test_credentials(service: Service, site: Site) -> None:
    event = {"name": "a", "websiteId": site.id}
    reading = await refused(call(service, event, key(service, site, scope=Scope.READ)))
    assert (reading.reason, reading.http) == ("SCOPE_REQUIRED", 403)
    for metadata in ((("authorization", "Bearer dbdy_nobody"),), (("x-api-key", "dbdy_nobody"),)):
        assert (await refused(call(service, event, metadata))).http == 401
    nobody = await refused(call(service, {"name": "a"}))
    assert (nobody.reason, nobody.http) == ("MISSING_TOKEN", 401)
    unknown = await refused(call(service, {"name": "a", "websiteId": "nosuchsite00"}))
    assert unknown.http == 404


async def test_browsers_name_their_website(service: Service, site: Site) -> None:
    page = {"name": "screen_view", "path": f"https://{site.host}/a"}
    assert (await track(service, page, client_id=site.id))["count"] == 1
    origin = (("origin", f"https://{site.host}"),)
    await track(service, page | {"path": "/b"}, origin, client_id=site.id)
    for path, metadata in (
        ("https://elsewhere.example/", ()),
        ("/b", (("origin", "https://elsewhere.example"),)),
        ("/b", (("origin", "null"),)),
        ("/b", ()),
    ):
        error = await refused(call(service, page | {"path": path}, metadata, client_id=site.id))
        assert (error.reason, error.http) == ("VALIDATION_ERROR", 400)
    assert [kind for kind, _ in await stored(service, site)] == ["pageview"] * 2


async def test_a_batch_without_a_good_event(service: Service, site: Site) -> None:
    metadata = key(service, site)
    error = await refused(call(service, [{"name": ""}, {"name": "a", "eventId": 5}], metadata))
    assert (error.reason, error.http) == ("VALIDATION_ERROR", 400)
    details = json.loads(unquote(error.trailing["footfall-detail"]))
    assert [fault["field"] for fault in details] == ["[0].name", "[1].eventId"]
    error = await refused(call(service, {"name": ""}, metadata))
    details = json.loads(unquote(error.trailing["footfall-detail"]))
    assert [fault["field"] for fault in details] == ["name"]


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"name":', b"\xff", b'[{"name":"a"},]'])
async def test_bodies_that_are_no_batch(service: Service, site: Site, body: bytes) -> None:
    error = await refused(call(service, body, key(service, site)))
    assert error.http == 400
