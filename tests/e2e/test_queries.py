"""Batch queries about a website, as callers of a whole service ask them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.sql import open_account_store
from footfall.v1 import queries_pb2, queries_pb2_grpc
from tests.e2e.history import CHROME
from tests.e2e.service import Answer, Service

LAST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST = LAST - timedelta(days=6)
DAYS = {"startDate": f"{FIRST:%Y-%m-%d}", "endDate": f"{LAST - timedelta(days=1):%Y-%m-%d}"}
VISIT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    site: str
    public: str
    foreign: str
    key: str
    views: list[tuple[datetime, str, str]]

    @property
    def reads(self) -> dict[str, str]:
        return {"x-api-key": self.key}


@pytest.fixture(scope="module")
def world(service: Service) -> World:
    with closing(open_account_store(f"sqlite:///{service.data / 'accounts.sqlite'}")) as store:
        manager = AccountManager(store)
        account = manager.create_account("queries", "scale").id
        other = manager.create_account("queries-other", "scale").id
        site = manager.create_site(account, "queries.example", "UTC", public=False).id
        public = manager.create_site(account, "queries-public.example", "UTC", public=True).id
        foreign = manager.create_site(other, "queries-other.example", "UTC", public=False).id
        manager.create_user(account, "queries@example.com", "correct horse battery", "member")
        key = manager.create_key(
            account, kind=KeyKind.DBDY, site_ids=[site, public], scopes=[Scope.READ, Scope.WRITE]
        ).text
    dice = Random(7)
    views = sorted(
        (
            FIRST + timedelta(seconds=dice.randrange(6 * 86_400)),
            f"v{dice.randrange(40)}",
            f"/{dice.choice('aaabbc')}",
        )
        for _ in range(400)
    )
    events = [
        {"type": "pageview", "timestamp": at.isoformat(), "visitor_id": visitor,
         "url": f"https://queries.example{path}", "user_agent": CHROME,}
        for at, visitor, path in views
    ]  # fmt: skip
    sent = service.post_json(f"/v1/collect?site={site}", events, {"authorization": f"Bearer {key}"})
    assert (sent.status, sent.json["rejected"]) == (200, []), sent.body
    return World(site, public, foreign, key, views)


def ask(service: Service, world: World, document: Any, **options: Any) -> Answer:
    query = {"website_id": world.site} | options.pop("query", {})
    headers = options.pop("headers", world.reads)
    return service.post_json("/v1/query", document, headers, query=query)


def summary(world: World) -> dict[str, Any]:
    visits: list[list[datetime]] = []
    last: dict[str, list[datetime]] = {}
    for at, visitor, _ in world.views:
        if visitor not in last or at - last[visitor][-1] >= VISIT:
            last[visitor] = []
            visits.append(last[visitor])
        last[visitor].append(at)
    seconds = sum((visit[-1] - visit[0]).total_seconds() for visit in visits)
    return {
        "pageviews": len(world.views),
        "unique_visitors": len(last),
        "sessions": len(visits),
        "bounce_rate": round(100 * sum(len(v) == 1 for v in visits) / len(visits), 2),
        "avg_session_duration": round(seconds / len(visits), 2),
        "total_events": len(world.views),
    }


def test_the_published_batch_is_a_recount(service: Service, world: World) -> None:
    asked = {"parameters": ["summary", "pages", "traffic"]} | DAYS
    answer = ask(service, world, asked)
    assert answer.status == 200, answer.body
    assert answer.headers["x-request-id"]
    assert {f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset")} <= set(
        answer.headers
    )
    assert [part["parameter"] for part in answer.json["data"]] == asked["parameters"]
    totals, pages, traffic = (part["data"] for part in answer.json["data"])
    assert totals == [summary(world)]
    views = Counter(path for _, _, path in world.views)
    people = {path: {v for _, v, p in world.views if p == path} for path in views}
    assert [
        (row["name"], row["pageviews"], row["visitors"], row["percentage"]) for row in pages
    ] == [
        (path, n, len(people[path]), round(100 * n / len(world.views), 2))
        for path, n in views.most_common()
    ]
    everyone = len({visitor for _, visitor, _ in world.views})
    assert [(r["pageviews"], r["visitors"], r["percentage"]) for r in traffic] == [
        (len(world.views), everyone, 100)
    ]

    snake = {"parameters": asked["parameters"], "start_date": DAYS["startDate"],
             "end_date": DAYS["endDate"]}  # fmt: skip
    assert ask(service, world, snake).json["data"] == answer.json["data"]
    bare = {"parameters": asked["parameters"]}
    assert ask(service, world, bare, query=DAYS).json["data"] == answer.json["data"]
    with service.channel() as channel:
        query = queries_pb2.Query(
            parameters=[queries_pb2.QueryParameter(name="summary")],
            start_date=DAYS["startDate"],
            end_date=DAYS["endDate"],
        )
        got = queries_pb2_grpc.QueryServiceStub(channel).RunQueries(
            queries_pb2.RunQueriesRequest(website_id=world.site, queries=[query]),
            metadata=tuple(world.reads.items()),
        )
    (part,) = got.results[0].data
    cells = [getattr(cell, cell.WhichOneof("value")) for cell in part.rows[0].cells]
    named = dict(zip([column.name for column in part.columns], cells, strict=True))
    assert named == summary(world)


def test_what_is_faulty_fails_alone(service: Service, world: World) -> None:
    good = {"parameters": ["summary", "pagse"]} | DAYS
    batch = ask(service, world, [good, {"parameters": "summary"}]).json
    assert (batch["success"], batch["batch"]) == (True, True)
    first, second = batch["results"]
    assert [part["success"] for part in first["data"]] == [True, False]
    assert "pages" in first["data"][1]["error"]
    assert first["data"][1]["data"] == []
    assert (second["success"], second["code"]) == (False, "VALIDATION_ERROR")


def test_credentials(service: Service, world: World) -> None:
    asked = {"parameters": ["summary"]} | DAYS
    login = service.post_json(
        "/v1/auth/login", {"email": "queries@example.com", "password": "correct horse battery"}
    )
    assert login.status == 200, login.body
    cookie = login.headers["set-cookie"].split(";")[0]
    for headers in (world.reads, {"authorization": f"Bearer {world.key}"}, {"cookie": cookie}):
        answer = ask(service, world, asked, headers=headers)
        assert (answer.status, answer.json["data"][0]["data"]) == (200, [summary(world)])
    assert ask(service, world, asked, headers={}).status == 401
    assert ask(service, world, asked, headers={}, query={"website_id": world.public}).status == 200


def test_errors_have_the_envelope(service: Service, world: World) -> None:
    path = f"/v1/query?website_id={world.site}"
    typed = world.reads | {"content-type": "application/json"}
    answers = [
        service.request("POST", path, headers=typed, body=b"{"),
        ask(service, world, {}, headers={"x-api-key": "dbdy_wrong"}),
        ask(
            service, world, {"parameters": ["summary"]} | DAYS, query={"website_id": world.foreign}
        ),
        service.request("PUT", path, headers=typed, body=b"{}"),
        service.request("POST", path, headers=typed, body=b" " * 12_000_000),
    ]
    assert [(a.status, a.json["success"]) for a in answers] == [
        (status, False) for status in (400, 401, 404, 405, 413)
    ]
    assert answers[2].json["code"] == "WEBSITE_NOT_FOUND"
    assert all(a.json["code"] and a.json["error"] and a.headers["x-request-id"] for a in answers)


def test_companions(service: Service, world: World) -> None:
    plain = service.get("/v1/query/types").json
    full = service.get("/v1/query/types?include_meta=true").json
    assert plain["success"] is full["success"] is True
    assert len(str(full)) > len(str(plain))
    listed = service.get("/v1/query/websites", headers=world.reads)
    assert world.site.encode() in listed.body
    assert world.foreign.encode() not in listed.body

    counted = [{"field": "*", "aggregate": "count", "alias": "n"}]
    custom = {"query": {"table": "pageviews", "selects": counted}, **DAYS}
    got = service.post_json(f"/v1/query/custom?website_id={world.site}", custom, world.reads)
    assert got.status == 200, got.body
    assert got.json["data"] == [{"n": len(world.views)}]

    def sql(text: str, site: str) -> Answer:
        return service.post_json(
            f"/v1/custom-sql/execute?website_id={site}", {"query": text}, world.reads
        )

    count = "SELECT count(*) AS n FROM pageviews"
    assert sql(count, world.site).json["data"] == [{"n": len(world.views)}]
    forbidden = sql("SELECT * FROM read_csv('/etc/passwd')", world.site)
    assert (forbidden.status, forbidden.json["code"]) == (400, "FORBIDDEN_OPERATION")
    assert sql(count, world.foreign).json["code"] == "WEBSITE_NOT_FOUND"
    assert b"pageviews" in service.get("/v1/custom-sql/schema", headers=world.reads).body

    table = service.get(
        "/v1/export", headers=world.reads, query={"website_id": world.site, "format": "csv"}
    )
    assert table.status == 200, table.body
    rows = list(csv.DictReader(io.StringIO(table.body.decode())))
    assert len(rows) == len(world.views)
