"""Workspace events in a DuckDB file: folding them into states, and asking both in one snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    bindparam,
    column,
    except_,
    exists,
    func,
    insert,
    select,
    table,
    union_all,
    update,
)

from footfall.analytics.metrics.questions import (
    Calls,
    CallsQuery,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.events import metric_statements
from footfall.events.duckdb.engine import DuckDBEngine
from footfall.events.duckdb.reader import DuckDBReader
from footfall.events.duckdb.sql import (
    INCOMING,
    Connection,
    fetch,
    run,
    snapshot,
    template_of,
)
from footfall.events.metric_statements import LogSearch
from footfall.events.verify import StateDifference
from footfall.events.workspace_state import (
    ENTITIES,
    Entity,
    Standing,
    changed,
    has_tail,
    made,
    overtaken,
)
from footfall.ingest.model import EventBatch

#: Events that are not folded cost every read something, more than those of the rollups: there are
#: at most this many of them, and for at most this long while commits go on.
_FOLD_ROWS: Final = 20_000
_FOLD_S: Final = 2.0

_folded: Final = table("workspace_folded", column("through_seq", BigInteger))
_FOLDED_SEQ: Final = select(_folded.c.through_seq)
_ROWS: Final = bindparam("rows_max", None, Integer)
_TABLES: Final = frozenset(entity.events.name for entity in ENTITIES)


class WorkspaceStates:
    """What the writer knows of the states: which events are not in them yet.

    Readers ask `has_tail` from their own threads. An event is noted before its commit is
    acknowledged, and forgotten after the fold that holds it is committed, so that whoever is told
    that there is no tail misses nothing in the states.
    """

    def __init__(self, fold_rows: int) -> None:
        self._fold_rows = min(fold_rows, _FOLD_ROWS)
        self._folded_at = time.monotonic()
        #: Events that are not folded; those that had been stored before may be counted, too.
        self._pending = 0
        #: The table and the workspace of each of them; replaced, never emptied.
        self._tails: set[tuple[str, str]] = set()

    def load(self, connection: Connection) -> None:
        """Take over what the store holds, at start."""
        folded_seq = _folded_seq(connection)
        for entity in ENTITIES:
            events = entity.events
            counted = (
                select(events.c.workspace_id, func.count())
                .where(events.c.seq > folded_seq)
                .group_by(events.c.workspace_id)
            )
            for workspace_id, rows in run(connection, counted).fetchall():
                self._pending += rows
                self._tails.add((events.name, workspace_id))

    def note(self, batches: Sequence[EventBatch]) -> None:
        """Note what a commit is asked to store, before it does."""
        for batch in batches:
            if batch.table.value in _TABLES:
                self._pending += len(batch)
                self._tails.add((batch.table.value, batch.tenant_id))

    def has_tail(self, entity: Entity, workspace_id: str) -> bool:
        """Whether the workspace may have events that are not folded."""
        return (entity.events.name, workspace_id) in self._tails

    def due(self, *, idle: bool) -> bool:
        """Whether it is time to fold."""
        late = time.monotonic() - self._folded_at >= _FOLD_S
        return self._pending >= self._fold_rows or (self._pending > 0 and (late or idle))

    def fold(self, connection: Connection, through_seq: int) -> None:
        """Bring the states up to an event, in the transaction that is open."""
        values = {"folded_seq": _folded_seq(connection)}
        for entity in ENTITIES:
            _bring_up(connection, entity, values)
        run(connection, update(_folded).values(through_seq=through_seq))

    def folded(self) -> None:
        """Note that a fold is committed."""
        self._folded_at = time.monotonic()
        self._pending = 0
        self._tails = set()


class DuckDBWorkspaceReader(DuckDBReader):
    """A WorkspaceHistory, too."""

    def __init__(self, engine: DuckDBEngine, states: WorkspaceStates) -> None:
        super().__init__(engine)
        self._states = states

    async def tallies(self, query: TallyQuery, timeout_s: float) -> list[Tally]:
        """See WorkspaceHistory.tallies."""
        return await self._engine.read(
            lambda connection: self._tallies(connection, query), timeout_s
        )

    def _tallies(self, connection: Connection, query: TallyQuery) -> list[Tally]:
        values = metric_statements.tally_values(query)
        entity = metric_statements.ENTITIES.get(query.source)
        if entity is not None and self._states.has_tail(entity, query.workspace_id):
            rows = fetch_current(
                connection,
                entity,
                lambda standing: metric_statements.tallies(query, standing),
                values,
            )
        else:
            # One statement is a snapshot by itself.
            rows = fetch(connection, metric_statements.tallies(query, Standing.FOLDED), values)
        return metric_statements.tallies_of(query, rows)

    async def usage(self, query: UsageQuery, timeout_s: float) -> list[Usage]:
        """See WorkspaceHistory.usage."""
        statement = metric_statements.usage(query)
        values = metric_statements.usage_values(query)
        return await self._engine.read(
            lambda connection: metric_statements.usages_of(
                query, fetch(connection, statement, values)
            ),
            timeout_s,
        )

    async def api_calls(self, query: CallsQuery, timeout_s: float) -> Calls:
        """See WorkspaceHistory.api_calls."""
        return await self._engine.read(lambda connection: _api_calls(connection, query), timeout_s)


def fetch_current(
    connection: Connection,
    entity: Entity,
    statement: Callable[[Standing], Select[Any]],
    values: Mapping[str, Any],
) -> list[Any]:
    """Return the rows of a statement on a workspace's entities in their present state, whether or
    not there are events that are not folded.
    """
    with snapshot(connection):
        values = {**values, "folded_seq": _folded_seq(connection)}
        late = _arrow(connection, overtaken(entity, of_workspace=True), values)
        return _run(connection, statement(Standing.TAIL), values, late).fetchall()


def wrong_states(connection: Connection, rows_max: int) -> list[StateDifference]:
    """Return the first folded states that are not what their events say, at most `rows_max`.

    Reads all events of runs, documents and triggers, in the snapshot that is open.
    """
    found: list[StateDifference] = []
    values: dict[str, Any] = {"folded_seq": _folded_seq(connection)}
    for entity in ENTITIES:
        values["rows_max"] = rows_max - len(found)
        rows = fetch(connection, _differing(entity), values)
        found += [StateDifference(entity.states.name, *row) for row in rows]
    return found


@cache
def _differing(entity: Entity) -> Select[Any]:
    """Return (workspace, id) of states that are stored but not made of events, or the reverse."""
    stored, anew = select(entity.states), made(entity)
    either = union_all(
        select(except_(stored, anew).subquery("stored")),
        select(except_(anew, stored).subquery("anew")),
    ).subquery("either")
    names = (either.c.workspace_id, either.c[entity.id])
    return select(*names).distinct().order_by(*names).limit(_ROWS)


def _api_calls(connection: Connection, query: CallsQuery) -> Calls:
    search = LogSearch(query)
    with snapshot(connection):
        while search.wide:
            search.narrow(fetch(connection, metric_statements.log_parts(), search.values))
        page: list[Any] = []
        if search.found:
            page = fetch(connection, metric_statements.log_page(), search.values)
    return metric_statements.calls_of(search, page)


def _bring_up(connection: Connection, entity: Entity, values: Mapping[str, Any]) -> None:
    """Bring the states of all that has events after `folded_seq` up to date."""
    if not fetch(connection, has_tail(entity), values):
        return
    late = _arrow(connection, overtaken(entity, of_workspace=False), values)
    delta = _run(connection, changed(entity), values, late).to_arrow_table()
    states = entity.states
    incoming = table(INCOMING, *(column(name) for name in delta.column_names))
    same = states.c[entity.key] == incoming.c[entity.key]
    news = {name: incoming.c[name] for name in delta.column_names if name != entity.key}
    run(connection, update(states).values(news).where(same), delta)
    new = select(incoming).where(~exists().where(same)).order_by(incoming.c.ts_us)
    run(connection, insert(states).from_select(delta.column_names, new), delta)


def _arrow(connection: Connection, statement: Select[Any], values: Mapping[str, Any]) -> pa.Table:
    compiled = template_of(statement)
    return connection.execute(compiled.sql, compiled.parameters(values)).to_arrow_table()


def _run(
    connection: Connection,
    statement: Select[Any],
    values: Mapping[str, Any],
    overtaken: pa.Table | None,  # noqa: ARG001 - DuckDB finds it by name in this frame
) -> Connection:
    """Run a statement, which may read the table OVERTAKEN."""
    compiled = template_of(statement)
    return connection.execute(compiled.sql, compiled.parameters(values))


def _folded_seq(connection: Connection) -> int:
    ((seq,),) = fetch(connection, _FOLDED_SEQ, {})
    return int(seq)
