"""Batch queries by a real channel: typed, as documents, and who may ask."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import KeyKind, Role, Scope, Site
from footfall.v1 import ingest_pb2, queries_pb2_grpc
from footfall.v1 import queries_pb2 as pb
from tests.rpc.conftest import Metadata, Refusal, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

_numbers = itertools.count()


@dataclass
class Website:
    """A website with some page views of today, and a key for it."""

    service: Service
    site: Site
    account: str
    key: Metadata

    @property
    def stub(self) -> Any:
        return queries_pb2_grpc.QueryServiceStub(self.service.channel)

    async def post(self, body: Any, **fields: str) -> Any:
        """The document that REST callers get."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        request = pb.PostQueryRequest(
            website_id=self.site.id,
            body=HttpBody(content_type="application/json", data=data),
            **fields,
        )
        answer = await self.stub.PostQuery(request, metadata=self.key)
        assert answer.content_type == "application/json"
        return orjson.loads(answer.data)

    async def refused(self, body: Any, **fields: str) -> Refusal:
        request = pb.PostQueryRequest(
            website_id=self.site.id, body=HttpBody(data=orjson.dumps(body)), **fields
        )
        return await refused(self.stub.PostQuery(request, metadata=self.key))


async def website(service: Service, *, public: bool = False) -> Website:
    number = next(_numbers)
    plan = service.manager.update_plan(
        "queries",
        {"account_requests_per_10s": 5000, "account_requests_per_minute": 5000},
        like="free",
    )
    account = service.manager.create_account(f"queries-{number}", plan.name).id
    site = service.manager.create_site(account, f"q{number}.example.com", "UTC", public=public)
    made = service.manager.create_key(
        account, kind=KeyKind.DBDY, site_ids=[site.id], scopes=[Scope.READ, Scope.WRITE]
    )
    views = [
        ingest_pb2.WebEvent(url=f"https://{site.host}{path}", visitor_id=who, country=country)
        for path, who, country in [("/", "a", "CH"), ("/x", "a", "CH"), ("/", "b", "DE")]
    ]
    custom = ingest_pb2.WebEvent(
        url=f"https://{site.host}/", type="custom", name="signup", visitor_id="a"
    )
    await service.ingest.IngestWebEvents(
        ingest_pb2.IngestWebEventsRequest(site=site.id, events=[*views, custom]),
        metadata=(("authorization", f"Bearer {made.text}"),),
    )
    return Website(service, site, account, (("x-api-key", made.text),))


async def test_the_published_document(service: Service) -> None:
    place = await website(service)
    answer = await place.post(
        {
            "id": "mine",
            "parameters": ["summary", {"name": "pages", "id": "p"}, "custom_events"],
            "preset": "last_7d",
        }
    )
    assert answer == {
        "success": True,
        "queryId": "mine",
        "data": [
            {
                "parameter": "summary",
                "success": True,
                "data": [
                    {
                        "pageviews": 3,
                        "unique_visitors": 2,
                        "sessions": 2,
                        "bounce_rate": 50.0,
                        "avg_session_duration": 0.0,
                        "total_events": 4,
                    }
                ],
            },
            {
                "parameter": "p",
                "success": True,
                "data": [
                    {"name": "/", "pageviews": 2, "visitors": 2, "percentage": 66.67},
                    {"name": "/x", "pageviews": 1, "visitors": 1, "percentage": 33.33},
                ],
            },
            {
                "parameter": "custom_events",
                "success": True,
                "data": [{"name": "signup", "total_events": 1, "visitors": 1, "percentage": 100.0}],
            },
        ],
        "meta": {
            "parameters": ["summary", "pages", "custom_events"],
            "total_parameters": 3,
            "page": 1,
            "limit": 100,
            "filters_applied": 0,
        },
    }


