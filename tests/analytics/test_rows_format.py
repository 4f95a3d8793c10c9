"""Rows as CSV and NDJSON."""

from __future__ import annotations

import csv
import io
import json

import pytest

from footfall.analytics.rows_format import (
    RowTable,
    parse_rows_format,
    rows_csv,
    rows_ndjson,
)
from footfall.errors import InvalidInputError

PAGES = RowTable((("parameter", "pages"),), ["name", "visitors"], [('/a,"b"\n', 3), ("/ü", 0)])
TOTALS = RowTable((("parameter", "t"),), ["visitors", "rate", "live"], [(5, 12.5, True)])
ODD = RowTable((), ["name", "value"], [(None, False), ("", 2**60), ("=1+1", 0.1)])


def cells(tables: list[RowTable]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(rows_csv(tables).decode(), newline="")))


def test_one_table_is_its_rows() -> None:
    assert cells([ODD]) == [
        ["name", "value"],
        ["", "false"],
        ["", str(2**60)],
        ["=1+1", "0.1"],
    ]
    assert [json.loads(line) for line in rows_ndjson([ODD]).splitlines()] == [
        {"name": None, "value": False},
        {"name": "", "value": 2**60},
        {"name": "=1+1", "value": 0.1},
    ]


def test_several_tables_share_their_columns() -> None:
    assert cells([PAGES, TOTALS]) == [
        ["parameter", "name", "visitors", "rate", "live"],
        ["pages", '/a,"b"\n', "3", "", ""],
        ["pages", "/ü", "0", "", ""],
        ["t", "", "5", "12.5", "true"],
    ]
    lines = rows_ndjson([PAGES, TOTALS]).decode().split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == [
        {"parameter": "pages", "name": '/a,"b"\n', "visitors": 3},
        {"parameter": "pages", "name": "/ü", "visitors": 0},
        {"parameter": "t", "visitors": 5, "rate": 12.5, "live": True},
    ]


def test_without_rows_there_are_names() -> None:
    assert rows_csv([RowTable((), ["a", "b"], [])]) == b"a,b\r\n"
    assert rows_ndjson([RowTable((), ["a", "b"], [])]) == b""


def test_formats() -> None:
    assert [parse_rows_format(text) for text in ("", "json", "csv", "ndjson")] == [
        "json",
        "json",
        "csv",
        "ndjson",
    ]
    assert parse_rows_format("", "*/*") == "json"
    assert parse_rows_format("", "image/png, text/csv") == "csv"
    assert parse_rows_format("", "application/json, text/csv") == "json"
    assert parse_rows_format("", "application/x-ndjson;q=1") == "ndjson"
    assert parse_rows_format("json", "text/csv") == "json"
    with pytest.raises(InvalidInputError, match="Did you mean csv"):
        parse_rows_format("cvs")
