"""Adding sums to the rows of a rollup."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Select, Table, and_, column, exists, insert, literal_column, select, update
from sqlalchemy import table as named_table

from footfall.events.duckdb.sql import INCOMING, Connection, run


def add_up(
    connection: Connection,
    target: Table,
    keys: Sequence[str],
    sums: Sequence[str],
    time_key: str,
    rows: Select[tuple[object, ...]],
) -> None:
    """Add the rows of a statement, which have a key once, to a rollup's table.

    `time_key` is the key that grows with time, about in the order of which rows are stored.
    """
    delta: pa.Table = run(connection, rows).to_arrow_table()
    if not len(delta):
        return
    incoming = named_table(INCOMING, *(column(name) for name in delta.column_names))
    # The range is implied by the join; stated, it lets whole blocks be skipped, so that a fold
    # takes as long however old the history is.
    times = pc.min_max(delta[time_key])
    same = and_(
        target.c[time_key].between(times["min"].as_py(), times["max"].as_py()),
        *(target.c[name] == incoming.c[name] for name in keys),
    )
    grown = {name: target.c[name] + incoming.c[name] for name in sums}
    run(connection, update(target).values(grown).where(same), delta)
    by_key = [incoming.c[name] for name in keys]
    new = select(incoming).where(~exists().where(same)).order_by(*by_key)
    # An INSERT that returns something runs on one thread. On two, DuckDB prepares row groups for
    # each of them, which takes twice the time for so few rows.
    inserted = insert(target).from_select(delta.column_names, new)
    run(connection, inserted.returning(literal_column("1")), delta)
