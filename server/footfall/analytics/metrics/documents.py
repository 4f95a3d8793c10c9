"""Answers as the published JSON documents: keys in the published order, nulls printed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from footfall.analytics.metrics.answers import (
    Answer,
    Cell,
    Elapsed,
    Empty,
    Instant,
    Page,
    Result,
    Scalar,
    Series,
    Table,
)
from footfall.analytics.metrics.plans import Column

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC, as all times here


def document(answer: Answer) -> bytes:
    """Return an answer as JSON."""
    empty = isinstance(answer.result, Empty)
    body: dict[str, Any] = {
        "type": "empty" if empty else answer.metric.form.response_type,
        "value": _value(answer.result),
    }
    if answer.warnings:
        body["warnings"] = list(answer.warnings)
    return orjson.dumps(body, _text, orjson.OPT_PASSTHROUGH_DATACLASS)


def _value(result: Result) -> dict[str, Any]:
    match result:
        case Empty():
            return {}
        case Scalar(column, value):
            return {"value": value, "prefix": column.prefix, "suffix": column.suffix}
        case Series(columns, _, buckets):
            names = [column.heading for column in columns]
            return {
                "values": [
                    {
                        "name": bucket.name,
                        "values": dict(zip(names, bucket.values, strict=True)),
                        "value_mapping": None,
                    }
                    for bucket in buckets
                ]
            }
        case Table(columns, rows):
            return {
                "headings": _headings(columns),
                "rows": _rows(columns, rows),
                "prefixes": _named({column.heading: column.prefix for column in columns}),
                "suffixes": _named({column.heading: column.suffix for column in columns}),
            }
        case Page(columns, items, total, pages, size, page):
            return {
                "headings": _headings(columns),
                "items": _rows(columns, items),
                "total": total,
                "pages": pages,
                "size": size,
                "page": page,
            }


def _headings(columns: tuple[Column, ...]) -> list[str]:
    return [column.heading for column in columns]


def _named(texts: dict[str, str | None]) -> dict[str, str] | None:
    return {name: text for name, text in texts.items() if text is not None} or None


def _rows(columns: tuple[Column, ...], rows: Sequence[tuple[Cell, ...]]) -> list[dict[str, Cell]]:
    names = _headings(columns)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _text(cell: Any) -> str:
    """Return a cell that JSON has no type for."""
    match cell:
        case Instant(us):
            return f"{_EPOCH + timedelta(seconds=us // 1_000_000):%Y-%m-%dT%H:%M:%S}Z"
        case Elapsed(us):
            return f"{(us + 500) // 1000}ms"
    raise TypeError(type(cell))
