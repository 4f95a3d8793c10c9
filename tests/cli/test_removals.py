"""`footfall site delete`, `footfall visitor delete` and retention, with no server beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from footfall.accounts.model import Site
from footfall.accounts.ports import AccountStore
from footfall.app import data_lock
from footfall.cli import removals as removals_module
from footfall.events import open_event_store
from tests.cli.conftest import failure
from tests.events.traffic import query, web_batch

CANARY = "kanarienvogel"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "footfall-data"


@pytest.fixture
def site(store: AccountStore, data: Path) -> Site:
    """A site with events of a visitor that shows in files, and of another."""
    made = store.create_site("News", "news.example", "UTC", public=False)
    events = open_event_store(f"duckdb:///{data}/events.duckdb")
    for number in range(20):
        visitors = [f"{CANARY}-visitor", "other"]
        shown = [
            {"visitor_id": who, "path": f"/{who}", "city": f"{who} {number}"} for who in visitors
        ]
        events.commit([web_batch(shown, made.id)])
    events.close()
    return made


def visitors(data: Path) -> list[tuple[Any, ...]]:
    events = open_event_store(f"duckdb:///{data}/events.duckdb")
    try:
        return query(events, "SELECT DISTINCT visitor_id FROM web_events")
    finally:
        events.close()


def files_with(data: Path, text: str) -> list[str]:
    files = [file for file in data.rglob("*") if file.is_file()]
    return [file.name for file in files if text.encode() in file.read_bytes()]


def test_a_visitor_is_deleted_here(made: Callable[..., Any], site: Site, data: Path) -> None:
    assert files_with(data, CANARY)
    document = made("visitor", "delete", site.id, f"{CANARY}-visitor", "--yes")
    assert document == {"site": site.id, "done": True}
    assert visitors(data) == [("other",)]
    assert files_with(data, CANARY) == []


def test_a_site_is_deleted_here(
    made: Callable[..., Any], store: AccountStore, site: Site, data: Path
) -> None:
    document = made("site", "delete", site.id, "--yes")
    assert document == {"id": site.id, "done": True}
    assert store.get_site(site.id) is None
    assert visitors(data) == []
    # What its live state is called stays for the next server, which deletes that.
    assert [order.site_id for order in store.removal_orders()] == [site.id]
    assert files_with(data, CANARY) == files_with(data, "other") == []


def test_a_server_is_given_time(
    made: Callable[..., Any],
    store: AccountStore,
    site: Site,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(removals_module, "_PATIENCE_S", 0.2)
    with data_lock(data):
        document = made("visitor", "delete", site.id, f"{CANARY}-visitor", "--yes")
    assert document == {"site": site.id, "done": False}
    (order,) = store.removal_orders()
    assert (order.site_id, order.visitor_id) == (site.id, f"{CANARY}-visitor")
    # The next one that may does both.
    made("visitor", "delete", site.id, "nobody", "--yes")
    assert visitors(data) == [("other",)]
    assert store.removal_orders() == []


def test_nothing_is_deleted_unasked(
    run: Callable[..., Result], store: AccountStore, site: Site
) -> None:
    asked = run("site", "delete", site.id, stdin="n\n")
    assert asked.exit_code == 130
    assert "Delete news.example and all of its events for good?" in asked.output
    quiet = run("site", "delete", site.id, "--json")
    assert quiet.exit_code == 2
    assert "--yes" in quiet.output
    assert "There is no site 'nothing'" in failure(run("site", "delete", "nothing", "--yes"))
    assert "There is no site 'nothing'" in failure(
        run("visitor", "delete", "nothing", "v", "--yes")
    )
    assert "visitor_id" in failure(run("visitor", "delete", site.id, "", "--yes"))
    assert store.get_site(site.id) == site
    assert store.removal_orders() == []


def test_retention(
    run: Callable[..., Result], made: Callable[..., Any], store: AccountStore, site: Site
) -> None:
    assert made("site", "update", site.id, "--retention-days", "400")["retention_days"] == 400
    assert made("site", "update", site.id, "--public")["retention_days"] == 400
    shown = run("site", "update", site.id, "--private")
    assert (
        shown.stdout.splitlines()[0] == "news.example is private and keeps its events for 400 days."
    )
    assert made("site", "update", site.id, "--retention-days", "none")["retention_days"] is None
    assert store.sites_with_retention() == []
    for wrong in ("0", "-1", "1.5", "many"):
        assert run("site", "update", site.id, "--retention-days", wrong).exit_code == 2
    assert "36500" in failure(run("site", "update", site.id, "--retention-days", "36501"))
