"""Whatever a caller writes: it is refused, or it sees nothing but its own website."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from footfall.analytics.custom.grammar import ENGINE_FUNCTIONS
from footfall.analytics.custom.sql import parse_statement
from footfall.analytics.custom.views import VIEWS
from footfall.errors import InvalidInputError
from footfall.events import sandbox
from footfall.events.sandbox.sandbox import _definition
from tests.analytics.custom.hostile import HOSTILE

REASONS = {"FORBIDDEN_OPERATION", "VALIDATION_ERROR", "QUERY_TOO_COMPLEX"}
#: What a message of ours never says, be it of the parser or of the engine.
INNER = ("sqlglot", "duckdb", "<class", "Traceback", "Exception", "LINE 1", "Error:", "Expr")


def test_there_are_enough() -> None:
    statements = [statement for listed in HOSTILE.values() for statement in listed]
    assert len(statements) == len(set(statements)) > 350


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_statement_is_refused_in_our_own_words(kind: str) -> None:
    for statement in HOSTILE[kind]:
        with pytest.raises(InvalidInputError) as caught:
            parse_statement(statement, {"n": 1})
        assert caught.value.reason in REASONS, statement
        said = caught.value.message.replace(repr(statement), "")
        if "duckdb" not in statement:
            assert not any(inner in said for inner in INNER), said
        assert len(said) < 400


@pytest.fixture(scope="module")
def child() -> ModuleType:
    path = Path(sandbox.__file__).with_name("child.py")
    spec = importlib.util.spec_from_file_location("sandbox_child", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def database(child: ModuleType) -> Iterator[Any]:
    """Makes the database that statements run in, in this process."""
    made = []
    text = {name for view in VIEWS.values() for name in view.columns}
    columns = text - {"time", "local_time", "local_date", "type", "engaged_seconds"}
    rows = {name: ["own"] for name in columns} | {
        "kind": [1], "ts_us": [0], "local_us": [0], "engaged_seconds": [0.0], "properties": ["{}"],
    }  # fmt: skip

    def make() -> tuple[duckdb.DuckDBPyConnection, dict[str, Any]]:
        fd = os.memfd_create("rows")
        with os.fdopen(os.dup(fd), "wb") as file:
            pq.write_table(pa.table(rows), file)
        job = {
            "memory_mb": 64,
            "tables": list(VIEWS),
            "views": [_definition(view, view.columns) for view in VIEWS.values()],
            "functions": sorted(ENGINE_FUNCTIONS),
        }
        made.append(child._database(job, str(fd)))
        return made[-1], job

    yield make
    for connection in made:
        connection.close()


@pytest.mark.parametrize("kind", ["files", "system", "not a select", "stacked"])
def test_the_engine_refuses_what_the_parser_would_let_through(
    kind: str, child: ModuleType, database: Any
) -> None:
    connection, job = database()
    for statement in HOSTILE[kind]:
        try:
            child._check(connection, job | {"sql": statement})
        except (child.RefusedError, duckdb.Error):
            continue
        # What it takes for harmless has no table but the views, and perhaps unknown columns.
        try:
            found = connection.execute(statement).fetchall()
        except duckdb.Error:
            continue
        assert not any(thing in repr(found) for thing in ("root:", "MiB", "stored")), statement


@pytest.mark.parametrize("kind", ["files", "system", "not a select", "tricks"])
def test_the_database_itself_has_nothing_to_give(kind: str, database: Any) -> None:
    """Without any check: no file is read or written, no setting is changed."""
    connection, _ = database()
    for statement in HOSTILE[kind]:
        if "sleep" in statement or not statement.strip():
            continue
        try:
            found = connection.execute(statement).fetchall()
        except (duckdb.Error, UnicodeError):
            continue
        assert "root:" not in repr(found), statement
        assert "/home" not in repr(found), statement
    assert not list(Path("/tmp").glob("stolen*"))
    for setting in ("enable_external_access = true", "memory_limit = '8GB'", "threads = 8"):
        with pytest.raises(duckdb.Error):
            connection.execute(f"SET {setting}")
    for statement in ("COPY (SELECT 1) TO '/tmp/stolen.csv'", "ATTACH '/tmp/stolen.duckdb'"):
        with pytest.raises(duckdb.PermissionException):
            connection.execute(statement)
