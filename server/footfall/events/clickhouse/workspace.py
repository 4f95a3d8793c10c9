"""Questions about workspaces in a ClickHouse database."""

from __future__ import annotations

import time
from typing import Any

from footfall.analytics.metrics.questions import (
    Calls,
    CallsQuery,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.events import metric_statements
from footfall.events.clickhouse.reader import ClickHouseReader
from footfall.events.metric_statements import LogSearch
from footfall.events.workspace_state import Standing


class ClickHouseWorkspaceReader(ClickHouseReader):
    """A WorkspaceHistory. States are made of events when they are read: those of a run lie beside
    each other.
    """

    async def tallies(self, query: TallyQuery, timeout_s: float) -> list[Tally]:
        """See WorkspaceHistory.tallies."""
        statement = metric_statements.tallies(query, Standing.EVENTS)
        return await self._read(
            statement.params(metric_statements.tally_values(query)),
            lambda rows: metric_statements.tallies_of(query, rows),
            timeout_s,
        )

    async def usage(self, query: UsageQuery, timeout_s: float) -> list[Usage]:
        """See WorkspaceHistory.usage."""
        statement = metric_statements.usage(query)
        return await self._read(
            statement.params(metric_statements.usage_values(query)),
            lambda rows: metric_statements.usages_of(query, rows),
            timeout_s,
        )

    async def api_calls(self, query: CallsQuery, timeout_s: float) -> Calls:
        """See WorkspaceHistory.api_calls.

        There is no snapshot to read in: a call that is stored meanwhile may move others to the
        next page.
        """
        end_s = time.monotonic() + timeout_s
        search = LogSearch(query)
        while search.wide:
            parts = metric_statements.log_parts().params(search.values)
            search.narrow(await self._read(parts, search.parts, end_s - time.monotonic()))
        page: list[Any] = []
        if search.found:
            statement = metric_statements.log_page().params(search.values)
            page = await self._read(statement, list, end_s - time.monotonic())
        return metric_statements.calls_of(search, page)
