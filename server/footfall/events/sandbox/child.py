"""Runs one statement and ends: `child.py ROWS_FD`, with a job on its standard input.

Run as a script by a bare interpreter with an empty environment. It gets no connection to any
store: the events of one website come as a Parquet file in memory. Before it sees the caller's
statement, it gives away what it could do harm with: it can make no file, grow past its limits,
or outlive its parent, and its database reads no file, loads no extension and keeps its settings.
The statement is then held against what the engine's own parser makes of it.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import decimal
import json
import math
import os
import resource
import signal
import sys
import time
from typing import Any

if __name__ == "__main__":
    # The engine would look whether values are theirs, which takes longer than all the rest.
    for _unused in ("numpy", "pandas", "polars", "pyarrow"):
        sys.modules[_unused] = None  # type: ignore[assignment]  # importing it fails from now on

import duckdb

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_INT64 = range(-(2**63), 2**63)

#: What a statement may be made of, in the words of the engine's parser.
_CLASSES = frozenset(
    {
        "COLUMN_REF", "CONSTANT", "FUNCTION", "COMPARISON", "CONJUNCTION", "CASE", "CAST",
        "OPERATOR", "STAR", "SUBQUERY", "WINDOW", "BETWEEN", "PARAMETER",
    }
)  # fmt: skip
_TABLES = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY"})
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE"})
_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "integer",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "HUGEINT": "integer",
    "UTINYINT": "integer",
    "USMALLINT": "integer",
    "UINTEGER": "integer",
    "UBIGINT": "integer",
    "FLOAT": "number",
    "DOUBLE": "number",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}


class RefusedError(Exception):
    """The statement is not run: `kind` says why."""

    def __init__(self, kind: str, *about: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.about = about


def main(rows_fd: str) -> None:
    """Read the job, run it, and write the answer."""
    job = json.load(sys.stdin)
    _confine(job["memory_mb"], job["seconds"])
    try:
        answer = _answer(job, rows_fd)
    except RefusedError as error:
        answer = {"refused": error.kind, "about": error.about}
    except (duckdb.OutOfMemoryException, MemoryError):
        answer = {"refused": "memory"}
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        answer = {"refused": "value", "about": _about(error, job)}
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        answer = {"refused": "binding", "about": _about(error, job)}
    except (duckdb.InvalidInputException, duckdb.ParserException, duckdb.SyntaxException) as error:
        answer = {"refused": "statement", "about": _about(error, job)}
    except duckdb.NotImplementedException as error:
        answer = {"refused": "statement", "about": _about(error, job)}
    except duckdb.Error as error:
        answer = {"refused": "engine", "detail": repr(error)}
    document = json.dumps(answer).encode()
    if len(document) > job["bytes_max"]:
        document = b'{"refused": "size"}'
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    # Nothing is worth being tidied up.
    os._exit(0)


def _confine(memory_mb: int, seconds: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    # The interpreter and the engine's code take address space, too.
    space = (memory_mb * 2 + 512) * 1024 * 1024
    for limit, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(limit, (most, most))
    os.nice(5)


def _answer(job: dict[str, Any], rows_fd: str) -> dict[str, Any]:
    started = time.perf_counter()
    connection = _database(job, rows_fd)
    _check(connection, job)
    # The text was parsed above, as one SELECT without comments: it ends where it seems to.
    statement = f"SELECT * FROM ({job['sql']}) AS answer LIMIT {job['rows_max'] + 1}"  # noqa: S608
    result = connection.execute(statement, job["parameters"] or None)
    columns = [(name, str(kind)) for name, kind, *_ in result.description]
    rows: list[list[Any]] = []
    size = 0
    while part := result.fetchmany(500):
        for row in part:
            cells = [_cell(value) for value in row]
            size += sum(len(cell) if isinstance(cell, str) else 8 for cell in cells)
            rows.append(cells)
        if size > job["bytes_max"]:
            raise RefusedError("size")
    return {
        "columns": [[name, _TYPES.get(_base(kind), "text")] for name, kind in columns],
        "rows": rows[: job["rows_max"]],
        "truncated": len(rows) > job["rows_max"],
        "seconds": time.perf_counter() - started,
    }


def _database(job: dict[str, Any], rows_fd: str) -> duckdb.DuckDBPyConnection:
    """Return a database with the views, which from then on can do nothing but SELECT from them."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": f"{job['memory_mb']}MiB",
            "temp_directory": "",
            "max_temp_directory_size": "0KiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
        },
    )
    rows = f"/proc/self/fd/{int(rows_fd)}"
    connection.execute("CREATE TABLE stored AS SELECT * FROM read_parquet($1)", [rows])
    os.close(int(rows_fd))
    for definition in job["views"]:
        connection.execute(definition)
    for setting in (
        "TimeZone = 'UTC'",
        "errors_as_json = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _check(connection: duckdb.DuckDBPyConnection, job: dict[str, Any]) -> None:
    """Raise RefusedError for a statement that the engine reads as anything but what is allowed."""
    found = connection.execute(
        "SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", [job["sql"]]
    ).fetchone()
    document: dict[str, Any] = json.loads(found[0]) if found else {"error": True}
    if document["error"] or len(document["statements"]) != 1:
        raise RefusedError("statement")
    _inspect(document["statements"][0], frozenset(job["tables"]), frozenset(job["functions"]))


def _inspect(part: Any, tables: frozenset[str], functions: frozenset[str]) -> None:
    if isinstance(part, dict):
        _inspect_node(part, tables, functions)
        # A table of WITH can be named by those after it and by what the WITH belongs to.
        for entry in part.get("cte_map", {}).get("map", ()):
            _inspect(entry["value"], tables, functions)
            tables |= {entry["key"].lower()}
        part = [value for name, value in part.items() if name != "cte_map"]
    if isinstance(part, list):
        for element in part:
            _inspect(element, tables, functions)


def _inspect_node(node: dict[str, Any], tables: frozenset[str], functions: frozenset[str]) -> None:
    kind = node.get("class")
    if isinstance(kind, str):
        if kind not in _CLASSES:
            raise RefusedError("construct")
        named = node.get("function_name")
        if named is not None and (
            named.lower() not in functions or node.get("schema") or node.get("catalog")
        ):
            raise RefusedError("function", named)
        return
    kind = node.get("type")
    if isinstance(kind, str) and "alias" in node and "sample" in node:
        if kind not in _TABLES or node["sample"] is not None:
            raise RefusedError("table")
        if kind == "BASE_TABLE" and (
            node["table_name"].lower() not in tables or node["schema_name"] or node["catalog_name"]
        ):
            raise RefusedError("table")
    elif isinstance(kind, str) and "modifiers" in node and kind not in _NODES:
        raise RefusedError("construct")


def _cell(value: Any) -> Any:  # noqa: PLR0911 - one a type
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if value in _INT64 else float(value)
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return float(value)
        case dt.datetime():
            return value.replace(tzinfo=None).isoformat(" ")
        case dt.date():
            return value.isoformat()
        case _:
            return str(value)


def _base(kind: str) -> str:
    return "DOUBLE" if kind.startswith("DECIMAL") else kind


def _about(error: Exception, job: dict[str, Any]) -> list[str]:
    """Return the caller's own names that the engine's message quotes, and nothing else of it."""
    # The first line only: below it there is the statement itself, with all of its names.
    message = str(error).partition("\nLINE ")[0]
    return [name for name in job["identifiers"] if f'"{name}"' in message]


if __name__ == "__main__":
    main(sys.argv[1])
