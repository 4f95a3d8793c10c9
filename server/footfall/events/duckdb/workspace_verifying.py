"""Comparing a DuckDB file's states and sums of workspace events with the events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import Integer, Select, bindparam, except_, select, union_all

from footfall.events.duckdb.sql import Connection, fetch, run
from footfall.events.duckdb.workspace_folds import IN_ROLLUPS, IN_STATES
from footfall.events.verify import StateDifference
from footfall.events.workspace_rollups import ROLLUPS, WorkspaceRollup
from footfall.events.workspace_state import ENTITIES, Entity, made

_ROWS: Final = bindparam("rows_max", None, Integer)


def wrong_states(connection: Connection, rows_max: int) -> list[StateDifference]:
    """Return the first folded states and sums that are not what their events say, at most
    `rows_max`.

    Reads all workspace events, in the snapshot that is open.
    """
    found: list[StateDifference] = []
    values: dict[str, Any] = {"folded_seq": IN_STATES.seq(connection)}
    for entity in ENTITIES:
        values["rows_max"] = rows_max - len(found)
        rows = fetch(connection, _differing_states(entity), values)
        found += [StateDifference(entity.states.name, *row) for row in rows]
    through_seq = IN_ROLLUPS.seq(connection)
    for rollup in ROLLUPS:
        asked = _differing_sums(rollup, through_seq).limit(rows_max - len(found))
        found += [
            StateDifference(
                rollup.table.name,
                workspace_id,
                f"the sum from {_at(start_us)} for {_told(keys)}",
            )
            for workspace_id, start_us, *keys in run(connection, asked).fetchall()
        ]
    return found


def _told(keys: Sequence[object]) -> str:
    return ", ".join(map(str, keys))


def _at(us: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us):%Y-%m-%dT%H:%MZ}"


@cache
def _differing_states(entity: Entity) -> Select[Any]:
    """Return (workspace, id) of states that are stored but not made of events, or the reverse."""
    names = ("workspace_id", entity.id)
    return _differing(select(entity.states), made(entity), names).limit(_ROWS)


def _differing_sums(rollup: WorkspaceRollup, through_seq: int) -> Select[Any]:
    """Return (workspace, start, keys …) of sums that are not those of the events."""
    names = (*rollup.key_names, *rollup.sums)
    anew = rollup.folded(rollup.events.c.seq <= through_seq).subquery("folded")
    stored = select(*(rollup.table.c[name] for name in names))
    return _differing(stored, select(*(anew.c[name] for name in names)), rollup.key_names)


def _differing(stored: Select[Any], anew: Select[Any], names: Sequence[str]) -> Select[Any]:
    """Return some columns of the rows that only one of two statements has, in their order."""
    either = union_all(
        select(except_(stored, anew).subquery("stored")),
        select(except_(anew, stored).subquery("anew")),
    ).subquery("either")
    columns = [either.c[name] for name in names]
    return select(*columns).distinct().order_by(*columns)
