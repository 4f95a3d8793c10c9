"""The ways out of a DuckDB file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Select

from footfall.analytics.model import (
    ApiRequestRow,
    History,
    HistoryQuery,
    LiveEvent,
    Series,
    TimeseriesQuery,
    WebEventRow,
)
from footfall.events import export_statements, history, site_rows, statements
from footfall.events.duckdb.engine import DuckDBEngine
from footfall.events.duckdb.sql import FOLDED, Connection, fetch, last_seq, run, snapshot

#: LiveHistory's methods bring no deadline of their own.
_HISTORY_TIMEOUT_S: Final = 60.0


class DuckDBReader:
    """An EventReader and a LiveHistory."""

    def __init__(self, engine: DuckDBEngine) -> None:
        self._engine = engine

    def reads(self) -> int:
        """See EventStore.reads."""
        return self._engine.reads()

    async def timeseries(self, query: TimeseriesQuery, timeout_s: float) -> list[Series]:
        """See EventReader.timeseries."""
        statement = statements.timeseries(query)
        return await self._engine.read(
            lambda connection: statements.series(query, run(connection, statement).fetchall()),
            timeout_s,
        )

    async def api_requests(
        self,
        application_id: str,
        start_us: int,
        end_us: int,
        *,
        after_seq: int,
        through_seq: int,
        rows_max: int,
        timeout_s: float,
    ) -> list[ApiRequestRow]:
        """See EventReader.api_requests."""
        statement = statements.api_request_page(
            application_id, start_us, end_us, after_seq, through_seq, rows_max
        )
        return await self._fetch(statement, statements.api_request_row, timeout_s)

    async def web_events(
        self,
        site_id: str,
        start_us: int,
        end_us: int,
        *,
        after_seq: int,
        through_seq: int,
        rows_max: int,
        timeout_s: float,
    ) -> list[WebEventRow]:
        """See EventReader.web_events."""
        statement = export_statements.web_event_page(
            site_id, start_us, end_us, after_seq, through_seq, rows_max
        )
        return await self._fetch(statement, WebEventRow._make, timeout_s)

    async def last_seq(self, timeout_s: float) -> int:
        """See EventReader.last_seq."""
        return await self._engine.read(last_seq, timeout_s)

    async def ping(self, timeout_s: float) -> None:
        """See EventReader.ping."""
        await self._engine.probe(timeout_s)

    async def measure_rows(self, query: site_rows.RowsQuery, timeout_s: float) -> tuple[int, int]:
        """See SiteRows.measure_rows."""
        statement = site_rows.measure(query)
        ((events, characters),) = await self._fetch(statement, tuple, timeout_s)
        return int(events), int(characters)

    async def site_rows(
        self, query: site_rows.RowsQuery, rows_max: int, timeout_s: float
    ) -> pa.Table:
        """See SiteRows.site_rows."""
        statement = site_rows.rows(query, rows_max)
        return await self._engine.read(
            lambda connection: run(connection, statement).to_arrow_table(), timeout_s
        )

    async def active_sites(self, since_us: int, through_seq: int) -> list[str]:
        """See LiveHistory.active_sites."""
        statement = statements.active_sites(since_us, through_seq)
        return await self._fetch(statement, lambda row: row[0])

    async def recent_events(
        self, site_id: str, since_us: int, through_seq: int
    ) -> Sequence[LiveEvent]:
        """See LiveHistory.recent_events."""
        statement = statements.recent_events(site_id, since_us, through_seq)
        return await self._fetch(statement, statements.live_event)

    async def day_pageviews(
        self, site_id: str, local_day: int, through_seq: int
    ) -> Sequence[tuple[str, str, int]]:
        """See LiveHistory.day_pageviews."""
        counts = statements.day_pageviews(site_id, local_day, through_seq)
        return await self._fetch(statements.with_paths(site_id, counts), lambda row: row)

    async def day_visitors(self, site_id: str, local_day: int, through_seq: int) -> Sequence[str]:
        """See LiveHistory.day_visitors."""
        statement = statements.day_visitors(site_id, local_day, through_seq)
        return await self._fetch(statement, lambda row: row[0])

    async def _fetch(
        self,
        statement: Select[Any],
        shape: Callable[[Any], Any],
        timeout_s: float = _HISTORY_TIMEOUT_S,
    ) -> list[Any]:
        return await self._engine.read(
            lambda connection: [shape(row) for row in run(connection, statement).fetchall()],
            timeout_s,
        )


def read_history(connection: Connection, query: HistoryQuery) -> History:
    """Return the answer to a query, from rollups and tail in one snapshot."""
    with snapshot(connection):
        asked = history.parameters(query, FOLDED.seq(connection))
        first = fetch(connection, history.first_day(tail=True), asked)
        days = fetch(connection, history.days(tail=True), asked)
        pages_found: list[Any] = []
        if query.pages_max > 0:
            top = history.top_pages(query.rank_by, search=bool(asked["search"]), tail=True)
            pages_found = fetch(connection, top, asked)
    return History(
        first[0][0] if first else None,
        [history.day_count(row) for row in days],
        [history.page_count(row) for row in pages_found],
    )
