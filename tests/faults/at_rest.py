"""Everything that a running service keeps, as bytes to look through: files, rows, keys, logs."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import redis

from footfall.events.duckdb.verifying import copy_beside_server
from tests.e2e.service import Service

#: Fields of values, so that two of them never make up a text that is in neither.
_BETWEEN = b"\0\n"


def everything(service: Service) -> dict[str, bytes]:
    """Return all that the service keeps, by where it is: files as they are, and what is in the
    stores once more without their compression.
    """
    found = files(service)
    found["keys of Valkey"] = _joined(_keyspace(service))
    found["rows of SQLite"] = _joined(_sqlite(service.data / "accounts.sqlite"))
    found["rows of DuckDB"] = _joined(_duckdb(service.data / "events.duckdb"))
    return found


def files(service: Service) -> dict[str, bytes]:
    """Return the files of the data directory, logs among them, and what the service prints."""
    printed = service.data.parent / f"{service.data.name}.log"
    found = {}
    for file in (*service.data.rglob("*"), printed):
        if file.is_file():
            try:
                found[str(file.relative_to(service.data.parent))] = file.read_bytes()
            except FileNotFoundError:
                # Stores delete and replace their files meanwhile.
                continue
    return found


def places(kept: dict[str, bytes], wanted: Iterable[bytes]) -> set[str]:
    """Return where any of the texts is."""
    return {place for text in wanted for place, content in kept.items() if text in content}


def _joined(values: Iterable[object]) -> bytes:
    return _BETWEEN.join(
        value if isinstance(value, bytes) else str(value).encode() for value in values
    )


def _keyspace(service: Service) -> Iterator[Any]:
    sockets = json.loads((service.data / "run" / "up.lock").read_text())["sockets"]
    with redis.Redis(unix_socket_path=f"{sockets}/v.sock") as client:
        for key in client.scan_iter(count=1000):
            yield key
            match client.type(key):
                case b"string":
                    yield client.get(key)
                case b"hash":
                    for pair in client.hgetall(key).items():
                        yield from pair
                case b"set":
                    yield from client.smembers(key)
                case b"zset":
                    yield from client.zrange(key, 0, -1)
                case b"none":
                    continue
                case other:
                    raise AssertionError(f"a kind of key that is not looked into: {other!r}")


def _sqlite(file: Path) -> Iterator[Any]:
    with closing(sqlite3.connect(file)) as connection:
        named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in named.fetchall():
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                yield from row


def _duckdb(file: Path) -> Iterator[Any]:
    with tempfile.TemporaryDirectory(dir=file.parent.parent) as folder:
        copy = copy_beside_server(file, Path(folder))
        with duckdb.connect(str(copy)) as connection:
            named = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            for (name,) in named:
                for row in connection.execute(f'SELECT * FROM "{name}"').fetchall():
                    yield from row
