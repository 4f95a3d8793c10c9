"""The published SDK of Databuddy, unchanged, with this service's address in place of its own."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Site, create_site
from tests.e2e.service import Service

SDK = Path(__file__).parents[1] / "clients" / "databuddy"


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK, installed from npm."""
    folder = tmp_path_factory.mktemp("databuddy") / "client"
    shutil.copytree(SDK, folder)
    done = subprocess.run(("npm", "ci"), cwd=folder, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return folder


def key_of(service: Service, site: Site) -> str:
    made = service.cli(
        "key", "create", "--account", "e2e", "--site", site.id, "--scope", "write,read",
        "--kind", "dbdy",
    )  # fmt: skip
    key: str = made["key"]
    return key


def send(service: Service, sdk: Path, config: dict[str, Any], *calls: tuple[str, Any]) -> Any:
    """What the SDK says of each call, and of the flush at the end."""
    request = {"apiUrl": service.rest, "calls": calls} | config
    node = subprocess.run(
        ("node", "track.mjs", json.dumps(request)),
        cwd=sdk,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert node.returncode == 0, node.stderr.decode()
    return json.loads(node.stdout)


def custom_events(service: Service, site: Site, parameter: str = "custom_events") -> Any:
    answer = service.post_json(
        f"/v1/query?website_id={site.id}",
        {"parameters": [parameter], "preset": "today"},
        headers=site.bearer,
    )
    assert answer.status == 200, answer
    (result,) = answer.json["data"]
    assert result["success"], result
    return result["data"]


def test_the_sdk_is_served(service: Service, sdk: Path) -> None:
    site = create_site(service)
    config = {"apiKey": key_of(service, site), "websiteId": site.id, "batchSize": 3}
    event = {"name": "invoice", "eventId": "e1", "anonymousId": "anon_1", "properties": {"n": 1}}
    answers = send(
        service,
        sdk,
        config,
        ("track", event),
        # The SDK itself drops what it has queued under the same id.
        ("track", event),
        ("track", {"name": "invoice", "anonymousId": "anon_2", "sessionId": "s"}),
        ("track", {"name": "refund", "profileId": "p1", "properties": {"deep": {"a": [1, None]}}}),
        ("batch", [{"type": "custom", "name": f"bulk-{n % 2}"} for n in range(100)]),
        ("track", {"name": "last"}),
    )
    assert all(answer["success"] for answer in answers), answers
    third, batch, flushed = answers[3], answers[4], answers[6]
    assert (third["processed"], batch["processed"], flushed["processed"]) == (3, 100, 1)
    assert batch["results"] == [{"status": "success", "type": "custom_event"}] * 100
    rows = {row["name"]: row for row in custom_events(service, site)}
    assert {name: row["total_events"] for name, row in rows.items()} == {
        "invoice": 2,
        "refund": 1,
        "bulk-0": 50,
        "bulk-1": 50,
        "last": 1,
    }
    assert rows["invoice"]["visitors"] == 2
    values = {
        (row["name"], row["property"], row["value"])
        for row in custom_events(service, site, "custom_event_properties")
    }
    assert ("invoice", "n", "1") in values
    assert ("invoice", "namespace", "billing") in values
    assert ("refund", "source", "backend") in values


def test_single_events_and_what_is_refused(service: Service, sdk: Path) -> None:
    site = create_site(service)
    alone = {"apiKey": key_of(service, site), "enableBatching": False}
    # Without a websiteId, a key of one website names it.
    good, long_name, _ = send(
        service, sdk, alone, ("track", {"name": "one"}), ("track", {"name": "n" * 257})
    )
    assert good["success"]
    assert long_name == {"success": False, "error": "HTTP 400: Bad Request"}
    mixed, _ = send(
        service,
        sdk,
        alone,
        ("batch", [{"name": "one", "type": "custom"}, {"name": "n" * 257, "type": "custom"}]),
    )
    assert (mixed["success"], mixed["processed"]) == (True, 1)
    assert [verdict["status"] for verdict in mixed["results"]] == ["success", "error"]
    denied, _ = send(service, sdk, alone | {"apiKey": "dbdy_no"}, ("track", {"name": "one"}))
    assert denied == {"success": False, "error": "HTTP 401: Unauthorized"}
    assert [row["total_events"] for row in custom_events(service, site)] == [2]


def test_on_the_wire(service: Service) -> None:
    site = create_site(service)
    key = {"x-api-key": key_of(service, site)}
    event = {"name": "paid", "eventId": "e1", "websiteId": site.id}
    for _ in range(2):
        answer = service.post_json("/track", event, headers=key)
        assert (answer.status, answer.json) == (
            200,
            {"status": "success", "type": "custom_event", "count": 1, "eventId": "e1"},
        )
    assert [row["total_events"] for row in custom_events(service, site)] == [1]
    page = {"name": "screen_view", "path": f"https://{site.host}/a", "title": "A"}
    browser = service.post_json(f"/track?client_id={site.id}", page)
    assert (browser.status, browser.json["type"]) == (200, "track")
    for body, headers, status, code in (
        ({"name": ""}, key, 400, "VALIDATION_ERROR"),
        # A browser's event has a page.
        (event, {}, 400, "VALIDATION_ERROR"),
        ({"name": "a"}, {}, 401, "AUTH_REQUIRED"),
        (event | {"websiteId": "nosuchsite00"}, {}, 404, "NOT_FOUND"),
        (event, {"authorization": "Bearer x"}, 401, "AUTH_REQUIRED"),
        (event | {"websiteId": "nosuchsite00"}, key, 403, "FORBIDDEN"),
    ):
        answer = service.post_json("/track", body, headers=headers)
        assert (answer.status, answer.json["success"], answer.json["code"]) == (status, False, code)
    refused = service.post_json("/track", {"name": "a", "eventId": 5}, headers=key).json
    assert [fault["field"] for fault in refused["details"]] == ["eventId"]


def test_exports(service: Service) -> None:
    site = create_site(service)
    events = [{"url": f"https://{site.host}/{n}", "event_id": f"e{n}"} for n in range(2500)]
    assert service.post_json(f"/v1/collect?site={site.id}", events, headers=site.bearer).json[
        "accepted"
    ] == len(events)
    path = f"/v1/export?website_id={site.id}"
    plain = service.get(path, headers=site.bearer)
    assert plain.headers["content-type"] == "application/x-ndjson"
    assert plain.headers["content-disposition"] == 'attachment; filename="events.ndjson"'
    lines = [json.loads(line) for line in plain.body.splitlines()]
    assert [line["event_id"] for line in lines] == [event["event_id"] for event in events]
    rest = service.get(f"{path}&cursor={lines[2489]['cursor']}&format=csv", headers=site.bearer)
    assert rest.headers["content-type"] == "text/csv; charset=utf-8"
    assert rest.body.count(b"\r\n") == 11
    accepting = site.bearer | {"accept": "application/vnd.apache.parquet"}
    parquet = service.get(f"/v1/export?site={site.id}&start=2020-01-01", headers=accepting)
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    table = pq.read_table(io.BytesIO(parquet.body))
    assert table["path"].to_pylist() == [f"/{n}" for n in range(2500)]
    assert service.get(f"{path}&end=2020-01-01", headers=site.bearer).body == b""
    wrong = service.get(f"{path}&start=x", headers=site.bearer)
    assert (wrong.status, wrong.json["code"]) == (400, "VALIDATION_ERROR")
    assert service.get(path).json["code"] == "AUTH_REQUIRED"
