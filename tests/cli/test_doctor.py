"""`footfall doctor --verify` on a real event store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from click.testing import Result

from footfall.cli import doctor
from footfall.events import open_event_store
from footfall.events.workspace_state import RUN
from tests.events.test_workspace import batch
from tests.events.traffic import web_batch

Run = Callable[..., Result]


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An event store whose rollups are written."""
    # The other checks have tests of their own; the gateway's starts Envoy.
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_events,))
    monkeypatch.delenv("FOOTFALL_EVENTS_URL", raising=False)
    path = tmp_path / "footfall-data" / "events.duckdb"
    store = open_event_store(f"duckdb:///{path}")
    store.commit([web_batch([{"path": f"/{number}"} for number in range(30)])])
    store.fold()  # type: ignore[attr-defined]
    store.close()
    return path


def test_counts_that_are_right(run: Run, events: Path) -> None:
    result = run("doctor", "--verify")
    assert result.exit_code == 0, result.output
    assert "counts: all are what the events say" in result.stdout
    assert "counts:" not in run("doctor").stdout
    events.unlink()
    assert "there are no events yet" in run("doctor", "--verify").stdout


def test_counts_that_are_wrong(run: Run, events: Path) -> None:
    with duckdb.connect(str(events)) as connection:
        connection.execute("UPDATE slot15 SET pageviews = 29, engaged_us = 1500000")
    result = run("doctor", "--verify")
    assert result.exit_code == 1
    assert (
        "FAIL  counts: site site, 2026-03-04, quarter of an hour of 2026-03-04 10:00:00+00:00: "
        "the events say 30 page views, 1 visits, 0 s engaged, "
        "but slot15 says 29 page views, 1 visits, 1.5 s engaged"
    ) in result.stdout
    with duckdb.connect(str(events)) as connection:
        connection.execute("UPDATE pageday SET visits = visits + 1")
    report = json.loads(run("doctor", "--verify", "--json").stdout)
    assert report["ok"] is False
    found = [check["detail"] for check in report["checks"] if check["check"] == "counts"]
    # As many as can be read, and a word about the others.
    assert len(found) == doctor.DIFFERENCES_MAX + 1
    assert "2026-03-04, example.com/" in found[1]
    assert found[-1].endswith("There are more.")


def test_states_that_are_wrong(run: Run, events: Path) -> None:
    store = open_event_store(f"duckdb:///{events}")
    store.commit([batch(RUN, [{"run_id": "run-1", "status": "running"}, {"run_id": "run-2"}])])
    store.rest()
    store.close()
    assert run("doctor", "--verify").exit_code == 0
    with duckdb.connect(str(events)) as connection:
        connection.execute("UPDATE runs SET status = 'failed' WHERE run_id = 'run-1'")
    result = run("doctor", "--verify")
    assert result.exit_code == 1
    assert "counts: workspace w: run-1 in runs is not what its events say" in result.stdout
    assert "run-2" not in result.stdout


def test_a_store_that_cannot_be_read(run: Run, events: Path) -> None:
    events.write_bytes(b"not a database")
    result = run("doctor", "--verify")
    assert result.exit_code == 1
    assert "counts: The event store" in result.stdout
    assert str(events) not in result.stdout.partition("counts:")[2]
