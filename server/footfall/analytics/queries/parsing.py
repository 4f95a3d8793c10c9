"""Batch queries as callers send them, judged: all faults of a query are told at once.

Names are read in camel case and in snake case. What only one parameter of a query cannot do (an
unknown name, a field that it cannot be filtered by) is no fault of the query: it fails alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from footfall.accounts.names import clean_timezone
from footfall.analytics.days import local_day, to_date, to_day
from footfall.analytics.parameters import echo, suggest
from footfall.analytics.queries.calendar import Granularity
from footfall.analytics.queries.catalogue import (
    BY_NAME,
    DEFAULT_LIMIT,
    FILTERS,
    LIMIT_MAX,
    QueryType,
)
from footfall.analytics.queries.model import Condition, Operator
from footfall.errors import FieldViolation, InvalidInputError, InvalidQueryError, QueryFault

QUERIES_MAX = 100
PARAMETERS_MAX = 100
FILTERS_MAX = 50
VALUES_MAX = 1000
TEXT_MAX = 2048
DAYS_MAX = 10_000
HOURLY_DAYS_MAX = 30

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
#: The first and the last date that ranges may have.
_DATES = to_day(date(1970, 1, 2)), to_day(date(2100, 12, 31))

_GRANULARITIES: Mapping[str, Granularity] = {
    "daily": "daily",
    "day": "daily",
    "hourly": "hourly",
    "hour": "hourly",
}
#: What the names of operators mean; equality is being one of a single value.
_OPERATORS: Mapping[str, Operator] = {
    "eq": "in",
    "ne": "not_in",
    "in": "in",
    "not_in": "not_in",
    "contains": "contains",
    "not_contains": "not_contains",
    "starts_with": "starts_with",
    "like": "like",
    "gt": "gt",
    "lt": "lt",
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What counts where a query says nothing; "" for nothing."""

    timezone: str
    start_date: str = ""
    end_date: str = ""
    preset: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter by its published name, and the condition that it is."""

    field: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Parameter:
    """A question of a query: local days, both included, and how its answer is called."""

    name: str
    label: str
    type: QueryType | None
    first_day: int
    last_day: int
    granularity: Granularity
    #: Why it cannot be answered; "": it can.
    error: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A faultless query."""

    id: str
    timezone: str
    today: int
    parameters: tuple[Parameter, ...]
    filters: tuple[Filter, ...]
    limit: int
    #: Whether the caller named the limit.
    limited: bool
    page: int
    sort_by: str
    descending: bool


def parse_queries(
    documents: Sequence[Any], defaults: Defaults, now_us: int
) -> list[Query | InvalidQueryError]:
    """Return each query of a call, or what is wrong with it.

    Raises InvalidInputError if there are none or too many, or the call's time zone is unknown.
    """
    if not 1 <= len(documents) <= QUERIES_MAX:
        raise _invalid("body", f"A call has from 1 to {QUERIES_MAX} queries, not {len(documents)}.")
    queries: list[Query | InvalidQueryError] = []
    for number, document in enumerate(documents, start=1):
        try:
            queries.append(_Parser(defaults, now_us).query(document, number))
        except InvalidQueryError as error:
            queries.append(error)
    return queries


