"""Metrics from the outside: by REST, and with the published SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from footfall.analytics.metrics.catalogue import METRICS
from tests.e2e.service import Answer, Service, wait_until
from tests.events.metrics_recount import Recount, ordered
from tests.events.workspaces import END, START, as_sent, month

NOXUS = Path(__file__).parents[1] / "clients" / "noxus"
MONTH = {"time_start": "2026-08-10T00:00:00Z", "time_end": "2026-09-08T23:59:59Z"}

_numbers = count()


@dataclass(frozen=True)
class Workspace:
    service: Service
    key: str

    def get(self, path: str, **query: str) -> Answer:
        return self.service.get(path, headers={"x-api-key": self.key}, query=query)

    def ask(self, metric: str, **query: str) -> Answer:
        return self.get(f"/v1/analytics/{metric}", **(MONTH | query))


def create_workspace(service: Service, account: str) -> Workspace:
    name = f"workspace-{next(_numbers)}"
    return Workspace(
        service, service.cli("workspace", "create", name, "--account", account)["api_key"]
    )


@pytest.fixture(scope="module")
def filled(service: Service) -> Workspace:
    """A workspace with a month of events, which may ask as often as it likes."""
    service.cli(
        "plan", "set", "wide", "--like", "scale", "--workspace-requests-per-second", "1000000"
    )
    service.cli("account", "create", "metrics", "--plan", "wide")
    workspace = create_workspace(service, "metrics")
    events = [as_sent(event) for event in month()]
    answer = service.post_json("/v1/events", events, {"x-api-key": workspace.key})
    assert (answer.status, answer.json) == (
        200,
        {"accepted": len(events), "duplicates": 0, "rejected": []},
    )
    return workspace


@pytest.fixture
def workspace(service: Service) -> Workspace:
    return create_workspace(service, "e2e")


def test_every_document_is_what_a_recount_says(filled: Workspace) -> None:
    recount = Recount(month(), START, END)
    for metric in METRICS:
        answer = filled.ask(metric)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        body = answer.json
        body.pop("warnings", None)
        assert ordered(body) == ordered(recount.answer(metric)), metric
        assert filled.get(f"/analytics/{metric}", **MONTH).body == answer.body


def test_costs_name_their_price_list(filled: Workspace) -> None:
    answer = filled.ask("tokens_cost")
    assert answer.headers["x-price-list-version"].startswith("genai-prices ")
    assert len(answer.json["warnings"]) == 4
    assert "x-price-list-version" not in filled.ask("flow_runs").headers


def test_pages(filled: Workspace) -> None:
    recount = Recount(month(), START, END)
    for page, size in ((1, 20), (3, 200), (99, 20)):
        answer = filled.ask("api_calls_log", page=str(page), page_size=str(size))
        assert answer.json == recount.answer("api_calls_log", page, size)


def test_the_catalogue(workspace: Workspace) -> None:
    metrics = workspace.get("/v1/analytics").json["metrics"]
    assert [metric["name"] for metric in metrics] == list(METRICS)
    assert metrics[0] == {
        "name": "flow_runs",
        "response_type": "simple",
        "section": "Execution",
        "description": "Total flow executions in the time range",
        "columns": [{"heading": "", "prefix": "", "suffix": " runs"}],
        "paginated": False,
        "form": "METRIC_FORM_SCALAR",
    }


@pytest.mark.parametrize("path", ["/v1/analytics", "/analytics"])
def test_errors_are_the_published_documents(service: Service, filled: Workspace, path: str) -> None:
    faults = filled.get(f"{path}/flow_runs", time_end="2026-01-01T00:00:00", page_size="201")
    assert (faults.status, faults.headers["content-type"]) == (422, "application/json")
    assert faults.json == {
        "detail": [
            {
                "loc": ["query", "time_start"],
                "msg": "field required",
                "type": "value_error.missing",
            },
            {
                "loc": ["query", "time_end"],
                "msg": "timezone offset is required",
                "type": "value_error.datetime.tz",
            },
            {
                "loc": ["query", "page_size"],
                "msg": "ensure this value is less than or equal to 200",
                "type": "value_error.number.not_le",
            },
        ]
    }
    range_ = {"time_start": MONTH["time_end"], "time_end": MONTH["time_start"]}
    for answer, status, detail in (
        (
            filled.get(f"{path}/flow_runs", **range_),
            400,
            "time_start must be before time_end",
        ),
        (filled.get(f"{path}/nothing", **MONTH), 404, "Unknown metric"),
    ):
        assert (answer.status, answer.json) == (status, {"detail": detail})
    for answer, status in (
        (service.get(f"{path}/flow_runs", query=MONTH), 401),
        (service.get(f"{path}/flow_runs", query=MONTH, headers={"x-api-key": "no"}), 401),
        (service.post_json(f"{path}/flow_runs", {}, {"x-api-key": filled.key}), 405),
    ):
        assert answer.status == status
        assert list(answer.json) == ["detail"]
        assert isinstance(answer.json["detail"], str)


def test_an_offset_may_come_as_it_was_written(filled: Workspace) -> None:
    """A plus sign that nobody encoded, as in a command line."""
    expected = filled.ask("flow_runs").body
    path = "/v1/analytics/flow_runs?time_start=2026-08-10T02:00:00+02:00&time_end="
    assert filled.get(f"{path}2026-09-08T23:59:59.000000%2B00:00").body == expected


def test_the_sixth_request_in_a_second_waits(workspace: Workspace) -> None:
    answers = [workspace.ask("flow_runs") for _ in range(6)]
    while all(answer.status == 200 for answer in answers):
        # More than a second went by.
        answers = [workspace.ask("flow_runs") for _ in range(6)]
    refused = next(answer for answer in answers if answer.status != 200)
    assert (refused.status, refused.json) == (429, {"detail": "Rate limit exceeded"})
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-ratelimit-limit"] == "5"
    time.sleep(1)
    assert workspace.ask("flow_runs").status == 200


def test_what_a_workspace_calls_is_in_its_log(workspace: Workspace) -> None:
    today = {
        "time_start": time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - 86_400)),
        "time_end": time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() + 86_400)),
    }
    assert workspace.get("/analytics/flow_runs", **today).status == 200
    assert workspace.get("/v1/analytics/flow_runs").status == 422

    def log() -> Any:
        time.sleep(0.3)  # five requests a second
        answer = workspace.get("/v1/analytics/api_calls_log", **today).json
        rows = answer["value"].get("items", [])
        return [(row["Endpoint"], row["Method"], row["Status"]) for row in rows][-2:]

    expected = [("/v1/analytics/{metric}", "GET", 422), ("/analytics/{metric}", "GET", 200)]
    wait_until(lambda: log() == expected)


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published SDK."""
    folder = tmp_path_factory.mktemp("noxus")
    done = subprocess.run(
        (
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--target", str(folder), "-r", str(NOXUS / "requirements.txt")),
        ),
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return folder


def read_with(sdk: Path, workspace: Workspace, *metrics: str) -> Any:
    done = subprocess.run(
        (
            *(sys.executable, str(NOXUS / "metrics.py"), workspace.service.rest),
            *("2026-08-10T00:00:00+00:00", "2026-09-08T23:59:59+00:00", *metrics),
        ),
        env=os.environ | {"PYTHONPATH": str(sdk), "NOXUS_KEY": workspace.key},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_published_sdk_reads_every_metric(sdk: Path, filled: Workspace) -> None:
    recount = Recount(month(), START, END)
    answers = read_with(sdk, filled, *METRICS)
    for metric in METRICS:
        assert ordered(answers[metric]) == ordered(recount.answer(metric)), metric


def test_the_published_sdk_waits_when_it_is_told_to(sdk: Path, workspace: Workspace) -> None:
    metrics = list(METRICS)[:8]
    answers = read_with(sdk, workspace, *metrics, "nothing")
    assert answers.pop("nothing") == {"status": 404, "body": {"detail": "Unknown metric"}}
    assert {answer["type"] for answer in answers.values()} == {"simple"}
