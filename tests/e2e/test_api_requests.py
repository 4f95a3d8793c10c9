"""Events in by REST and gRPC; the same numbers out by curl, Python and JavaScript clients."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from footfall.v1 import (
    export_pb2,
    export_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    timeseries_pb2,
    timeseries_pb2_grpc,
)
from tests.e2e import recount
from tests.e2e.conftest import Application
from tests.e2e.service import Service

#: A window that holds a Monday, and does not begin or end on any bucket's edge.
START = 1_767_312_345  # 2026-01-02T00:05:45Z
END = START + 5 * 86_400 + 17
JAVASCRIPT = Path(__file__).parents[1] / "clients" / "javascript"

AGGREGATIONS = ("", "count", "mean", "min", "max", "sum", "percentile_1", "percentile_50")
AGGREGATIONS += ("percentile_95", "percentile_99")
GROUPS = ("", "consumer_id", "method", "url", "function", "status_code")
GRANULARITIES = ("", "hour", "day", "week", "900", "7201")
INCLUDES = (
    (),
    ("method:GET",),
    ("method:GET", "method:POST", "status_code:200"),
    ("consumer_id:a:b", "consumer_id:太郎", "consumer_id:"),
    ("url:/items/3?q=b:c",),
    ("function:", "status_code:"),
    ("method:PATCH",),
)


def as_proto(event: dict[str, Any]) -> ingest_pb2.ApiRequestEvent:
    return ingest_pb2.ApiRequestEvent(
        **{name: value for name, value in event.items() if value is not None}
    )


@pytest.fixture(scope="module")
def history(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Application, list[dict[str, Any]]]:
    """An application with 3,000 events, half sent by REST like the public client, half by gRPC."""
    # Its answers are asked for faster than any plan allows.
    reads = ("--application-reads-per-10s", "1000000")
    service.cli("plan", "set", "questions", "--like", "scale", *reads)
    service.cli("account", "create", "questions", "--plan", "questions")
    made = service.cli("app", "create", "questions", "--account", "questions")
    application = Application(made["id"], made["write_key"], made["read_key"])
    events = recount.api_requests(7, 3_000, START, END)
    for batch in recount.batched(events[:1_500], 91):
        answer = service.post_json("/1/event/", batch, application.writes)
        assert answer.status == 200
        assert answer.json == {"accepted": len(batch), "duplicates": 0, "rejected": []}
    with service.channel() as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        metadata = tuple(application.writes.items())
        unary = stub.IngestApiRequests(
            ingest_pb2.IngestApiRequestsRequest(events=map(as_proto, events[1_500:1_700])),
            metadata=metadata,
        )
        assert (unary.accepted, unary.duplicates, len(unary.rejected)) == (200, 0, 0)
        stream = stub.StreamApiRequests(
            (
                ingest_pb2.IngestApiRequestsRequest(events=map(as_proto, batch))
                for batch in recount.batched(events[1_700:], 100)
            ),
            metadata=metadata,
        )
        assert (stream.accepted, stream.duplicates, stream.rejected_total) == (1_300, 0, 0)
    return application, events


def same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Integers to the last digit and of integer type, real numbers to 1e-9."""
    assert {k: got[k] for k in ("start", "end", "granularity")} == {
        k: expected[k] for k in ("start", "end", "granularity")
    }
    assert got["groups"].keys() == expected["groups"].keys()
    for key, points in expected["groups"].items():
        assert [t for t, _ in got["groups"][key]] == [t for t, _ in points]
        for (_, value), (_, wanted) in zip(got["groups"][key], points, strict=True):
            if isinstance(wanted, int):
                assert value == wanted
            else:
                assert math.isclose(value, wanted, rel_tol=1e-9)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("group", GROUPS)
def test_every_question_is_answered_like_the_recount(
    service: Service,
    history: tuple[Application, list[dict[str, Any]]],
    granularity: str,
    group: str,
) -> None:
    application, events = history
    options = {"granularity": granularity, "group": group}
    for include in INCLUDES:
        expected = recount.all_timeseries(
            events, application.id, START, END, AGGREGATIONS, include=include, **options
        )
        for aggregation in AGGREGATIONS:
            answer = service.get(
                f"/1/timeseries/{START}/{END}/",
                headers=application.reads,
                query=options | {"aggregation": aggregation, "value": "", "include": include},
            )
            assert answer.status == 200, answer.body
            same(answer.json, expected[aggregation])


@pytest.mark.parametrize("granularity", ["second", "minute"])
def test_fine_buckets(
    service: Service, history: tuple[Application, list[dict[str, Any]]], granularity: str
) -> None:
    application, events = history
    end = START + (7_200 if granularity == "second" else 86_400)
    for aggregation in ("count", "percentile_75"):
        answer = service.get(
            f"/1/timeseries/{START}/{end}",
            headers=application.reads,
            query={"granularity": granularity, "aggregation": aggregation},
        )
        expected = recount.timeseries(
            events, application.id, START, end, granularity=granularity, aggregation=aggregation
        )
        same(answer.json, expected)


