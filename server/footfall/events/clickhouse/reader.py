"""The ways out of a ClickHouse database."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import pyarrow as pa
from sqlalchemy import BigInteger, Select, String, column, func, literal_column, select, table

from footfall.analytics.model import (
    ApiRequestRow,
    History,
    HistoryQuery,
    LiveEvent,
    PaceCounts,
    PaceQuery,
    Series,
    TimeseriesQuery,
    WebEventRow,
)
from footfall.analytics.queries.model import EventField, EventPart, EventScan, Take
from footfall.errors import DeadlineError
from footfall.events import export_statements, history, query_statements, site_rows, statements
from footfall.events.clickhouse.driver import Driver, compile_sql
from footfall.events.reading import ReadPool
from footfall.events.rollups import ROLLUPS
from footfall.events.tables import pages

T = TypeVar("T")

_READERS: Final = 4
#: LiveHistory's methods bring no deadline of their own.
_HISTORY_TIMEOUT_S: Final = 60.0

_parts: Final = table(
    "parts",
    column("database", String),
    column("table", String),
    column("active", BigInteger),
    column("max_block_number", BigInteger),
    column("data_version", BigInteger),
    schema="system",
)

#: A line for each table that history is read from.
_TABLE_VERSIONS: Final = (
    select(_parts.c.table, func.max(_parts.c.max_block_number), func.max(_parts.c.data_version))
    .where(
        _parts.c.database == func.currentDatabase(),
        _parts.c.active == 1,
        _parts.c.table.in_([pages.name, *(rollup.table.name for rollup in ROLLUPS)]),
    )
    .group_by(_parts.c.table)
    .order_by(_parts.c.table)
)


class ClickHouseReader:
    """An EventReader, a LiveHistory, and a WebHistory but for its versions, which are the
    writer's.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._pool = ReadPool(_READERS)
        #: The ids of queries under way.
        self._queries: set[str] = set()
        #: For reads that tell whether the store answers, which it does while others wait.
        self._probes = ReadPool(1)

    def reads(self) -> int:
        """See EventStore.reads."""
        return len(self._queries)

    async def timeseries(self, query: TimeseriesQuery, timeout_s: float) -> list[Series]:
        """See EventReader.timeseries."""
        statement = statements.timeseries(query)
        return await self._read(statement, lambda rows: statements.series(query, rows), timeout_s)

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
        return await self._read(statement, _each(statements.api_request_row), timeout_s)

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
        return await self._read(statement, _each(WebEventRow._make), timeout_s)

    async def last_seq(self, timeout_s: float) -> int:
        """See EventReader.last_seq."""
        return await self._read(statements.last_seq(), lambda rows: int(rows[0][0]), timeout_s)

    async def ping(self, timeout_s: float) -> None:
        """See EventReader.ping."""
        await self._run(
            select(literal_column("1")),
            lambda sql, query_id: self._driver.rows(sql, query_id=query_id, timeout_s=timeout_s),
            timeout_s,
            self._probes,
        )

    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        """See WebHistory.history.

        There are no transactions to read in, but an insert becomes visible in a table at once. So
        days and pages come from one scan of one rollup; the texts of pages may be newer. The
        site's first day is read afterwards, so that no day is before it.
        """
        asked = history.parameters(query)
        if query.pages_max > 0:
            statement = history.days_and_pages(query.rank_by, search=bool(asked["search"]))
        else:
            statement = history.days(tail=False)
        end_s = time.monotonic() + timeout_s
        rows = await self._read(statement.params(asked), list, timeout_s)
        first = await self._read(
            history.first_day(tail=False).params(asked), list, end_s - time.monotonic()
        )
        if query.pages_max > 0:
            days = [(local_day, *row[-3:]) for is_page, local_day, *row in rows if not is_page]
            pages_found = [row for is_page, _, *row in rows if is_page]
        else:
            days, pages_found = rows, []
        return History(
            first[0][0] if first else None,
            [history.day_count(row) for row in days],
            [history.page_count(row) for row in pages_found],
        )

    async def pace(self, query: PaceQuery, timeout_s: float) -> PaceCounts:
        """See WebHistory.pace; the events within a slot are read before the slots."""
        asked = history.pace_parameters(query)
        end_s = time.monotonic() + timeout_s
        (within,) = await self._read(history.within_slot().params(asked), list, timeout_s)
        slots = history.slots().params(asked)
        rows = await self._read(slots, list, end_s - time.monotonic())
        return history.pace_counts(query, within, rows)

    async def scan_events(self, scans: Sequence[tuple[EventScan, Take]], timeout_s: float) -> None:
        """See QueryReader.scan_events.

        There are no transactions to read in, but sequence numbers grow with every commit: what
        came after the first statement is left out by its number.
        """
        query_id = uuid.uuid4().hex
        end_s = time.monotonic() + timeout_s

        def fetch(statement: Select[Any]) -> pa.Table:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise DeadlineError("The query took longer than its deadline allows.")
            sql = compile_sql(statement)
            return self._driver.arrow(sql, query_id=query_id, timeout_s=left_s)

        def work() -> None:
            known_paths: pa.Table | None = None
            through_seq = int(fetch(statements.last_seq()).column(0)[0].as_py())
            for scan, take in scans:
                counted = fetch(query_statements.count(scan, through_seq))
                events = int(counted.column(0)[0].as_py())
                if not events:
                    continue
                if known_paths is None and EventField.PATH in scan.fields:
                    known_paths = fetch(query_statements.paths(scan.site_id))
                for part in query_statements.portions(
                    scan, events, query_statements.PORTION_ROWS, through_seq
                ):
                    found = query_statements.stored_rows(
                        scan.fields, fetch(part), known_paths, ordered=scan.ordered
                    )
                    take(EventPart(lambda rows=found.rows: rows))  # type: ignore[misc]

        async def stop() -> None:
            await asyncio.to_thread(self._driver.kill, query_id)

        await self._pool.run(work, stop, timeout_s)

    async def table_versions(self, timeout_s: float) -> str:
        """Return a text that changes with the tables that history is read from.

        The numbers of a table's blocks and mutations grow with every change of it.
        """
        return await self._read(_TABLE_VERSIONS, repr, timeout_s)

    async def measure_rows(self, query: site_rows.RowsQuery, timeout_s: float) -> tuple[int, int]:
        """See SiteRows.measure_rows."""
        ((events, characters),) = await self._read(site_rows.measure(query), list, timeout_s)
        return int(events), int(characters)

    async def site_rows(
        self, query: site_rows.RowsQuery, rows_max: int, timeout_s: float
    ) -> pa.Table:
        """See SiteRows.site_rows."""
        return await self._run(
            site_rows.rows(query, rows_max),
            lambda sql, query_id: self._driver.arrow(sql, query_id=query_id, timeout_s=timeout_s),
            timeout_s,
        )

    async def active_sites(self, since_us: int, through_seq: int) -> list[str]:
        """See LiveHistory.active_sites."""
        return await self._read(statements.active_sites(since_us, through_seq), _each(_first))

    async def recent_events(
        self, site_id: str, since_us: int, through_seq: int
    ) -> Sequence[LiveEvent]:
        """See LiveHistory.recent_events."""
        statement = statements.recent_events(site_id, since_us, through_seq)
        return await self._read(statement, _each(statements.live_event))

    async def day_pageviews(
        self, site_id: str, local_day: int, through_seq: int
    ) -> Sequence[tuple[str, str, int]]:
        """See LiveHistory.day_pageviews."""
        counts = statements.day_pageviews(site_id, local_day, through_seq)
        return await self._read(statements.with_paths(site_id, counts), _each(tuple))

    async def day_visitors(self, site_id: str, local_day: int, through_seq: int) -> Sequence[str]:
        """See LiveHistory.day_visitors."""
        statement = statements.day_visitors(site_id, local_day, through_seq)
        return await self._read(statement, _each(_first))

    async def _read(
        self,
        statement: Select[Any],
        shape: Callable[[list[Any]], T],
        timeout_s: float = _HISTORY_TIMEOUT_S,
    ) -> T:
        return await self._run(
            statement,
            lambda sql, query_id: shape(
                self._driver.rows(sql, query_id=query_id, timeout_s=timeout_s)
            ),
            timeout_s,
        )

    async def _run(
        self,
        statement: Select[Any],
        ask: Callable[[str, str], T],
        timeout_s: float,
        pool: ReadPool | None = None,
    ) -> T:
        """Return what a statement's text and the id of its query are answered with."""
        query_id = uuid.uuid4().hex

        def work() -> T:
            self._queries.add(query_id)
            try:
                return ask(compile_sql(statement), query_id)
            finally:
                self._queries.discard(query_id)

        async def stop() -> None:
            await asyncio.to_thread(self._driver.kill, query_id)

        return await (pool or self._pool).run(work, stop, timeout_s)


def _each(shape: Callable[[Any], T]) -> Callable[[list[Any]], list[T]]:
    return lambda rows: [shape(row) for row in rows]


def _first(row: Any) -> Any:
    return row[0]
