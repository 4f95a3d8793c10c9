"""The statements that read a site's events for a custom query, and what is made of their rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa
from sqlalchemy import ColumnElement, Select, and_, func, literal_column, select

from footfall.analytics.queries.calendar import LocalDays
from footfall.durations import DAY_US
from footfall.events.tables import TENANT_COLUMN, pages, web_events
from footfall.ingest.model import EventTable, WebEventKind

#: The column with an event's kind, where more than one is read.
KIND: Final = "kind"
TIME: Final = "ts_us"
LOCAL: Final = "local_us"

#: Columns of views that have another name in the store.
_STORED: Final = {"engaged_seconds": "engaged_s"}
#: Columns of views that are made of the time.
LOCAL_COLUMNS: Final = frozenset({"local_time", "local_date"})
_OF_PAGES: Final = frozenset({"host", "path", "title"})
#: Columns of views that are stored as something else.
_MADE: Final = LOCAL_COLUMNS | {"time", "type"}


@dataclass(frozen=True, slots=True)
class RowsQuery:
    """Columns of a site's counted events."""

    site_id: str
    kinds: tuple[WebEventKind, ...]
    #: Columns of the views.
    columns: frozenset[str]
    #: Microseconds since the epoch; the end is left out. None: open.
    start_us: int | None
    end_us: int | None


class SiteRows(Protocol):
    """Reads a site's events for custom queries; time limits and errors are EventReader's."""

    async def measure_rows(self, query: RowsQuery, timeout_s: float) -> tuple[int, int]:
        """Return the number of events, and about how many characters their texts have."""

    async def site_rows(self, query: RowsQuery, rows_max: int, timeout_s: float) -> pa.Table:
        """Return the events, in no order, at most `rows_max` of them."""


def measure(query: RowsQuery) -> Select[Any]:
    """Return one row: the number of events, and about how many characters their texts have."""
    found = _events(query).subquery("found")
    characters: ColumnElement[Any] = literal_column("0")
    for name in sorted(query.columns - _MADE - _STORED.keys()):
        characters = characters + func.coalesce(func.sum(func.length(found.c[name])), 0)
    return select(func.count(), characters).select_from(found)


def rows(query: RowsQuery, rows_max: int) -> Select[Any]:
    """Return the events, in no order, at most `rows_max` of them.

    Fast because it reads the columns that are asked for, and of those one site's blocks.
    """
    return _events(query).limit(rows_max)


def _events(query: RowsQuery) -> Select[Any]:
    source: Any = web_events
    asked: list[ColumnElement[Any]] = [web_events.c.kind.label(KIND)]
    if needs_time(query.columns):
        asked.append(web_events.c.ts_us.label(TIME))
    if query.columns & _OF_PAGES:
        source = web_events.outerjoin(
            pages,
            and_(
                pages.c.page_id == web_events.c.page_id,
                pages.c.site_id == web_events.c.site_id,
                pages.c.site_id == query.site_id,
            ),
        )
    for name in sorted(query.columns - _MADE):
        column: ColumnElement[Any]
        if name in _OF_PAGES:
            column = func.coalesce(pages.c[name], "")
        else:
            column = web_events.c[_STORED.get(name, name)]
        asked.append(column.label(name))
    return select(*asked).select_from(source).where(*_conditions(query))


def needs_time(columns: Collection[str]) -> bool:
    """Return whether one of the views' columns is made of the time."""
    return not (LOCAL_COLUMNS | {"time"}).isdisjoint(columns)


def _conditions(query: RowsQuery) -> list[ColumnElement[bool]]:
    event = web_events.c
    conditions = [
        event[TENANT_COLUMN[EventTable.WEB_EVENTS]] == query.site_id,
        event.kind.in_([kind.value for kind in query.kinds]),
        event.excluded == 0,
    ]
    if query.start_us is not None:
        conditions.append(event.ts_us >= query.start_us)
    if query.end_us is not None:
        conditions.append(event.ts_us < query.end_us)
    return conditions


def with_local_time(table: pa.Table, timezone: str) -> pa.Table:
    """Add what a zone's clock showed at each time, as microseconds."""
    times = table.column(TIME).to_numpy()
    if len(times):
        first, last = int(times.min()) // DAY_US, int(times.max()) // DAY_US
        times = LocalDays(timezone, first, last).local_us(times)
    return table.append_column(LOCAL, pa.array(times, pa.int64()))
