"""Stores on every engine that runs in process: the suites here hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from footfall.events import EventStore, open_event_store
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.migrations import known_migrations
from tests.events.traffic import FakeClock

#: Few, so that tests with few events see folds.
FOLD_ROWS = 25


class Engine:
    """A place for one store, to be opened, closed and opened again."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.clock = FakeClock()
        self._stores: list[EventStore] = []

    def open(self) -> EventStore:
        store: EventStore
        if self.name == "duckdb":
            path = self.url.removeprefix("duckdb:///")
            store = DuckDBStore(path, memory_mb=200, clock=self.clock, fold_rows=FOLD_ROWS)
        else:
            store = open_event_store(self.url, clock=self.clock)
        self._stores.append(store)
        return store

    def reopen(self) -> EventStore:
        """Close what is open, as a restart of the server does, and open it again."""
        self.close()
        return self.open()

    def close(self) -> None:
        while self._stores:
            self._stores.pop().close()


@pytest.fixture(scope="session")
def chdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """chDB has one engine a process, so all tests share it, each with a database to itself."""
    directory = tmp_path_factory.mktemp("chdb")
    client = clickhouse_connect.get_client(interface="chdb", path=str(directory))
    yield client
    client.close()


@pytest.fixture(scope="session")
def chdb_directory(chdb: Any) -> Path:
    return Path(chdb.path)


@pytest.fixture(params=["duckdb", "chdb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "duckdb":
        url = f"duckdb:///{tmp_path}/events.duckdb"
    else:
        client = request.getfixturevalue("chdb")
        _empty(client, "tests")
        url = f"chdb:///{client.path}?database=tests"
    engine = Engine(request.param, url)
    yield engine
    engine.close()


def _empty(client: Any, database: str) -> None:
    """Empty the tables of a database of this version's schema, which takes a tenth of the time that
    it takes to make them; otherwise drop it.
    """
    found = f"SELECT name FROM system.tables WHERE database = '{database}' AND engine LIKE '%Tree'"
    names = [name for (name,) in client.query(found).result_rows]
    if "schema_migrations" not in names:
        return
    versions = client.query(f"SELECT version FROM {database}.schema_migrations").result_rows
    if sorted(versions) != [(known.version,) for known in known_migrations("clickhouse")]:
        client.command(f"DROP DATABASE {database}")
        return
    for name in set(names) - {"schema_migrations"}:
        client.command(f"TRUNCATE TABLE {database}.{name}")


@pytest.fixture
def store(engine: Engine) -> EventStore:
    return engine.open()