class _Parser:
    """Reads one query and gathers its faults."""

    def __init__(self, defaults: Defaults, now_us: int) -> None:
        self._defaults = defaults
        self._now_us = now_us
        self._faults: list[QueryFault] = []

    def query(self, document: Any, number: int) -> Query:
        """Return the query; raises InvalidQueryError with all faults."""
        if not isinstance(document, Mapping):
            raise _invalid("body", "A query must be a JSON object.")
        raw = _snake(document)
        timezone = self._timezone(raw)
        today = local_day(timezone, self._now_us)
        days = self._days(raw, today)
        granularity = self._granularity(raw, "granularity") or "daily"
        filters = self._filters(raw.get("filters"))
        limit = self._whole(raw, "limit", LIMIT_MAX)
        page = self._whole(raw, "page", 1_000_000)
        self._no_groups(raw)
        sort_order = self._text(raw, "sort_order").lower()
        if sort_order not in {"", "asc", "desc"}:
            self._fault("sortOrder", f"sortOrder must be asc or desc, but is {echo(sort_order)}.")
        query = Query(
            id=self._text(raw, "id") or f"query-{number}",
            timezone=timezone,
            today=today,
            parameters=self._parameters(raw.get("parameters"), days, granularity, today, filters),
            filters=filters,
            limit=DEFAULT_LIMIT if limit is None else limit,
            limited=limit is not None,
            page=page or 1,
            sort_by=self._text(raw, "sort_by"),
            descending=sort_order != "asc",
        )
        if self._faults:
            first = self._faults[0]
            more = f" ({len(self._faults) - 1} more)" if len(self._faults) > 1 else ""
            raise InvalidQueryError(
                first.message + more,
                violations=[
                    FieldViolation(fault.field, f"{fault.message} {fault.suggestion}".strip())
                    for fault in self._faults
                ],
                faults=tuple(self._faults),
            )
        return query

    def _no_groups(self, raw: Mapping[str, Any], at: str = "") -> None:
        """Refuse `groupBy`: rows are by what their parameter says, and by nothing else."""
        if raw.get("group_by"):
            self._fault(
                f"{at}groupBy",
                f"{at}groupBy is not supported: each parameter has a grouping of its own.",
                'Ask for the breakdown itself, as in "parameters": ["country"], or for groups of '
                "your own with POST /v1/query/custom.",
            )

    def _parameters(
        self,
        raw: Any,
        days: tuple[int, int] | None,
        granularity: Granularity,
        today: int,
        filters: tuple[Filter, ...],
    ) -> tuple[Parameter, ...]:
        if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
            self._fault("parameters", 'parameters must be an array of names, as in ["summary"].')
            return ()
        if len(raw) > PARAMETERS_MAX:
            self._fault(
                "parameters", f"A query has at most {PARAMETERS_MAX} parameters, not {len(raw)}."
            )
            return ()
        found = [
            self._parameter(item, f"parameters[{index}]", days, granularity, today, filters)
            for index, item in enumerate(raw)
        ]
        return tuple(parameter for parameter in found if parameter is not None)

    def _parameter(
        self,
        raw: Any,
        at: str,
        days: tuple[int, int] | None,
        granularity: Granularity,
        today: int,
        filters: tuple[Filter, ...],
    ) -> Parameter | None:
        raw = _snake(raw) if isinstance(raw, Mapping) else {"name": raw}
        given = raw.get("name")
        name = given.strip() if isinstance(given, str) else ""
        label = self._text(raw, "id", f"{at}.id") or name
        if not name:
            self._fault(at, f"{at} must be a name, or an object with one.")
            return None
        self._no_groups(raw, f"{at}.")
        own = self._named_days(raw, f"{at}.")
        granularity = self._granularity(raw, f"{at}.granularity") or granularity
        kind = BY_NAME.get(name)
        error = ""
        if kind is None:
            error = f"Unknown query type {echo(name)}.{_meant(name, BY_NAME)}"
        else:
            error = next(
                (
                    f"Filter on field {echo(used.field)} is not permitted for {kind.name}."
                    f"{_meant(used.field, kind.filters)}"
                    for used in filters
                    if used.field not in kind.filters
                ),
                "",
            )
        first, last = own or days or (today, today)
        if kind is not None and kind.needs_dates and own is None and days is None:
            if not self._faults:
                self._fault(
                    "startDate", "startDate and endDate (YYYY-MM-DD), or a preset, are required."
                )
        elif (
            kind is not None
            and kind.supports_granularity
            and granularity == "hourly"
            and last - first >= HOURLY_DAYS_MAX
        ):
            self._fault(
                f"{at}.granularity",
                f"hourly granularity takes at most {HOURLY_DAYS_MAX} days, not {last - first + 1}.",
                "Use daily granularity.",
            )
        return Parameter(name, label, kind, first, last, granularity, error)

    def _filters(self, raw: Any) -> tuple[Filter, ...]:
        if raw is None:
            return ()
        if not isinstance(raw, Sequence) or isinstance(raw, str):
            self._fault("filters", "filters must be an array of {field, op, value}.")
            return ()
        if len(raw) > FILTERS_MAX:
            self._fault("filters", f"A query has at most {FILTERS_MAX} filters, not {len(raw)}.")
            return ()
        found = [self._filter(item, f"filters[{index}]") for index, item in enumerate(raw)]
        return tuple(each for each in found if each is not None)

    def _filter(self, raw: Any, at: str) -> Filter | None:
        if not isinstance(raw, Mapping):
            self._fault(at, f"{at} must be an object {{field, op, value}}.")
            return None
        raw = _snake(raw)
        name = self._text(raw, "field", f"{at}.field")
        if not name:
            self._fault(f"{at}.field", f"{at}.field is required.")
        spelt = self._text(raw, "op", f"{at}.op") or self._text(raw, "operator", f"{at}.op")
        operator = _OPERATORS.get(_HUMP.sub(r"_\1", spelt).lower())
        if operator is None:
            self._fault(
                f"{at}.op",
                f"{at}.op must be one of {', '.join(_OPERATORS)}, but is {echo(spelt)}.",
                _meant(spelt, _OPERATORS).strip(),
            )
        values = self._values(raw.get("value", raw.get("values")), f"{at}.value")
        if operator is None or values is None or not name:
            return None
        if len(values) != 1 and operator not in {"in", "not_in"}:
            self._fault(f"{at}.value", f"{at}.value must be one value with {spelt}.")
            return None
        field = FILTERS.get(name)
        if field is None:
            # No parameter can be filtered by it, and each of them says so.
            return Filter(name, Condition(FILTERS["path"].field, operator, ()))
        if operator in {"in", "not_in"}:
            values = [
                "" if value == field.missing else field.stored(value) if value else ""
                for value in values
            ]
        return Filter(name, Condition(field.field, operator, tuple(dict.fromkeys(values))))

    def _values(self, raw: Any, at: str) -> list[str] | None:
        items = list(raw) if isinstance(raw, Sequence) and not isinstance(raw, str) else [raw]
        if not 1 <= len(items) <= VALUES_MAX:
            self._fault(at, f"{at} must have from 1 to {VALUES_MAX} values, not {len(items)}.")
            return None
        found: list[str] = []
        for item in items:
            if isinstance(item, bool) or not isinstance(item, str | int | float):
                self._fault(at, f"{at} must be a text or a number, or an array of them.")
                return None
            text = str(item)
            if len(text) > TEXT_MAX or "\0" in text:
                self._fault(at, f"{at} must have at most {TEXT_MAX} characters, none of them NUL.")
                return None
            found.append(text)
        return found

    def _days(self, raw: Mapping[str, Any], today: int) -> tuple[int, int] | None:
        """Return the query's days: its dates, else its preset, else those of the call."""
        found = self._named_days(raw, "")
        preset = self._text(raw, "preset")
        if found is None and not preset:
            outer = {"start_date": self._defaults.start_date, "end_date": self._defaults.end_date}
            found = self._named_days(outer, "")
            preset = self._defaults.preset
        if found is not None or not preset:
            return found
        known = PRESETS.get(preset)
        if known is None:
            self._fault(
                "preset",
                f"preset must be one of {', '.join(PRESETS)}, but is {echo(preset)}.",
                _meant(preset, PRESETS).strip(),
            )
            return None
        return known(today)

    def _named_days(self, raw: Mapping[str, Any], at: str) -> tuple[int, int] | None:
        """Return the days that dates name; None without any."""
        start, end = (self._text(raw, name, f"{at}{_camel(name)}") for name in _ENDS)
        if not start and not end:
            return None
        first, last = self._date(start, f"{at}startDate"), self._date(end, f"{at}endDate")
        if first is None or last is None:
            return None
        if first > last:
            self._fault(
                f"{at}startDate",
                f"startDate must not be after endDate, but {start} is after {end}.",
                "Exchange the two.",
            )
            return None
        if last - first >= DAYS_MAX:
            self._fault(
                f"{at}startDate", f"A range has at most {DAYS_MAX} days, not {last - first + 1}."
            )
            return None
        return first, last

    def _date(self, text: str, at: str) -> int | None:
        found = _DATE.fullmatch(text)
        try:
            day = to_day(date(*map(int, found.groups()))) if found else None
        except ValueError:
            day = None
        if day is None or not _DATES[0] <= day <= _DATES[1]:
            given = f"but is {echo(text)}" if text else "and is missing"
            self._fault(at, f"{at} must be a date from 1970 to 2100 as YYYY-MM-DD, {given}.")
            return None
        return day

    def _timezone(self, raw: Mapping[str, Any]) -> str:
        text = self._text(raw, "timezone") or self._text(raw, "time_zone")
        try:
            return clean_timezone(text or self._defaults.timezone)
        except InvalidInputError as error:
            self._fault("timezone", error.message)
            return "UTC"

    def _granularity(self, raw: Mapping[str, Any], at: str) -> Granularity | None:
        text = self._text(raw, "granularity", at)
        if not text:
            return None
        found = _GRANULARITIES.get(text.lower())
        if found is None:
            self._fault(
                at,
                f"{at} must be one of {', '.join(_GRANULARITIES)}, but is {echo(text)}.",
                _meant(text, _GRANULARITIES).strip(),
            )
        return found

    def _whole(self, raw: Mapping[str, Any], name: str, high: int) -> int | None:
        value = raw.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
            self._fault(
                name, f"{name} must be a whole number from 1 to {high}, but is {echo(str(value))}."
            )
            return None
        return value

    def _text(self, raw: Mapping[str, Any], name: str, at: str = "") -> str:
        value = raw.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > TEXT_MAX:
            self._fault(at or _camel(name), f"{at or _camel(name)} must be a text.")
            return ""
        return value.strip()

    def _fault(self, field: str, message: str, suggestion: str = "") -> None:
        self._faults.append(QueryFault(field, message, suggestion))


