"""Statements on a DuckDB connection: compiling them, running them, reading in a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import duckdb
import numpy.typing as npt
import pyarrow as pa
from duckdb_sqlalchemy import Dialect
from sqlalchemy import (
    BigInteger,
    Select,
    String,
    Table,
    bindparam,
    column,
    insert,
    literal_column,
    select,
    table,
    update,
)
from sqlalchemy.sql.elements import ClauseElement

from footfall.events import statements

_dialect: Final = Dialect(paramstyle="numeric_dollar")

Connection = duckdb.DuckDBPyConnection

#: Arrow tables that a statement reads go by this name.
INCOMING: Final = "incoming"

migrations: Final = table(
    "schema_migrations",
    column("version", BigInteger),
    column("name", String),
    column("applied_us", BigInteger),
)


@dataclass(frozen=True, slots=True)
class Template:
    """A statement that is compiled once and run with other values each time."""

    sql: str
    names: Sequence[str]
    #: The values that the statement itself brings; its own parameters are None in it.
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, statement: ClauseElement) -> Template:
        """Compile a statement."""
        compiled = statement.compile(dialect=_dialect, compile_kwargs={"render_postcompile": True})
        names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return cls(str(compiled), names, constants)

    def parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the statement's parameters, in their order."""
        everything = {**self.constants, **values}
        return [everything[name] for name in self.names]


def compile_sql(statement: ClauseElement) -> tuple[str, list[Any]]:
    """Return a statement's text for DuckDB and its parameters."""
    template = Template.of(statement)
    return template.sql, template.parameters({})


def run(
    connection: Connection, statement: ClauseElement, incoming: pa.Table | None = None
) -> Connection:
    """Run a statement, which may read an Arrow table under the name `incoming`."""
    return execute(connection, *compile_sql(statement), incoming)


def execute(
    connection: Connection,
    sql: str,
    parameters: Sequence[Any],
    incoming: pa.Table | None,  # noqa: ARG001 - DuckDB finds it by name in the caller's frame
) -> Connection:
    """Run a statement's text; see `run`."""
    # Registering the table under the name instead takes longer than a small commit.
    return connection.execute(sql, parameters)


#: Returns the template of a statement that is built once and run often: compiling it takes as long
#: as running a small one.
template_of = cache(Template.of)


def run_template(
    connection: Connection,
    template: ClauseElement,
    values: Mapping[str, Any],
    incoming: pa.Table | None = None,
) -> Connection:
    """Run a statement that is built once and run often; see `run`."""
    compiled = template_of(template)
    return execute(connection, compiled.sql, compiled.parameters(values), incoming)


def fetch(connection: Connection, template: Select[Any], values: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a statement that is built once and run often."""
    return run_template(connection, template, values).fetchall()


def fetch_columns(
    connection: Connection, template: Select[Any], values: Mapping[str, Any]
) -> dict[str, npt.NDArray[Any]]:
    """Return the rows of a statement that is built once and run often, column by column."""
    return run_template(connection, template, values).fetchnumpy()


@cache
def _append_sql(target: Table) -> str:
    names = target.columns.keys()
    source = table(INCOMING, *(column(name) for name in names))
    # An INSERT that returns something runs on one thread. On two, DuckDB prepares row groups for
    # each of them, which takes twice the time for so few rows.
    rows = insert(target).from_select(names, select(source))
    return compile_sql(rows.returning(literal_column("1")))[0]


def append(connection: Connection, target: Table, rows: pa.Table) -> None:
    """Add the rows of an Arrow table to a table."""
    execute(connection, _append_sql(target), (), rows)


def last_seq(connection: Connection) -> int:
    """Return the highest sequence number; 0 for an empty store."""
    ((seq,),) = run(connection, statements.last_seq()).fetchall()
    return int(seq)


class Mark:
    """Up to which sequence number events have been folded into something: a table of one row."""

    def __init__(self, name: str) -> None:
        through_seq = column("through_seq", BigInteger)
        kept = table(name, through_seq)
        self._read = select(through_seq).select_from(kept)
        self._move = update(kept).values({through_seq: bindparam("seq", None, BigInteger)})

    def seq(self, connection: Connection) -> int:
        """Return the number."""
        ((seq,),) = fetch(connection, self._read, {})
        return int(seq)

    def move(self, connection: Connection, seq: int) -> None:
        """Note that the events up to another one are folded."""
        run_template(connection, self._move, {"seq": seq})


#: Of page views in the rollups.
FOLDED: Final = Mark("folded")


def applied_migrations(connection: Connection) -> set[int]:
    """Return the versions of the migrations that have been applied."""
    return {version for (version,) in run(connection, select(migrations.c.version)).fetchall()}


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Let all statements inside see the store as it is at the first of them."""
    connection.execute("BEGIN TRANSACTION READ ONLY")
    yield
    # After an error the connection is given back, which ends the transaction, too.
    connection.execute("COMMIT")
