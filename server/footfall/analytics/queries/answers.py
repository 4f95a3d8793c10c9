"""Rows of answers, out of counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TypeVar

from footfall.analytics.queries.catalogue import Column, QueryType
from footfall.analytics.queries.folds import Counts
from footfall.analytics.queries.parsing import Query
from footfall.analytics.rounding import whole
from footfall.errors import InvalidQueryError

Cell = str | int | float
Row = tuple[Cell, ...]

#: What the row of a breakdown is about: a name, and what tells rows of one name apart.
_Key = TypeVar("_Key", bound=tuple[str, ...])


@dataclass(frozen=True, slots=True)
class ParameterAnswer:
    """The rows of a parameter, or why there are none."""

    label: str
    columns: tuple[Column, ...] = ()
    rows: Sequence[Row] = ()
    #: "": it was answered.
    error: str = ""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The answers to a query's parameters, in their order."""

    query: Query
    data: Sequence[ParameterAnswer]


@dataclass(frozen=True, slots=True)
class FaultyQuery:
    """What a faulty query of several is answered with."""

    error: InvalidQueryError
    data: Sequence[ParameterAnswer] = field(default=())


def percent(part: int, total: int) -> float:
    """Return a share in percent to two decimals; 0 of nothing."""
    return whole(10_000 * part, total) / 100 if total else 0.0


def counts_row(columns: Sequence[Column], counts: Counts, custom: int = 0, date: str = "") -> Row:
    """Return sums as a row of the columns; `custom` is the number of custom events."""
    return tuple(_MEASURES[column.name](counts, custom, date) for column in columns)


#: The columns that are made of sums, by name.
_MEASURES: Mapping[str, Callable[[Counts, int, str], Cell]] = {
    "date": lambda _, _custom, date: date,
    "pageviews": lambda counts, _, _date: counts.pageviews,
    "visitors": lambda counts, _, _date: counts.visitors,
    "unique_visitors": lambda counts, _, _date: counts.visitors,
    "sessions": lambda counts, _, _date: counts.sessions,
    "bounces": lambda counts, _, _date: counts.bounces,
    "bounce_rate": lambda counts, _, _date: percent(counts.bounces, counts.sessions),
    "avg_session_duration": lambda counts, _, _date: _mean(
        counts.duration_us, counts.sessions * 1_000_000
    ),
    "pages_per_session": lambda counts, _, _date: _mean(counts.pageviews, counts.sessions),
    "total_events": lambda counts, custom, _: counts.pageviews + custom,
}


def breakdown_rows(
    query: Query, kind: QueryType, counted: Mapping[_Key, Sequence[int]], total: int
) -> list[Row]:
    """Return a row for each key with its events, visitors and share, most events first; only as
    many as the query's page takes, if that is in this order.
    """
    ranked: Iterable[tuple[int, tuple[str, ...], int]] = (
        (-events, (key[0] or kind.missing or "", *key[1:]), visitors)
        for key, (events, visitors) in counted.items()
        if key[0] or kind.missing is not None
    )
    ranked = sorted(ranked) if query.sort_by else nsmallest(query.page * query.limit, ranked)
    return [
        (*texts, -events, visitors, percent(-events, total)) for events, texts, visitors in ranked
    ]


def page_of(query: Query, kind: QueryType, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows of the query's page in the query's order; ties stay in their own."""
    if query.sort_by:
        names = [column.name for column in kind.columns]
        at = names.index(query.sort_by)
        rows = sorted(rows, key=lambda row: row[at], reverse=query.descending)
    if not query.limited and kind.default_limit == 0:
        # A series is whole unless its caller wants it otherwise.
        return rows if query.page == 1 else ()
    start = (query.page - 1) * query.limit
    return rows[start : start + query.limit]


def _mean(total: int, count: int) -> float:
    return whole(100 * total, count) / 100 if count else 0.0