_ENDS = ("start_date", "end_date")


def _invalid(field: str, message: str) -> InvalidQueryError:
    return InvalidQueryError(
        message,
        violations=[FieldViolation(field, message)],
        faults=[QueryFault(field, message)],
    )


def _meant(text: str, words: Iterable[str]) -> str:
    return suggest(text, words).replace("Did you mean ", "Did you mean '").replace("?", "'?")


def _snake(document: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a document with names in snake case; what is spelt so already wins."""
    found = {_HUMP.sub(r"_\1", str(name)).lower(): value for name, value in document.items()}
    found.update({name: value for name, value in document.items() if str(name) in found})
    return found


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _last(count: int) -> Callable[[int], tuple[int, int]]:
    return lambda today: (today - count + 1, today)


def _monday(day: int) -> int:
    return day - to_date(day).weekday()


def _last_month(today: int) -> tuple[int, int]:
    end = to_date(today).replace(day=1) - timedelta(days=1)
    return to_day(end.replace(day=1)), to_day(end)


#: Returns the days of a preset by today.
PRESETS: Mapping[str, Callable[[int], tuple[int, int]]] = {
    "today": _last(1),
    "yesterday": lambda today: (today - 1, today - 1),
    "last_7d": _last(7),
    "last_14d": _last(14),
    "last_30d": _last(30),
    "last_90d": _last(90),
    "this_week": lambda today: (_monday(today), today),
    "last_week": lambda today: (_monday(today) - 7, _monday(today) - 1),
    "this_month": lambda today: (to_day(to_date(today).replace(day=1)), today),
    "last_month": _last_month,
    "this_year": lambda today: (to_day(to_date(today).replace(month=1, day=1)), today),
}
