"""Structured queries: a table, aggregates, filters and groups, without any SQL of the caller's.

They become the same kind of statement that custom SQL does, built of nodes, with every value that
a caller sends as a parameter of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlglot import exp

from footfall.analytics.custom.model import ROWS_MAX, Cell, Statement
from footfall.analytics.custom.views import VIEWS, ColumnType, View
from footfall.analytics.parameters import echo, suggest
from footfall.errors import InvalidQueryError, QueryFault

SELECTS_MAX: Final = 10
FILTERS_MAX: Final = 20
VALUES_MAX: Final = 1000
GROUPS_MAX: Final = 5
LIMIT_DEFAULT: Final = 1000
TEXT_MAX: Final = 2048

AGGREGATES: Final = ("count", "uniq", "sum", "avg", "max", "min")
OPERATORS: Final = (
    "eq", "ne", "gt", "lt", "gte", "lte", "contains", "not_contains", "starts_with", "in", "not_in",
)  # fmt: skip
_COMPARISONS: Final[dict[str, type[exp.Binary]]] = {
    "eq": exp.EQ,
    "ne": exp.NEQ,
    "gt": exp.GT,
    "lt": exp.LT,
    "gte": exp.GTE,
    "lte": exp.LTE,
}
#: The bucket that a granularity makes, as a format of times.
_BUCKETS: Final = {
    "daily": "%Y-%m-%d",
    "day": "%Y-%m-%d",
    "hourly": "%Y-%m-%d %H:00:00",
    "hour": "%Y-%m-%d %H:00:00",
}
#: What the column with the bucket is called.
BUCKET: Final = "date"
_ALIAS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Select:
    """A value that a query computes; "" for an alias: the aggregate and the field."""

    field: str
    aggregate: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition; all of a query's must hold."""

    field: str
    op: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class StructuredQuery:
    """A structured query as a caller sent it."""

    table: str
    selects: Sequence[Select]
    filters: Sequence[Filter] = ()
    group_by: Sequence[str] = ()
    granularity: str = ""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A faultless query."""

    statement: Statement
    rows_max: int


def compile_query(query: StructuredQuery) -> Compiled:
    """Return the statement that a query is; raises InvalidQueryError with all faults."""
    return _Compiler(query).compile()


class _Compiler:
    def __init__(self, query: StructuredQuery) -> None:
        self._query = query
        self._faults: list[QueryFault] = []
        self._columns: set[str] = set()
        self._parameters: dict[str, Cell] = {}
        self._view = VIEWS.get(query.table) or View("", "", (), {})

    def compile(self) -> Compiled:
        """Return the statement; raises InvalidQueryError."""
        query = self._query
        if query.table not in VIEWS:
            self._fault(
                "table",
                f"table must be one of {', '.join(VIEWS)}, but is {echo(query.table)}.",
                suggest(query.table, VIEWS),
            )
            raise self._error()
        groups = self._groups()
        names = [group.alias_or_name for group in groups]
        selects = self._selects(names)
        statement = exp.select(*groups, *selects).from_(exp.to_table(query.table, quoted=True))
        conditions = self._conditions()
        if conditions:
            statement = statement.where(*conditions)
        if groups:
            statement = statement.group_by(*(_number(n) for n in range(1, len(groups) + 1)))
        # By time where there is one, and by the first value else, ties by the groups: the same
        # rows come in the same order always.
        order = [exp.Ordered(this=_number(n), desc=False) for n in range(1, len(groups) + 1)]
        if not query.granularity and groups:
            first = exp.Ordered(this=_number(len(groups) + 1), desc=True, nulls_first=False)
            order.insert(0, first)
        if order:
            statement = statement.order_by(*order)
        rows_max = self._limit()
        if self._faults:
            raise self._error()
        return Compiled(
            Statement(
                sql=statement.sql(dialect="duckdb", identify=True),
                views=(query.table,),
                columns=frozenset(self._columns),
                parameters=self._parameters,
            ),
            rows_max,
        )

    def _groups(self) -> list[exp.Expr]:
        query = self._query
        groups: list[exp.Expr] = []
        if query.granularity:
            shape = _BUCKETS.get(query.granularity)
            if shape is None:
                self._fault(
                    "granularity",
                    f"granularity must be daily or hourly, but is {echo(query.granularity)}.",
                    suggest(query.granularity, _BUCKETS),
                )
            else:
                bucket = exp.TimeToStr(
                    this=self._column("local_time"), format=exp.Literal.string(shape)
                )
                groups.append(exp.alias_(bucket, BUCKET, quoted=True))
        if len(query.group_by) > GROUPS_MAX:
            self._fault("groupBy", f"groupBy has at most {GROUPS_MAX} columns.")
        for index, name in enumerate(query.group_by[:GROUPS_MAX]):
            if name in query.group_by[:index]:
                self._fault(f"groupBy[{index}]", f"groupBy names {echo(name)} twice.")
            elif self._known(name, f"groupBy[{index}]"):
                groups.append(self._column(name))
        return groups

    def _selects(self, taken: list[str]) -> list[exp.Expr]:
        query = self._query
        if not 1 <= len(query.selects) <= SELECTS_MAX:
            self._fault("selects", f"A query has from 1 to {SELECTS_MAX} selects.")
        made: list[exp.Expr] = []
        names = set(taken)
        for index, select in enumerate(query.selects[:SELECTS_MAX]):
            at = f"selects[{index}]"
            value = self._aggregate(select, at)
            field = "all" if select.field == "*" else select.field
            name = select.alias or f"{select.aggregate}_{field}"
            if not _ALIAS.fullmatch(name):
                self._fault(
                    f"{at}.alias",
                    f"alias must have letters, digits and _ only, 64 at most, but is {echo(name)}.",
                )
            elif name in names:
                self._fault(f"{at}.alias", f"Two columns of the answer are called {echo(name)}.")
            names.add(name)
            if value is not None:
                made.append(exp.alias_(value, name, quoted=True))
        return made

    def _aggregate(self, select: Select, at: str) -> exp.Expr | None:  # noqa: PLR0911 - one a function
        if select.aggregate not in AGGREGATES:
            self._fault(
                f"{at}.aggregate",
                f"aggregate must be one of {', '.join(AGGREGATES)}, but is "
                f"{echo(select.aggregate)}.",
                suggest(select.aggregate, AGGREGATES),
            )
            return None
        if select.field == "*":
            if select.aggregate == "count":
                return exp.Count(this=exp.Star())
            self._fault(f"{at}.field", f"{select.aggregate} needs a column; only count takes *.")
            return None
        if not self._known(select.field, f"{at}.field"):
            return None
        kind = self._view.columns[select.field].type
        if select.aggregate in {"sum", "avg"} and kind is not ColumnType.NUMBER:
            self._fault(
                f"{at}.field",
                f"{select.aggregate} takes a column of numbers, and {select.field} has none.",
            )
            return None
        column: exp.Expr = self._column(select.field)
        if kind is ColumnType.TEXT:
            # Nothing known is an empty text, which is no value to count or compare.
            column = exp.Nullif(this=column, expression=exp.Literal.string(""))
        match select.aggregate:
            case "count":
                return exp.Count(this=column)
            case "uniq":
                return exp.Count(this=exp.Distinct(expressions=[column]))
            case "sum":
                return exp.Sum(this=column)
            case "avg":
                return exp.Avg(this=column)
            case "max":
                return exp.Max(this=column)
            case _:
                return exp.Min(this=column)

    def _conditions(self) -> list[exp.Expr]:
        filters = self._query.filters
        if len(filters) > FILTERS_MAX:
            self._fault("filters", f"A query has at most {FILTERS_MAX} filters.")
        made = []
        for index, given in enumerate(filters[:FILTERS_MAX]):
            condition = self._condition(given, f"filters[{index}]")
            if condition is not None:
                made.append(condition)
        return made

    def _condition(self, given: Filter, at: str) -> exp.Expr | None:  # noqa: PLR0911 - one an operator
        if given.op not in OPERATORS:
            self._fault(
                f"{at}.op",
                f"op must be one of {', '.join(OPERATORS)}, but is {echo(given.op)}.",
                suggest(given.op, OPERATORS),
            )
        if not self._known(given.field, f"{at}.field") or given.op not in OPERATORS:
            return None
        kind = self._view.columns[given.field].type
        listed = given.op in {"in", "not_in"}
        if not 1 <= len(given.values) <= (VALUES_MAX if listed else 1):
            self._fault(
                f"{at}.value",
                f"{given.op} takes from 1 to {VALUES_MAX} values."
                if listed
                else f"{given.op} takes one value.",
            )
            return None
        values = [self._value(value, kind, f"{at}.value") for value in given.values]
        column = self._column(given.field)
        if given.op in _COMPARISONS:
            return _COMPARISONS[given.op](this=column, expression=values[0])
        if listed:
            among = exp.In(this=column, expressions=values)
            return among if given.op == "in" else exp.Not(this=among)
        if kind is not ColumnType.TEXT:
            self._fault(f"{at}.op", f"{given.op} takes a column of texts.")
            return None
        if given.op == "starts_with":
            return exp.StartsWith(this=column, expression=values[0])
        has = exp.Contains(this=column, expression=values[0])
        return has if given.op == "contains" else exp.Not(this=has)

    def _value(self, text: str, kind: ColumnType, at: str) -> exp.Expr:
        name = f"p{len(self._parameters)}"
        value: Cell = text
        to = None
        match kind:
            case ColumnType.TEXT:
                if len(text) > TEXT_MAX:
                    self._fault(at, f"A value has at most {TEXT_MAX} characters.")
            case ColumnType.NUMBER:
                value, to = _number_of(text), "DOUBLE"
            case ColumnType.TIMESTAMP | ColumnType.DATE:
                value, to = _time_of(text, kind), kind.value.upper()
        if value is None:
            self._fault(at, f"{echo(text)} is no {kind.value}.")
        self._parameters[name] = value
        placeholder = exp.Placeholder(this=name)
        return exp.cast(placeholder, to) if to is not None else placeholder

    def _limit(self) -> int:
        limit = self._query.limit
        if limit is None:
            return LIMIT_DEFAULT
        if not 1 <= limit <= ROWS_MAX:
            self._fault("limit", f"limit must be from 1 to {ROWS_MAX}, but is {limit}.")
        return limit

    def _known(self, name: str, at: str) -> bool:
        if name in self._view.columns:
            return True
        self._fault(
            at,
            f"There is no column {echo(name)} in {self._view.name}.",
            suggest(name, self._view.columns),
        )
        return False

    def _column(self, name: str) -> exp.Column:
        self._columns.add(name)
        return exp.column(name, quoted=True)

    def _fault(self, field: str, message: str, suggestion: str = "") -> None:
        self._faults.append(QueryFault(field, message, suggestion.strip()))

    def _error(self) -> InvalidQueryError:
        return InvalidQueryError(self._faults[0].message, faults=tuple(self._faults))


def _number(place: int) -> exp.Expr:
    """Return the place of a column, as GROUP BY and ORDER BY take it."""
    return exp.Literal.number(place)


def _number_of(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _time_of(text: str, kind: ColumnType) -> str | None:
    """Return a time without a zone as the engine reads it; None for what is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return None
    return moment.date().isoformat() if kind is ColumnType.DATE else moment.isoformat(" ")
