"""Structured queries and custom SQL over the wire: both faces, credentials, errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import Scope, Site
from footfall.v1 import custom_queries_pb2 as pb
from footfall.v1 import custom_queries_pb2_grpc, ingest_pb2, queries_pb2
from tests.rpc.conftest import Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

START = 1_772_618_400
DOCS = Path(__file__).parents[2] / "docs" / "custom-sql.md"


@pytest.fixture
def stub(service: Service) -> Any:
    return custom_queries_pb2_grpc.CustomQueryServiceStub(service.channel)


@pytest_asyncio.fixture(loop_scope="session")
async def place(service: Service, site: Site) -> tuple[Site, Metadata]:
    """A site with ten page views and two custom events, beside another that must stay unseen."""
    key = service.key([site], Scope.READ, Scope.WRITE)
    other = service.site()
    for at, host, who in (
        (site, site.host, key),
        (other, other.host, service.key([other], Scope.WRITE)),
    ):
        events = [
            ingest_pb2.WebEvent(
                url=f"https://{host}/p{number % 3}",
                visitor_id=f"v{number % 4}",
                timestamp=START + number * 3600,
            )
            for number in range(10)
        ]
        events += [
            ingest_pb2.WebEvent(
                type="custom",
                name="signup",
                url=f"https://{host}/p1",
                visitor_id="v1",
                timestamp=START + number,
                properties={"plan": f"p{number}"},
            )
            for number in range(2)
        ]
        request = ingest_pb2.IngestWebEventsRequest(site=at.id, events=events)
        answer = await service.ingest.IngestWebEvents(request, metadata=who)
        assert answer.accepted == len(events), answer
    return site, key


def body(document: Any) -> HttpBody:
    return HttpBody(content_type="application/json", data=orjson.dumps(document))


async def test_sql_on_both_faces(stub: Any, place: tuple[Site, Metadata]) -> None:
    site, key = place
    text = (
        "SELECT path, count(*) AS views FROM pageviews WHERE visitor_id <> $who "
        "GROUP BY path ORDER BY path"
    )
    typed = await stub.ExecuteSql(
        pb.ExecuteSqlRequest(
            website_id=site.id, query=text, parameters={"who": queries_pb2.QueryCell(text="v9")}
        ),
        metadata=key,
    )
    assert [[row.cells[0].text, row.cells[1].integer] for row in typed.rows] == [
        ["/p0", 4],
        ["/p1", 3],
        ["/p2", 3],
    ]
    assert typed.columns[1].type == queries_pb2.QUERY_COLUMN_TYPE_INTEGER
    assert (typed.rows_read, typed.truncated) == (10, False)

    answer = await stub.PostSql(
        pb.PostSqlRequest(
            website_id=site.id, body=body({"query": text, "parameters": {"who": "v9"}})
        ),
        metadata=key,
    )
    document = orjson.loads(answer.data)
    assert document["data"][0] == {"path": "/p0", "views": 4}
    assert document["meta"].pop("executionTime") > 0
    assert document == {
        "success": True,
        "data": document["data"],
        "meta": {
            "rowCount": 3,
            "columns": ["path", "views"],
            "rowsRead": 10,
            "truncated": False,
            "websiteId": site.id,
        },
    }


async def test_a_structured_query_on_both_faces(stub: Any, place: tuple[Site, Metadata]) -> None:
    site, key = place
    typed = await stub.RunCustomQuery(
        pb.RunCustomQueryRequest(
            website_id=site.id,
            table="pageviews",
            selects=[
                pb.CustomSelect(field="*", aggregate="count"),
                pb.CustomSelect(field="visitor_id", aggregate="uniq", alias="people"),
            ],
            filters=[pb.CustomFilter(field="path", op="in", values=["/p0", "/p1"])],
            group_by=["path"],
            start_date="2026-03-04",
            end_date="2026-03-04",
        ),
        metadata=key,
    )
    assert [
        [row.cells[0].text, row.cells[1].integer, row.cells[2].integer] for row in typed.rows
    ] == [
        ["/p0", 4, 4],
        ["/p1", 3, 3],
    ]
    query = {
        "table": "pageviews",
        "selects": [{"field": "*", "aggregate": "count", "alias": "n"}],
        "filters": [{"field": "path", "op": "eq", "value": "/p0"}],
    }
    answer = await stub.PostCustomQuery(
        pb.PostCustomQueryRequest(
            website_id=site.id,
            body=body(
                {
                    "query": query,
                    "startDate": "2026-03-04",
                    "endDate": "2026-03-04",
                    "granularity": "hourly",
                    "limit": 2,
                }
            ),
        ),
        metadata=key,
    )
    document = orjson.loads(answer.data)
    assert document["data"] == [
        {"date": "2026-03-04 11:00:00", "n": 1},
        {"date": "2026-03-04 14:00:00", "n": 1},
    ]
    assert document["meta"]["truncated"] is True


async def test_the_schema_needs_nobody(stub: Any) -> None:
    document = orjson.loads((await stub.GetSqlSchema(pb.GetSqlSchemaRequest())).data)
    views = await stub.ListViews(pb.ListViewsRequest())
    assert [table["name"] for table in document["tables"]] == [view.name for view in views.views]
    assert document["limits"]["characters"] == 5000
    told = {column["name"] for table in document["tables"] for column in table["columns"]}
    assert "path" in told
    assert not told & {"site_id", "seq", "key_hi", "excluded", "ip"}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT path FORM pageviews", "VALIDATION_ERROR"),
        ("SELECT nope FROM pageviews", "VALIDATION_ERROR"),
        ("SELECT * FROM web_events", "FORBIDDEN_OPERATION"),
        ("SELECT 1; SELECT 2", "FORBIDDEN_OPERATION"),
        ("SELECT " + "1+" * 2500 + "1", "QUERY_TOO_COMPLEX"),
        ("", "VALIDATION_ERROR"),
    ],
)
async def test_refusals_have_a_reason(
    stub: Any, place: tuple[Site, Metadata], query: str, reason: str
) -> None:
    site, key = place
    refusal = await refused(
        stub.ExecuteSql(pb.ExecuteSqlRequest(website_id=site.id, query=query), metadata=key)
    )
    assert (refusal.code, refusal.http) == (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert refusal.reason == reason


async def test_faults_of_a_structured_query_are_told_at_once(
    stub: Any, place: tuple[Site, Metadata]
) -> None:
    site, key = place
    refusal = await refused(
        stub.PostCustomQuery(
            pb.PostCustomQueryRequest(
                website_id=site.id,
                start_date="2026-03-04",
                end_date="2026-03-05",
                body=body(
                    {
                        "table": "pageviews",
                        "selects": [{"field": "pth", "aggregate": "cuont"}],
                        "filters": [{"field": "path", "op": "matches", "value": "x"}],
                        "groupBy": ["a"],
                        "limit": 20000,
                    }
                ),
            ),
            metadata=key,
        )
    )
    assert refusal.reason == "VALIDATION_ERROR"
    told = refusal.trailing["footfall-detail"]
    for field in ("selects[0].aggregate", "filters[0].op", "groupBy[0]", "limit"):
        assert field in told.replace("%5B", "[").replace("%5D", "]"), told


async def test_strangers_and_other_keys_are_kept_out(
    service: Service, stub: Any, place: tuple[Site, Metadata]
) -> None:
    site, _ = place
    asked = pb.ExecuteSqlRequest(website_id=site.id, query="SELECT 1")
    stranger = await refused(stub.ExecuteSql(asked))
    assert stranger.code is grpc.StatusCode.UNAUTHENTICATED
    other = service.site()
    for key in (service.key([other], Scope.READ), service.key([site], Scope.WRITE)):
        kept_out = await refused(stub.ExecuteSql(asked, metadata=key))
        assert kept_out.code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND}


async def test_the_examples_of_the_documentation_run(
    stub: Any, place: tuple[Site, Metadata]
) -> None:
    site, key = place
    text = DOCS.read_text()
    statements = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(statements) >= 5
    for statement in statements:
        answer = await stub.ExecuteSql(
            pb.ExecuteSqlRequest(website_id=site.id, query=statement), metadata=key
        )
        assert answer.columns, statement
    (query,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    document = orjson.loads(
        (
            await stub.PostCustomQuery(
                pb.PostCustomQueryRequest(
                    website_id=site.id,
                    body=HttpBody(content_type="application/json", data=query.encode()),
                ),
                metadata=key,
            )
        ).data
    )
    assert document["success"] is True
