"""Rows of answers as CSV and NDJSON, for whoever wants a table and not a document."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from footfall.analytics.parameters import NDJSON_TYPES, document_format

RowsFormat = Literal["json", "csv", "ndjson"]

CONTENT_TYPES: Final[dict[RowsFormat, str]] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
}
#: What an Accept header may ask for.
_MEDIA_TYPES: Final[dict[RowsFormat, tuple[str, ...]]] = {
    "json": ("application/json",),
    "csv": ("text/csv",),
    "ndjson": NDJSON_TYPES,
}


@dataclass(frozen=True, slots=True)
class RowTable:
    """The rows of one answer; `labels` are columns in front of them that have one value."""

    labels: tuple[tuple[str, str], ...]
    columns: Sequence[str]
    #: A value of JSON for each column.
    rows: Sequence[Sequence[Any]]


def parse_rows_format(text: str, accept: str = "") -> RowsFormat:
    """Return the format of an answer, JSON unless it is asked otherwise; see document_format."""
    return document_format(text, accept, _MEDIA_TYPES)


def rows_csv(tables: Sequence[RowTable]) -> bytes:
    """Return the tables as one of RFC 4180, under a line of names: all labels and columns in the
    order in which they come first; what a table lacks is empty there.

    Texts are what was sent, to the letter; null is empty, and true and false are so written.
    """
    names = _names(tables)
    places = {name: place for place, name in enumerate(names)}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(names)
    for table in tables:
        blank: list[Any] = [""] * len(names)
        for name, label in table.labels:
            blank[places[name]] = label
        at = [places[name] for name in table.columns]
        for row in table.rows:
            cells = blank.copy()
            for place, value in zip(at, row, strict=True):
                cells[place] = _cell(value)
            writer.writerow(cells)
    return text.getvalue().encode()


def rows_ndjson(tables: Sequence[RowTable]) -> bytes:
    """Return a JSON object a line for each row, its table's labels first."""
    return b"".join(
        orjson.dumps(
            dict(table.labels) | dict(zip(table.columns, row, strict=True)),
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for table in tables
        for row in table.rows
    )


def _names(tables: Sequence[RowTable]) -> list[str]:
    labels = (name for table in tables for name, _ in table.labels)
    columns = (name for table in tables for name in table.columns)
    return list(dict.fromkeys([*labels, *columns]))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value
