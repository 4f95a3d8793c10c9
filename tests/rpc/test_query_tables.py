"""Answers of batch queries as tables over the wire."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from footfall.v1 import queries_pb2 as pb
from tests.rpc.conftest import Service, refused
from tests.rpc.test_queries import Website, website

pytestmark = pytest.mark.asyncio(loop_scope="session")


def ask(place: Website, body: Any, accept: str = "", **fields: str) -> Any:
    request = pb.PostQueryRequest(
        website_id=place.site.id,
        body=HttpBody(content_type="application/json", data=orjson.dumps(body)),
        **fields,
    )
    metadata = (*place.key, ("accept", accept)) if accept else place.key
    return place.stub.PostQuery(request, metadata=metadata)


async def test_one_parameter_is_its_rows(service: Service) -> None:
    place = await website(service)
    body = {"parameters": ["pages"], "preset": "today"}
    table = b"name,pageviews,visitors,percentage\r\n/,2,2,66.67\r\n/x,1,1,33.33\r\n"
    for answer in (await ask(place, body, format="csv"), await ask(place, body, "text/csv")):
        assert answer.content_type == "text/csv; charset=utf-8"
        assert answer.data == table
    answer = await ask(place, body, "application/x-ndjson")
    assert answer.content_type == "application/x-ndjson"
    document = json.loads((await ask(place, body, "*/*")).data)
    assert [json.loads(line) for line in answer.data.splitlines()] == document["data"][0]["data"]


async def test_several_are_told_apart(service: Service) -> None:
    place = await website(service)
    query = {"id": "q", "parameters": ["pages", {"name": "country", "id": "c"}], "preset": "today"}
    lines = (await ask(place, query, format="csv")).data.decode().splitlines()
    assert lines[0] == "parameter,name,pageviews,visitors,percentage"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["pages", "/"],
        ["pages", "/x"],
        ["c", "CH"],
        ["c", "DE"],
    ]
    batch = [query, {"id": "r", "parameters": ["custom_events"], "preset": "today"}]
    rows = [
        json.loads(line) for line in (await ask(place, batch, format="ndjson")).data.splitlines()
    ]
    assert [(row["query"], row["parameter"], row["name"]) for row in rows] == [
        ("q", "pages", "/"),
        ("q", "pages", "/x"),
        ("q", "c", "CH"),
        ("q", "c", "DE"),
        ("r", "custom_events", "signup"),
    ]


async def test_a_table_is_whole_or_none(service: Service) -> None:
    place = await website(service)
    query = {"parameters": ["pages", "pagse"], "preset": "today"}
    error = await refused(ask(place, query, format="csv"))
    assert (error.reason, error.http) == ("VALIDATION_ERROR", 400)
    (fault,) = json.loads(unquote(error.trailing["footfall-detail"]))
    assert fault["field"] == "parameters[1]"
    batch = [{"parameters": ["pages"], "preset": "today"}, {"parameters": [], "preset": "x"}]
    error = await refused(ask(place, batch, format="ndjson"))
    faults = json.loads(unquote(error.trailing["footfall-detail"]))
    assert faults
    assert all(fault["field"].startswith("[1].") for fault in faults)
    wrong = await refused(ask(place, query, format="xml"))
    assert wrong.http == 400
