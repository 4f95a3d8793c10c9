"""Folding workspace events of a DuckDB file into states and rollups."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Insert,
    Select,
    Table,
    Update,
    column,
    exists,
    func,
    insert,
    select,
    table,
    update,
)

from footfall.events import workspace_state as state
from footfall.events.duckdb.folding import AFTER_SEQ, THROUGH_SEQ, add_up
from footfall.events.duckdb.sql import (
    INCOMING,
    Connection,
    Mark,
    run,
    run_template,
    template_of,
)
from footfall.events.workspace_rollups import ROLLUPS, WorkspaceRollup
from footfall.ingest.model import EventBatch

#: Events that are not folded cost every read something, more than those of the rollups: there are
#: at most this many of them, and for at most this long while commits go on.
_FOLD_ROWS: Final = 20_000
_FOLD_S: Final = 2.0

IN_STATES: Final = Mark("workspace_folded")
IN_ROLLUPS: Final = Mark("workspace_rolled_up")
#: The tables of events that update states, and of those that rollups sum up.
_OF_STATES: Final = {entity.events.name: entity.events for entity in state.ENTITIES}
_OF_ROLLUPS: Final = {rollup.events.name: rollup.events for rollup in ROLLUPS}


def run_merging(
    connection: Connection,
    entity: state.Entity,
    statement: Select[Any],
    values: Mapping[str, Any],
    *,
    of_workspace: bool,
) -> Connection:
    """Run a statement that makes states of what is folded and of events after `folded_seq`, in the
    transaction that is open.
    """
    late = state.overtaken(entity, of_workspace=of_workspace)
    overtaken = run_template(connection, late, values).to_arrow_table()  # noqa: F841 - DuckDB finds it by name in this frame
    compiled = template_of(statement)
    return connection.execute(compiled.sql, compiled.parameters(values))


class WorkspaceFolds:
    """What the writer knows of the states and rollups: which events are not in them yet.

    Readers ask from their own threads. An event is noted before its commit is acknowledged, and
    forgotten after the fold that holds it is committed, so that whoever is told that there is no
    tail misses nothing in the states.
    """

    def __init__(self, fold_rows: int) -> None:
        self._fold_rows = fold_rows
        self._folded_at = time.monotonic()
        #: Events that are not folded; those that had been stored before may be counted, too.
        self._for_states = self._for_rollups = 0
        #: The table and the workspace of each of them. A fold puts another set in its place and
        #: takes nothing out of this one, so that a reader can tell whether there was one.
        self.tails: set[tuple[str, str]] = set()

    def load(self, connection: Connection) -> None:
        """Take over what the store holds, at start."""
        self.tails = set()
        for tables, seq in (
            (_OF_STATES, IN_STATES.seq(connection)),
            (_OF_ROLLUPS, IN_ROLLUPS.seq(connection)),
        ):
            for name, events in tables.items():
                counted = (
                    select(events.c.workspace_id, func.count())
                    .where(events.c.seq > seq)
                    .group_by(events.c.workspace_id)
                )
                for workspace_id, rows in run(connection, counted).fetchall():
                    self._note(name, workspace_id, rows)

    def note(self, batches: Sequence[EventBatch]) -> None:
        """Note what a commit is asked to store, before it does."""
        for batch in batches:
            self._note(batch.table.value, batch.tenant_id, len(batch))

    def _note(self, name: str, workspace_id: str, rows: int) -> None:
        if name in _OF_STATES:
            self._for_states += rows
        elif name in _OF_ROLLUPS:
            self._for_rollups += rows
        else:
            return
        self.tails.add((name, workspace_id))

    def has_tail(self, events: Table, workspace_id: str) -> bool:
        """Whether the workspace may have events of a table that are not folded."""
        return (events.name, workspace_id) in self.tails

    def due(self, *, idle: bool) -> bool:
        """Whether it is time to fold."""
        late = time.monotonic() - self._folded_at >= _FOLD_S
        return (
            self._for_states >= min(self._fold_rows, _FOLD_ROWS)
            or self._for_rollups >= self._fold_rows
            or (self._for_states + self._for_rollups > 0 and (late or idle))
        )

    def fold(self, connection: Connection, through_seq: int) -> None:
        """Bring states and rollups up to an event, in the transaction that is open."""
        grown = {name for name, _ in self.tails}
        values = {"folded_seq": IN_STATES.seq(connection)}
        for entity in state.ENTITIES:
            if entity.events.name in grown:
                _bring_up(connection, entity, values)
        IN_STATES.move(connection, through_seq)
        values = {"after_seq": IN_ROLLUPS.seq(connection), "through_seq": through_seq}
        for rollup in ROLLUPS:
            if rollup.events.name in grown:
                _roll_up(connection, rollup, values)
        IN_ROLLUPS.move(connection, through_seq)

    def folded(self) -> None:
        """Note that a fold of all events is committed."""
        self._folded_at = time.monotonic()
        self._for_states = self._for_rollups = 0
        self.tails = set()


def _roll_up(connection: Connection, rollup: WorkspaceRollup, values: Mapping[str, Any]) -> None:
    """Add the events of a fold to a rollup."""
    sums = tuple(rollup.sums)
    rows = _grown(rollup)
    add_up(connection, rollup.table, rollup.key_names, sums, "start_us", rows, values)


@cache
def _grown(rollup: WorkspaceRollup) -> Select[Any]:
    """Return what the events of a fold add to a rollup."""
    seq = rollup.events.c.seq
    return rollup.folded(seq > AFTER_SEQ, seq <= THROUGH_SEQ)


@cache
def _renewal(entity: state.Entity) -> tuple[Update, Insert]:
    """Return what renews the states that are there, and what stores the others."""
    states = entity.states
    names = states.columns.keys()
    incoming = table(INCOMING, *(column(name) for name in names))
    same = states.c[entity.key] == incoming.c[entity.key]
    news = {name: incoming.c[name] for name in names if name != entity.key}
    new = select(incoming).where(~exists().where(same)).order_by(incoming.c.ts_us)
    return update(states).values(news).where(same), insert(states).from_select(names, new)


def _bring_up(connection: Connection, entity: state.Entity, values: Mapping[str, Any]) -> None:
    """Bring the states of all that has events after `folded_seq` up to date."""
    merged = run_merging(connection, entity, state.changed(entity), values, of_workspace=False)
    delta = merged.to_arrow_table()
    for statement in _renewal(entity):
        run_template(connection, statement, {}, delta)
