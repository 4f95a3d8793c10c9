"""Stores on every engine: SQLite in a file, and a PostgreSQL that runs for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from tests.accounts import postgresql


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    with postgresql.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes the URL of a store that does not exist yet, on each engine in turn."""
    if request.param == "postgresql":
        server: postgresql.Server = request.getfixturevalue("server")
        return server.new_database
    names = iter(range(1000))
    return lambda: f"sqlite:///{tmp_path}/accounts-{next(names)}.sqlite"


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def store(url: str) -> Iterator[AccountStore]:
    store = open_account_store(url)
    yield store
    store.close()
