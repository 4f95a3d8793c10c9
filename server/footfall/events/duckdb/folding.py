"""Adding sums to the rows of a rollup."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Select,
    Table,
    and_,
    bindparam,
    column,
    exists,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy import table as named_table

from footfall.events.duckdb.sql import INCOMING, Connection, run_template

#: Between which sequence numbers the events of a fold are: after the first, up to the second.
AFTER_SEQ: Final = bindparam("after_seq", None, BigInteger)
THROUGH_SEQ: Final = bindparam("through_seq", None, BigInteger)


def add_up(
    connection: Connection,
    target: Table,
    keys: tuple[str, ...],
    sums: tuple[str, ...],
    time_key: str,
    rows: Select[Any],
    values: Mapping[str, Any],
) -> None:
    """Add the rows of a statement, which have a key once, to a rollup's table.

    The statement is built once and takes `values`. `time_key` is the key that grows with time,
    about in the order of which rows are stored.
    """
    delta: pa.Table = run_template(connection, rows, values).to_arrow_table()
    if not len(delta):
        return
    times = pc.min_max(delta[time_key])
    range_of = {"first": times["min"].as_py(), "last": times["max"].as_py()}
    for statement in _additions(target, keys, sums, time_key):
        run_template(connection, statement, range_of, delta)


@cache
def _additions(
    target: Table, keys: tuple[str, ...], sums: tuple[str, ...], time_key: str
) -> tuple[ClauseElement, ...]:
    """Return what adds to the rows that are there, and what stores the others."""
    names = (*keys, *sums)
    incoming = named_table(INCOMING, *(column(name) for name in names))
    first, last = bindparam("first", None, BigInteger), bindparam("last", None, BigInteger)
    # The range is implied by the join; stated, it lets whole blocks be skipped, so that a fold
    # takes as long however old the history is.
    same = and_(
        target.c[time_key].between(first, last),
        *(target.c[name] == incoming.c[name] for name in keys),
    )
    grown = {name: target.c[name] + incoming.c[name] for name in sums}
    by_key = [incoming.c[name] for name in keys]
    new = select(incoming).where(~exists().where(same)).order_by(*by_key)
    # An INSERT that returns something runs on one thread. On two, DuckDB prepares row groups for
    # each of them, which takes twice the time for so few rows.
    inserted: ClauseElement = insert(target).from_select(names, new).returning(literal_column("1"))
    return update(target).values(grown).where(same), inserted