async def test_a_parameter_fails_alone(service: Service) -> None:
    place = await website(service)
    filters = [{"field": "country", "op": "eq", "value": "CH"}]
    answer = await place.post(
        {"parameters": ["sumary", "active_stats", "pages"], "preset": "today", "filters": filters}
    )
    unknown, live, pages = answer["data"]
    assert answer["success"] is True
    assert unknown == {
        "parameter": "sumary",
        "success": False,
        "error": "Unknown query type 'sumary'. Did you mean 'summary'?",
        "data": [],
    }
    assert (live["success"], live["data"]) == (False, [])
    assert live["error"].startswith("Filter on field 'country' is not permitted")
    assert [row["name"] for row in pages["data"]] == ["/", "/x"]
    assert answer["meta"]["filters_applied"] == 1


async def test_the_live_window(service: Service) -> None:
    place = await website(service)
    end = time.monotonic() + 10
    while True:
        (active,) = (await place.post({"parameters": ["active_stats"]}))["data"]
        if active["data"] == [{"active_users": 2, "active_sessions": 2}]:
            break
        assert time.monotonic() < end, active


async def test_a_batch_has_a_result_for_each_query(service: Service) -> None:
    place = await website(service)
    good = {"parameters": ["summary"], "preset": "today"}
    answer = await place.post([good, {"parameters": []}, 7, {**good, "id": "z"}])
    assert (answer["success"], answer["batch"]) == (True, True)
    assert [result["success"] for result in answer["results"]] == [True, False, False, True]
    assert [answer["results"][at]["queryId"] for at in (0, 3)] == ["query-1", "z"]
    assert answer["results"][1]["code"] == "VALIDATION_ERROR"
    assert answer["results"][1]["details"][0]["field"] == "parameters"
    assert "array of names" in answer["results"][1]["error"]
    assert (await place.post([{"parameters": []}]))["results"][0]["success"] is False


async def test_dates_may_be_in_the_query_string(service: Service) -> None:
    place = await website(service)
    body = {"parameters": ["events_by_date"]}
    answer = await place.post(body, start_date="2026-01-01", end_date="2026-01-03")
    assert [row["date"] for row in answer["data"][0]["data"]] == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
    ]
    own = await place.post(
        {**body, "start_date": "2026-02-01", "end_date": "2026-02-01"},
        start_date="2026-01-01",
        end_date="2026-01-03",
    )
    assert [row["date"] for row in own["data"][0]["data"]] == ["2026-02-01"]


async def test_all_faults_are_told_at_once(service: Service) -> None:
    place = await website(service)
    error = await place.refused(
        {
            "parameters": ["summary"],
            "preset": "last_8d",
            "limit": 0,
            "filters": [{"field": "path", "op": "eqq", "value": "/"}],
        }
    )
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "VALIDATION_ERROR",
        400,
    )
    details = orjson.loads(unquote(error.trailing["footfall-detail"]))
    assert [fault["field"] for fault in details] == ["preset", "filters[0].op", "limit"]
    assert details[1]["suggestion"] == "Did you mean 'eq'?"
    assert [v.field for v in error.details["BadRequest"].field_violations] == [
        "preset",
        "filters[0].op",
        "limit",
    ]


async def test_bodies_that_are_no_queries(service: Service) -> None:
    place = await website(service)
    for body in ([], 7, "summary", None):
        assert (await place.refused(body)).http == 400
    request = pb.PostQueryRequest(website_id=place.site.id, body=HttpBody(data=b'{"parameters"'))
    error = await refused(place.stub.PostQuery(request, metadata=place.key))
    assert (error.http, error.code) == (400, grpc.StatusCode.INVALID_ARGUMENT)


async def test_the_typed_call_says_the_same(service: Service) -> None:
    place = await website(service)
    queries = [
        pb.Query(
            parameters=[pb.QueryParameter(name="summary"), pb.QueryParameter(name="nothing")],
            preset="today",
        ),
        pb.Query(),
    ]
    call = place.stub.RunQueries(
        pb.RunQueriesRequest(website_id=place.site.id, queries=queries), metadata=place.key
    )
    first, second = (await call).results
    summary, nothing = first.data
    cells = [cell.WhichOneof("value") for cell in summary.rows[0].cells]
    assert cells == ["integer", "integer", "integer", "real", "real", "integer"]
    assert [column.name for column in summary.columns][:2] == ["pageviews", "unique_visitors"]
    assert summary.rows[0].cells[0].integer == 3
    assert (nothing.success, bool(nothing.error)) == (False, True)
    assert (second.success, second.code, len(second.details)) == (False, "VALIDATION_ERROR", 1)
    alone = place.stub.RunQueries(
        pb.RunQueriesRequest(website_id=place.site.id, queries=[pb.Query()]), metadata=place.key
    )
    assert (await refused(alone)).reason == "VALIDATION_ERROR"


