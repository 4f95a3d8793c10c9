"""Choosing the engine by URL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from footfall.errors import InvalidInputError, UnavailableError
from footfall.events import open_event_store
from tests.events.traffic import api_batch, everything


async def test_duckdb_makes_its_directory(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/ä b/events.duckdb"
    store = open_event_store(url)
    store.commit([api_batch([{}])])
    store.close()
    store = open_event_store(url, memory_mb=100)
    assert len(await everything(store)) == 1
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "events.duckdb",
        "sqlite:///x",
        "postgresql://h/d",
        "duckdb:/",
        "duckdb://",
        "duckdb:///:memory:",
    ],
)
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(InvalidInputError, match="event store's URL"):
        open_event_store(url)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be opened") as raised:
        open_event_store(f"duckdb:///{tmp_path}/file/events.duckdb")
    assert str(tmp_path) not in str(raised.value)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "events.duckdb").write_text("not a database " * 1000)
    with pytest.raises(UnavailableError, match="cannot be opened"):
        open_event_store(f"duckdb:///{tmp_path}/events.duckdb")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(UnavailableError, match="does not answer") as raised:
        open_event_store("clickhouse://user:secret@127.0.0.1:9/footfall")
    assert "secret" not in str(raised.value)


def test_a_server_on_duckdb_loads_no_client_of_clickhouse_and_no_pandas(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["clickhouse_connect"] = None
from footfall.errors import InvalidInputError
from footfall.events import load_event_engine, open_event_store
url = "duckdb:///{tmp_path}/events.duckdb"
load_event_engine(url)
open_event_store(url).close()
others = ("clickhouse_connect.", "chdb", "pandas")
assert not [name for name in sys.modules if name.startswith(others)]
try:
    open_event_store("clickhouse://localhost/footfall")
except InvalidInputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "footfall[clickhouse]"' in done.stdout
