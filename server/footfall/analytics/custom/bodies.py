"""Custom queries as JSON bodies: reading them, and the published documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from footfall.analytics.custom import grammar, sql, structured
from footfall.analytics.custom.model import ROWS_MAX, Cell, SandboxAnswer
from footfall.analytics.custom.structured import Filter, Select, StructuredQuery
from footfall.analytics.custom.views import VIEWS
from footfall.errors import InvalidQueryError, QueryFault

_JSON_TYPES: Final = {str: "a text", list: "an array", dict: "an object", int: "a whole number"}


@dataclass(frozen=True, slots=True)
class Range:
    """The days of a query, and their zone, as a caller sent them; "" for nothing."""

    start_date: str
    end_date: str
    timezone: str


def read_structured(document: Any, defaults: Range) -> tuple[StructuredQuery, Range]:
    """Return the query that a JSON body is: the published form has table, selects, filters and
    groupBy in an object `query`. Raises InvalidQueryError for values of wrong types.
    """
    body = _object(document, "body")
    inner = _object(body["query"], "query") if "query" in body else body
    selects = [
        _Reader(_object(item, f"selects[{index}]"), f"selects[{index}].")
        for index, item in enumerate(_Reader(inner).get("selects", list, []))
    ]
    filters = [
        _Reader(_object(item, f"filters[{index}]"), f"filters[{index}].")
        for index, item in enumerate(_Reader(inner).get("filters", list, []))
    ]
    query = StructuredQuery(
        table=_Reader(inner).get("table", str, ""),
        selects=[
            Select(
                item.get("field", str, ""),
                item.get("aggregate", str, ""),
                item.get("alias", str, ""),
            )
            for item in selects
        ],
        filters=[
            Filter(item.get("field", str, ""), item.get("op", str, ""), item.values())
            for item in filters
        ],
        group_by=_Reader(inner).texts("groupBy"),
        granularity=_either(body, inner, "granularity", str, ""),
        limit=_either(body, inner, "limit", int, None),
    )
    return query, _range(body, inner, defaults)


def read_sql(document: Any) -> tuple[str, dict[str, Cell], Range]:
    """Return a statement, its parameters, and its days. Raises InvalidQueryError."""
    body = _object(document, "body")
    parameters = _object(_Reader(body).get("parameters", dict, {}), "parameters")
    for name, value in parameters.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            raise _fault(
                f"parameters.{name}", "A parameter is a text, a number, a boolean or null."
            )
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise _fault(f"parameters.{name}", "A whole number has at most 64 bits.")
    text = _Reader(body).get("query", str, "")
    return text, dict(parameters), _range(body, body, Range("", "", ""))


def answer_document(answer: SandboxAnswer, website_id: str) -> dict[str, Any]:
    """Return an answer as the published document."""
    names = [column.name for column in answer.columns]
    return {
        "success": True,
        "data": [dict(zip(names, row, strict=True)) for row in answer.rows],
        "meta": {
            "rowCount": len(answer.rows),
            "columns": names,
            "executionTime": round(answer.execution_ms, 1),
            "rowsRead": answer.rows_read,
            "truncated": answer.truncated,
            "websiteId": website_id,
        },
    }


def function_names() -> list[str]:
    """Return the functions that SQL may call, by the names that they go by."""
    return sorted(name for name in grammar.ENGINE_FUNCTIONS if name.isidentifier())


def schema_document() -> dict[str, Any]:
    """Return the views, the functions and the limits of custom SQL."""
    return {
        "success": True,
        "tables": [
            {
                "name": view.name,
                "description": view.description,
                "columns": [
                    {"name": column.name, "type": column.type, "description": column.description}
                    for column in view.columns.values()
                ],
            }
            for view in VIEWS.values()
        ],
        "functions": function_names(),
        "limits": {
            "characters": sql.CHARACTERS_MAX,
            "selects": sql.SELECTS_MAX,
            "unions": sql.UNIONS_MAX,
            "joins": sql.JOINS_MAX,
            "nesting": sql.DEPTH_MAX,
            "parameters": sql.PARAMETERS_MAX,
            "rows": ROWS_MAX,
            "structuredSelects": structured.SELECTS_MAX,
            "structuredFilters": structured.FILTERS_MAX,
            "structuredGroups": structured.GROUPS_MAX,
        },
    }


class _Reader:
    """Reads the values of an object, whose names may be in camel case or in snake case."""

    def __init__(self, document: Mapping[str, Any], at: str = "") -> None:
        self._document = document
        self._at = at

    def get(self, name: str, kind: type, default: Any) -> Any:
        value = self._document.get(name)
        if value is None:
            value = self._document.get(_snake(name))
        if value is None:
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _fault(f"{self._at}{name}", f"{self._at}{name} must be {_JSON_TYPES[kind]}.")
        return value

    def texts(self, name: str) -> list[str]:
        values = self.get(name, list, [])
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise _fault(f"{self._at}{name}[{index}]", f"{name} lists names of columns.")
        return list(values)

    def values(self) -> list[str]:
        """Return the values of a filter: one, or an array of them."""
        value = self._document.get("value", self._document.get("values"))
        values: Sequence[Any] = value if isinstance(value, list) else [value]
        texts = []
        for item in values:
            if isinstance(item, bool) or not isinstance(item, str | int | float):
                raise _fault(f"{self._at}value", "A filter's values are texts or numbers.")
            texts.append(item if isinstance(item, str) else repr(item))
        return texts


def _range(body: Mapping[str, Any], inner: Mapping[str, Any], defaults: Range) -> Range:
    return Range(
        _either(body, inner, "startDate", str, defaults.start_date),
        _either(body, inner, "endDate", str, defaults.end_date),
        _either(body, inner, "timezone", str, defaults.timezone),
    )


def _either(
    body: Mapping[str, Any], inner: Mapping[str, Any], name: str, kind: type, default: Any
) -> Any:
    found = _Reader(body).get(name, kind, None)
    return found if found is not None else _Reader(inner).get(name, kind, default)


def _object(document: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise _fault(name, f"{name} must be an object.")
    return document


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _fault(field: str, message: str) -> InvalidQueryError:
    return InvalidQueryError(message, faults=(QueryFault(field, message),))
