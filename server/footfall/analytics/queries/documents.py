"""The published documents of batch queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from footfall.analytics.queries.answers import FaultyQuery, QueryAnswer
from footfall.analytics.queries.catalogue import TYPES, Column, QueryType
from footfall.analytics.queries.parsing import PRESETS
from footfall.errors import InvalidQueryError


def answer_document(answers: Sequence[QueryAnswer | FaultyQuery], *, batch: bool) -> dict[str, Any]:
    """Return the answer to a query or to a batch of them.

    Raises InvalidQueryError for the fault of a query that is alone.
    """
    if batch:
        return {"success": True, "batch": True, "results": [_result(each) for each in answers]}
    (answer,) = answers
    if isinstance(answer, FaultyQuery):
        raise answer.error
    return _result(answer)


def types_document(*, include_meta: bool) -> dict[str, Any]:
    """Return what can be asked for; aliases are types of their own."""
    names = {name: kind for kind in TYPES.values() for name in (kind.name, *kind.aliases)}
    return {
        "success": True,
        "types": list(names),
        "configs": {name: _config(kind, include_meta=include_meta) for name, kind in names.items()},
        "presets": list(PRESETS),
    }


def fault_documents(error: InvalidQueryError) -> list[dict[str, str]]:
    """Return the faults of a query."""
    return [
        {"field": fault.field, "message": fault.message}
        | ({"suggestion": fault.suggestion} if fault.suggestion else {})
        for fault in error.faults
    ]


def _result(answer: QueryAnswer | FaultyQuery) -> dict[str, Any]:
    if isinstance(answer, FaultyQuery):
        return {
            "success": False,
            "error": answer.error.message,
            "code": answer.error.reason,
            "details": fault_documents(answer.error),
        }
    query = answer.query
    return {
        "success": True,
        "queryId": query.id,
        "data": [
            {"parameter": each.label, "success": False, "error": each.error, "data": []}
            if each.error
            else {
                "parameter": each.label,
                "success": True,
                "data": [
                    {column.name: cell for column, cell in zip(each.columns, row, strict=True)}
                    for row in each.rows
                ],
            }
            for each in answer.data
        ],
        "meta": {
            "parameters": [parameter.name for parameter in query.parameters],
            "total_parameters": len(query.parameters),
            "page": query.page,
            "limit": query.limit,
            "filters_applied": len(query.filters),
        },
    }


def _config(kind: QueryType, *, include_meta: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "allowedFilters": list(kind.filters),
        "customizable": bool(kind.filters),
        "defaultLimit": kind.default_limit,
    }
    if include_meta:
        config["meta"] = {
            "title": kind.title,
            "description": kind.description,
            "category": kind.category,
            "tags": list(kind.tags),
            "output_fields": [_output_field(column) for column in kind.columns],
            "default_visualization": kind.visualization,
            "supports_granularity": ["hourly", "daily"] if kind.supports_granularity else [],
            "version": "1.0",
        }
    return config


def _output_field(column: Column) -> dict[str, str]:
    shown = {
        "name": column.name,
        # JSON has no more types than these, and neither have the published clients.
        "type": {"integer": "number", "date": "datetime"}.get(column.type, column.type),
        "label": column.label,
        "description": column.description,
    }
    return shown | ({"unit": column.unit} if column.unit else {})