@pytest.mark.parametrize(
    ("granularity", "aggregation", "group"),
    [
        ("hour", "count", "consumer_id"),
        ("day", "mean", "function"),
        ("", "percentile_95", "method"),
    ],
)
def test_curl_python_and_javascript_get_the_same_numbers(
    service: Service,
    history: tuple[Application, list[dict[str, Any]]],
    javascript_client: Path,
    granularity: str,
    aggregation: str,
    group: str,
) -> None:
    application, events = history
    options = {"granularity": granularity, "aggregation": aggregation, "group": group}
    expected = recount.timeseries(events, application.id, START, END, **options)

    query = "&".join(f"{name}={value}" for name, value in options.items())
    credentials = [f"{name}: {value}" for name, value in application.reads.items()]
    curl = subprocess.run(
        ["curl", "-sS", "--fail", "-H", credentials[0], "-H", credentials[1],
         f"{service.rest}/1/timeseries/{START}/{END}/?{query}"],
        capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    same(json.loads(curl.stdout), expected)

    with service.channel() as channel:
        answer = timeseries_pb2_grpc.TimeseriesServiceStub(channel).QueryTimeseries(
            timeseries_pb2.QueryTimeseriesRequest(start=START, end=END, **options),
            metadata=tuple(application.reads.items()),
        )
    python = {
        "groups": {
            group.key: [
                [point.time, getattr(point, point.WhichOneof("value"))] for point in group.points
            ]
            for group in answer.groups
        },
        "start": answer.start,
        "end": answer.end,
        "granularity": answer.granularity_ms,
    }
    same(python, expected)

    for protocol in ("grpc", "grpc-web"):
        request = {
            "baseUrl": service.rest,
            "protocol": protocol,
            "applicationId": application.id,
            "key": application.read_key,
            "query": {"start": START, "end": END} | options,
        }
        node = subprocess.run(
            ["node", "timeseries.mjs", json.dumps(request)],
            cwd=javascript_client, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert node.returncode == 0, node.stderr.decode()
        same(json.loads(node.stdout), expected)


def test_sending_again_adds_nothing(service: Service, application: Application) -> None:
    now = int(time.time())
    events = recount.api_requests(11, 50, now - 3_600, now)
    first = service.post_json("/1/event", events, application.writes)
    again = service.post_json("/1/event", events + events[:1], application.writes)
    assert first.json == {"accepted": 50, "duplicates": 0, "rejected": []}
    assert again.json == {"accepted": 0, "duplicates": 51, "rejected": []}

    nameless = [{k: v for k, v in event.items() if k != "event_id"} for event in events]
    keyed = application.writes | {"Idempotency-Key": "batch-1"}
    assert service.post_json("/1/event", nameless, keyed).json["accepted"] == 50
    assert service.post_json("/1/event", nameless, keyed).json["duplicates"] == 50

    answer = service.get(f"/1/timeseries/{now - 3_600}/{now + 1}", headers=application.reads)
    assert answer.json["groups"] == {application.id: [[now - 3_600, 100]]}


def test_good_events_are_stored_and_each_bad_one_is_named(
    service: Service, application: Application
) -> None:
    now = time.time()
    good = {"timestamp": now, "method": "GET", "url": "/", "response_us": 5, "status_code": 200}
    bad = {
        1: good | {"response_us": "fast"},
        3: good | {"timestamp": now + 2 * 86_400},
        4: good | {"timestamp": "yesterday"},
        6: "no object",
        7: good | {"url": "/" * 10_000},
        8: good | {"status_code": 1_000_000},
        9: {k: v for k, v in good.items() if k != "response_us"},
        10: good | {"data": {"blob": "x" * 70_000}},
        11: None,
    }
    batch = [bad.get(index, good) for index in range(12)]
    answer = service.post_json("/1/event/", batch, application.writes)
    assert answer.status == 200
    assert answer.json["accepted"] == 3
    assert {item["index"] for item in answer.json["rejected"]} == set(bad)
    assert all(item["code"] and item["message"] for item in answer.json["rejected"])

    answer = service.post_json("/1/event/", [bad[1], bad[3]], application.writes)
    assert answer.status == 400
    assert answer.json["error"]["message"]
    count = service.get(
        f"/1/timeseries/{int(now) - 10}/{int(now) + 10}", headers=application.reads
    ).json
    assert count["groups"][application.id][0][1] == 3


def test_export_gives_back_what_was_sent(
    service: Service, history: tuple[Application, list[dict[str, Any]]]
) -> None:
    application, events = history
    path = f"/1/export/{START}/{END}"
    answer = service.get(path, headers=application.reads)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    rows = [json.loads(line) for line in answer.body.splitlines()]
    inside = [event for event in events if START <= event["timestamp"] < END]
    assert [row["event_id"] for row in rows] == [event["event_id"] for event in inside]
    for row, event in zip(rows, inside, strict=True):
        assert math.isclose(row["timestamp"], event["timestamp"], rel_tol=0, abs_tol=1e-6)
        for name in ("consumer_id", "method", "url", "response_us"):
            assert row[name] == event[name]
        assert row["function"] == event.get("function", "")
        assert row.get("status_code") == event.get("status_code")

    table = service.get(path, headers=application.reads, query={"format": "csv"})
    assert table.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(table.body.decode(), newline="")))
    assert [line["event_id"] for line in lines] == [row["event_id"] for row in rows]

    cursor = rows[1_000]["cursor"]
    rest = service.get(path, headers=application.reads, query={"cursor": cursor})
    assert [json.loads(line)["event_id"] for line in rest.body.splitlines()] == [
        row["event_id"] for row in rows[1_001:]
    ]
    with service.channel() as channel:
        pages = export_pb2_grpc.ExportServiceStub(channel).ExportApiRequests(
            export_pb2.ExportApiRequestsRequest(start=START, end=END),
            metadata=tuple(application.reads.items()),
        )
        typed = [record.event_id for page in pages for record in page.records]
    assert typed == [row["event_id"] for row in rows]


@pytest.fixture(scope="module")
def javascript_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client generated from the protos, with its packages from npm."""
    folder = tmp_path_factory.mktemp("javascript") / "client"
    shutil.copytree(JAVASCRIPT, folder)
    for command in (
        ("npm", "ci"),
        ("buf", "generate", str(JAVASCRIPT.parents[2] / "protos"), "--template", "buf.gen.yaml"),
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return folder
