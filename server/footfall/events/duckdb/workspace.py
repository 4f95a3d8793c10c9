"""Workspace events in a DuckDB file: folding them into states, and asking both in one snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Insert,
    Integer,
    Select,
    Update,
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
    Measure,
    Source,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.durations import HOUR_US
from footfall.events import metric_statements, workspace_rollups
from footfall.events.duckdb.engine import DuckDBEngine
from footfall.events.duckdb.folding import AFTER_SEQ, THROUGH_SEQ, add_up
from footfall.events.duckdb.reader import DuckDBReader
from footfall.events.duckdb.sql import (
    INCOMING,
    Connection,
    fetch,
    run,
    run_template,
    snapshot,
    template_of,
)
from footfall.events.metric_statements import LogPart, LogSearch
from footfall.events.verify import StateDifference
from footfall.events.workspace_rollups import MODELS, ROLLUPS, Part, WorkspaceRollup
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
_rolled_up: Final = table("workspace_rolled_up", column("through_seq", BigInteger))
_ROLLED_UP_SEQ: Final = select(_rolled_up.c.through_seq)
_THROUGH: Final = bindparam("now_through", None, BigInteger)
_SET_FOLDED: Final = update(_folded).values(through_seq=_THROUGH)
_SET_ROLLED_UP: Final = update(_rolled_up).values(through_seq=_THROUGH)
#: The tables of events that update states, and of those that rollups sum up.
_OF_STATES: Final = {entity.events.name: entity.events for entity in ENTITIES}
_OF_ROLLUPS: Final = {rollup.events.name: rollup.events for rollup in ROLLUPS}


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
        self._unfolded = _Unfolded(0, set())

    def load(self, connection: Connection) -> None:
        """Take over what the store holds, at start."""
        rolled_up_seq = _rolled_up_seq(connection)
        self._unfolded = _Unfolded(rolled_up_seq, set())
        for tables, seq in (
            (_OF_STATES, _folded_seq(connection)),
            (_OF_ROLLUPS, rolled_up_seq),
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
        self._unfolded.tails.add((name, workspace_id))

    def has_tail(self, entity: Entity, workspace_id: str) -> bool:
        """Whether the workspace may have events that are not in its states."""
        return (entity.events.name, workspace_id) in self._unfolded.tails

    def all_rolled_up(self, rollup: WorkspaceRollup, workspace_id: str, rolled_up_seq: int) -> bool:
        """Whether a snapshot, in which events up to `rolled_up_seq` are in the rollups, surely has
        no others of the workspace.
        """
        unfolded = self._unfolded
        # A fold that the snapshot is too old for has forgotten events of its own.
        return (
            unfolded.rolled_up_seq == rolled_up_seq
            and (rollup.events.name, workspace_id) not in unfolded.tails
        )

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
        grown = {name for name, _ in self._unfolded.tails}
        values = {"folded_seq": _folded_seq(connection)}
        for entity in ENTITIES:
            if entity.events.name in grown:
                _bring_up(connection, entity, values)
        run_template(connection, _SET_FOLDED, {"now_through": through_seq})
        values = {"after_seq": _rolled_up_seq(connection), "through_seq": through_seq}
        for rollup in ROLLUPS:
            if rollup.events.name in grown:
                _roll_up(connection, rollup, values)
        run_template(connection, _SET_ROLLED_UP, {"now_through": through_seq})

    def folded(self, through_seq: int) -> None:
        """Note that a fold up to an event is committed."""
        self._folded_at = time.monotonic()
        self._for_states = self._for_rollups = 0
        self._unfolded = _Unfolded(through_seq, set())


@dataclass(frozen=True, slots=True)
class _Unfolded:
    """What there is to know at once of events that are not folded; replaced by each fold."""

    #: Events up to this sequence number are in the rollups.
    rolled_up_seq: int
    #: The table and the workspace of each of the others; never emptied, for those who have it.
    tails: set[tuple[str, str]]


class DuckDBWorkspaceReader(DuckDBReader):
    """A WorkspaceHistory, too."""

    def __init__(self, engine: DuckDBEngine, folds: WorkspaceFolds) -> None:
        super().__init__(engine)
        self._folds = folds

    async def tallies(self, query: TallyQuery, timeout_s: float) -> list[Tally]:
        """See WorkspaceHistory.tallies."""
        return await self._engine.read(
            lambda connection: self._tallies(connection, query), timeout_s
        )

    def _tallies(self, connection: Connection, query: TallyQuery) -> list[Tally]:
        values = metric_statements.tally_values(query)
        entity = metric_statements.ENTITIES.get(query.source)
        if entity is not None and self._folds.has_tail(entity, query.workspace_id):
            rows = fetch_current(
                connection,
                entity,
                lambda standing: metric_statements.tallies(query, standing),
                values,
            )
        elif (rollup := workspace_rollups.for_tallies(query)) is not None:
            with snapshot(connection):
                rows = self._rolled_up_tallies(connection, query, rollup)
        else:
            # One statement is a snapshot by itself.
            rows = fetch(connection, metric_statements.tallies(query, Standing.FOLDED), values)
        return metric_statements.tallies_of(query, rows)

    async def usage(self, query: UsageQuery, timeout_s: float) -> list[Usage]:
        """See WorkspaceHistory.usage."""
        return await self._engine.read(lambda connection: self._usage(connection, query), timeout_s)

    async def api_calls(self, query: CallsQuery, timeout_s: float) -> Calls:
        """See WorkspaceHistory.api_calls."""
        return await self._engine.read(
            lambda connection: self._api_calls(connection, query), timeout_s
        )

    def _usage(self, connection: Connection, query: UsageQuery) -> list[Usage]:
        rollup = workspace_rollups.for_usage(query)
        if rollup is None:
            values = metric_statements.usage_values(query)
            rows = fetch(connection, metric_statements.usage(query), values)
            return metric_statements.usages_of(query, rows)
        of = query.workspace_id, query.range_us
        with snapshot(connection):
            rows = self._fetch_rolled_up(
                connection,
                rollup,
                *of,
                lambda parts: metric_statements.rolled_up_usage(
                    query.group, query.naming, rollup, parts, caches=query.caches
                ),
            )
            usages = metric_statements.totals_of(rows)
            if query.unpriced == "models" and any(usage.unpriced for usage in usages):
                rows = self._fetch_rolled_up(
                    connection,
                    MODELS,
                    *of,
                    lambda parts: metric_statements.rolled_up_models(query.naming, parts),
                )
                usages += metric_statements.models_of(rows)
        return usages

    def _rolled_up_tallies(
        self, connection: Connection, query: TallyQuery, rollup: WorkspaceRollup
    ) -> list[Any]:
        return self._fetch_rolled_up(
            connection,
            rollup,
            query.workspace_id,
            query.range_us or (0, 0),
            lambda parts: metric_statements.rolled_up_tallies(query, rollup, parts),
            metric_statements.tally_values(query),
        )

    def _fetch_rolled_up(
        self,
        connection: Connection,
        rollup: WorkspaceRollup,
        workspace_id: str,
        range_us: tuple[int, int],
        statement: Callable[[frozenset[Part]], Select[Any]],
        values: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[Any]:
        """Return the rows of a statement on a rollup and what is not in it, in the open snapshot.

        The statement is made for the parts of the range, and may take values of its own.
        """
        seq = _rolled_up_seq(connection)
        ends = workspace_rollups.values(rollup, range_us)
        parts = workspace_rollups.parts_of(
            ends, all_folded=self._folds.all_rolled_up(rollup, workspace_id, seq)
        )
        everything = {**values, **ends, "workspace_id": workspace_id, "rolled_up_seq": seq}
        return fetch(connection, statement(parts), everything)

    def _api_calls(self, connection: Connection, query: CallsQuery) -> Calls:
        search = LogSearch(query)
        by_hour = TallyQuery(
            query.workspace_id,
            Source.API_CALLS,
            (Measure(),),
            range_us=query.range_us,
            bucket_us=HOUR_US,
        )
        first_us = query.range_us[0] // HOUR_US * HOUR_US
        with snapshot(connection):
            hours = self._rolled_up_tallies(connection, by_hour, workspace_rollups.API_CALLS)
            search.narrow(
                LogPart(first_us + hour * HOUR_US, first_us + (hour + 1) * HOUR_US - 1, calls)
                for _, hour, calls in hours
            )
            while search.wide:
                search.narrow(
                    search.parts(fetch(connection, metric_statements.log_parts(), search.values))
                )
            page: list[Any] = []
            if search.found:
                page = fetch(connection, metric_statements.log_page(), search.values)
        return metric_statements.calls_of(search, page)


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
    """Return the first folded states and sums that are not what their events say, at most
    `rows_max`.

    Reads all workspace events, in the snapshot that is open.
    """
    found: list[StateDifference] = []
    values: dict[str, Any] = {"folded_seq": _folded_seq(connection)}
    for entity in ENTITIES:
        values["rows_max"] = rows_max - len(found)
        rows = fetch(connection, _differing_states(entity), values)
        found += [StateDifference(entity.states.name, *row) for row in rows]
    through_seq = _rolled_up_seq(connection)
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
def _renewal(entity: Entity) -> tuple[Update, Insert]:
    """Return what renews the states that are there, and what stores the others."""
    states = entity.states
    names = states.columns.keys()
    incoming = table(INCOMING, *(column(name) for name in names))
    same = states.c[entity.key] == incoming.c[entity.key]
    news = {name: incoming.c[name] for name in names if name != entity.key}
    new = select(incoming).where(~exists().where(same)).order_by(incoming.c.ts_us)
    return update(states).values(news).where(same), insert(states).from_select(names, new)


def _bring_up(connection: Connection, entity: Entity, values: Mapping[str, Any]) -> None:
    """Bring the states of all that has events after `folded_seq` up to date."""
    if not fetch(connection, has_tail(entity), values):
        return
    late = _arrow(connection, overtaken(entity, of_workspace=False), values)
    delta = _run(connection, changed(entity), values, late).to_arrow_table()
    for statement in _renewal(entity):
        run_template(connection, statement, {}, delta)


def _arrow(connection: Connection, statement: Select[Any], values: Mapping[str, Any]) -> pa.Table:
    return run_template(connection, statement, values).to_arrow_table()


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


def _rolled_up_seq(connection: Connection) -> int:
    ((seq,),) = fetch(connection, _ROLLED_UP_SEQ, {})
    return int(seq)
