"""Asking a DuckDB file about a workspace: states, rollups, and what is not in them yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Select

from footfall.analytics.metrics.questions import (
    Calls,
    CallsQuery,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.durations import HOUR_US
from footfall.events import metric_statements, workspace_rollups
from footfall.events.duckdb.engine import DuckDBEngine
from footfall.events.duckdb.reader import DuckDBReader
from footfall.events.duckdb.sql import Connection, fetch, fetch_columns, snapshot
from footfall.events.duckdb.workspace_folds import (
    IN_ROLLUPS,
    IN_STATES,
    WorkspaceFolds,
    run_merging,
)
from footfall.events.metric_statements import LogParts, LogSearch
from footfall.events.workspace_rollups import API_CALLS, MODELS, Part, WorkspaceRollup
from footfall.events.workspace_state import Entity, Standing

T = TypeVar("T")

#: Makes a statement for the parts of a range.
_OfParts = Callable[[frozenset[Part]], Select[Any]]


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
        if entity is not None and self._folds.has_tail(entity.events, query.workspace_id):
            rows = fetch_current(
                connection,
                entity,
                lambda standing: metric_statements.tallies(query, standing),
                values,
            )
        elif (rollup := workspace_rollups.for_tallies(query)) is not None:
            rows = self._at_one_moment(
                connection, rollup, query.workspace_id, lambda moment: moment.tallies(query, rollup)
            )
        else:
            # One statement is a snapshot by itself.
            rows = fetch(connection, metric_statements.tallies(query, Standing.FOLDED), values)
        return metric_statements.tallies_of(query, rows)

    async def usage(self, query: UsageQuery, timeout_s: float) -> list[Usage]:
        """See WorkspaceHistory.usage."""
        return await self._engine.read(lambda connection: self._usage(connection, query), timeout_s)

    def _usage(self, connection: Connection, query: UsageQuery) -> list[Usage]:
        rollup = workspace_rollups.for_usage(query)
        if rollup is None:
            values = metric_statements.usage_values(query)
            rows = fetch(connection, metric_statements.usage(query), values)
            return metric_statements.usages_of(query, rows)
        return self._at_one_moment(
            connection, rollup, query.workspace_id, lambda moment: moment.usage(query, rollup)
        )

    async def api_calls(self, query: CallsQuery, timeout_s: float) -> Calls:
        """See WorkspaceHistory.api_calls."""
        return await self._engine.read(
            lambda connection: self._api_calls(connection, query), timeout_s
        )

    def _api_calls(self, connection: Connection, query: CallsQuery) -> Calls:
        return self._at_one_moment(
            connection,
            API_CALLS,
            query.workspace_id,
            lambda moment: moment.api_calls(query),
        )

    def _at_one_moment(
        self,
        connection: Connection,
        rollup: WorkspaceRollup,
        workspace_id: str,
        work: Callable[[_Moment], T],
    ) -> T:
        """Return what the work finds, all of it as of one moment.

        While the rollup has all events of the workspace, whatever is read of it stays the same: so
        the work is done without a transaction, which would take as long as a small statement, and
        done again if events came meanwhile.
        """
        events = rollup.events
        tails = self._folds.tails
        if not self._folds.has_tail(events, workspace_id):
            found = work(_Moment(connection, None))
            if self._folds.tails is tails and not self._folds.has_tail(events, workspace_id):
                return found
        with snapshot(connection):
            return work(_Moment(connection, IN_ROLLUPS.seq(connection)))


@dataclass(frozen=True, slots=True)
class _Moment:
    """What there is of rollups, and of the events that are not in them, at a moment."""

    connection: Connection
    #: Events after this sequence number are not in the rollups; None if the workspace has none.
    rolled_up_seq: int | None

    def tallies(self, query: TallyQuery, rollup: WorkspaceRollup) -> list[Any]:
        """Return the rows of a query that a rollup answers."""
        return self._rows(
            rollup,
            query,
            lambda parts: metric_statements.rolled_up_tallies(query, rollup, parts),
            metric_statements.tally_values(query),
        )

    def usage(self, query: UsageQuery, rollup: WorkspaceRollup) -> list[Usage]:
        """Return the answer to a query of which a rollup has all but the models."""
        rows = self._rows(
            rollup,
            query,
            lambda parts: metric_statements.rolled_up_usage(
                query.group, query.naming, rollup, parts, caches=query.caches
            ),
        )
        usages = metric_statements.totals_of(rows)
        if query.unpriced == "models" and any(usage.unpriced for usage in usages):
            rows = self._rows(
                MODELS,
                query,
                lambda parts: metric_statements.rolled_up_models(query.naming, parts),
            )
            usages += metric_statements.models_of(rows)
        return usages

    def api_calls(self, query: CallsQuery) -> Calls:
        """Return a page of the log of calls."""
        search = LogSearch(query)
        first_us = query.range_us[0] // HOUR_US * HOUR_US
        asked = self._asked(API_CALLS, query, metric_statements.rolled_up_calls)
        counted = fetch_columns(self.connection, *asked)
        search.narrow(LogParts.of(counted["ts_us"], counted["calls"], first_us, HOUR_US))
        while search.wide:
            rows = fetch(self.connection, metric_statements.log_parts(), search.values)
            search.narrow(search.parts(rows))
        page: list[Any] = []
        if search.found:
            page = fetch(self.connection, metric_statements.log_page(), search.values)
        return metric_statements.calls_of(search, page)

    def _rows(
        self,
        rollup: WorkspaceRollup,
        query: TallyQuery | UsageQuery,
        statement: _OfParts,
        values: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[Any]:
        """Return the rows of a statement on a rollup and what is not in it; it may take values of
        its own.
        """
        template, everything = self._asked(rollup, query, statement)
        return fetch(self.connection, template, {**values, **everything})

    def _asked(
        self,
        rollup: WorkspaceRollup,
        query: TallyQuery | UsageQuery | CallsQuery,
        statement: _OfParts,
    ) -> tuple[Select[Any], dict[str, Any]]:
        """Return a statement for the parts of a range that there are, and what it takes."""
        ends = workspace_rollups.values(rollup, query.range_us or (0, 0))
        parts = workspace_rollups.parts_of(ends, all_folded=self.rolled_up_seq is None)
        values = {**ends, "workspace_id": query.workspace_id, "rolled_up_seq": self.rolled_up_seq}
        return statement(parts), values


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
        values = {**values, "folded_seq": IN_STATES.seq(connection)}
        tail = statement(Standing.TAIL)
        return run_merging(connection, entity, tail, values, of_workspace=True).fetchall()