async def test_what_can_be_asked_is_public(service: Service) -> None:
    stub = queries_pb2_grpc.QueryServiceStub(service.channel)
    plain = orjson.loads((await stub.GetQueryTypes(pb.GetQueryTypesRequest())).data)
    assert {"summary", "summary_metrics", "top_pages", "browsers"} <= set(plain["types"])
    assert "meta" not in plain["configs"]["summary"]
    full = orjson.loads(
        (await stub.GetQueryTypes(pb.GetQueryTypesRequest(include_meta="true"))).data
    )
    fields = full["configs"]["traffic"]["meta"]["output_fields"]
    assert [field["name"] for field in fields] == ["name", "pageviews", "visitors", "percentage"]
    assert full["presets"][0] == "today"
    typed = await stub.ListQueryTypes(pb.ListQueryTypesRequest())
    assert {alias for kind in typed.types for alias in (kind.name, *kind.aliases)} == set(
        full["types"]
    )


async def test_the_websites_of_a_caller(service: Service) -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    place = await website(service)
    created_at = dt.datetime.fromtimestamp(place.site.created_at, dt.UTC)
    assert before <= created_at <= dt.datetime.now(dt.UTC)
    other = service.manager.create_site(place.account, f"a{place.site.host}", "UTC", public=True)
    by_key = orjson.loads(
        (await place.stub.GetWebsites(pb.GetWebsitesRequest(), metadata=place.key)).data
    )
    assert by_key == {
        "success": True,
        "websites": [
            {
                "id": place.site.id,
                "name": place.site.host,
                "domain": place.site.host,
                "isPublic": False,
                "createdAt": created_at.isoformat(timespec="seconds"),
            }
        ],
        "total": 1,
    }
    user = service.manager.create_user(
        place.account, f"{place.site.host}@example.com", "correct horse", Role.MEMBER
    )
    session = await service.session(user, "correct horse")
    by_user = await place.stub.ListWebsites(pb.ListWebsitesRequest(), metadata=session)
    assert [site.id for site in by_user.websites] == [other.id, place.site.id]
    assert by_user.websites[1].created_at == by_key["websites"][0]["createdAt"]


async def test_a_public_website_can_be_read_by_anybody(service: Service) -> None:
    shown, hidden = await website(service, public=True), await website(service)
    body = HttpBody(data=orjson.dumps({"parameters": ["summary"], "preset": "today"}))
    answer = await shown.stub.PostQuery(pb.PostQueryRequest(website_id=shown.site.id, body=body))
    assert orjson.loads(answer.data)["data"][0]["data"][0]["pageviews"] == 3
    request = pb.PostQueryRequest(website_id=hidden.site.id, body=body)
    assert (await refused(hidden.stub.PostQuery(request))).http in {401, 404}
    assert (await refused(shown.stub.PostQuery(request, metadata=shown.key))).http in {403, 404}


async def test_time_zones_of_a_call(service: Service) -> None:
    place = await website(service)
    body = {"parameters": ["events_by_date"], "startDate": "2026-10-25", "endDate": "2026-10-25"}
    zurich = await place.post({**body, "granularity": "hourly"}, timezone="Europe/Zurich")
    rows = zurich["data"][0]["data"]
    assert [rows[at]["date"] for at in (0, 2, 3, -1)] == [
        "2026-10-25 00:00:00",
        "2026-10-25 02:00:00",
        "2026-10-25 03:00:00",
        "2026-10-25 23:00:00",
    ]
    error = await place.refused(body, timezone="Europe/Zürich")
    assert (error.http, error.reason) == (400, "VALIDATION_ERROR")
