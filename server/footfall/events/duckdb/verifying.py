"""Comparing what is folded with events in a DuckDB file, also while a server goes on writing to it.

DuckDB lets one process alone open a file that is written to. It never writes over what the header
of the file leads to, though, until a checkpoint has written a new header; and its log only grows
until then. So a copy of the log and then of the file, under one and the same header, is what a
crash would have left, from which whoever opens it next recovers.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import duckdb

from footfall.errors import UnavailableError
from footfall.events.duckdb.engine import translated
from footfall.events.duckdb.sql import FOLDED, Connection, applied_migrations, run, snapshot
from footfall.events.duckdb.workspace_verifying import wrong_states
from footfall.events.migrations import require_current
from footfall.events.verify import AnyDifference, differences

_Option = str | bool | int | float | list[str]

_HEADER_BYTES: Final = 3 * 4096
_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.25


def read_differences(connection: Connection, rows_max: int) -> list[AnyDifference]:
    """Return what is not what the events say; see EventStore.differences."""
    with snapshot(connection):
        seq = FOLDED.seq(connection)
        found: list[AnyDifference] = []
        found += differences(lambda asked: run(connection, asked).fetchall(), rows_max, seq)
        return found + wrong_states(connection, rows_max - len(found))


def differences_in_file(path: Path, rows_max: int, memory_mb: int) -> list[AnyDifference]:
    """Return what is not what the events say in a file, or in a copy of it while a server has it.

    Raises UnavailableError if neither can be had, or the file's schema is another version's.
    """
    try:
        return _differences(path, rows_max, memory_mb)
    except duckdb.IOException:
        # Locked, in all likelihood. The copy is made where there may be room for it.
        with tempfile.TemporaryDirectory(prefix="verify-", dir=path.parent) as folder:
            copy = copy_beside_server(path, Path(folder))
            with translated("verify"):
                return _differences(copy, rows_max, memory_mb)


def _differences(path: Path, rows_max: int, memory_mb: int) -> list[AnyDifference]:
    config: dict[str, _Option] = {"memory_limit": f"{memory_mb}MiB"}
    with duckdb.connect(str(path), read_only=True, config=config) as connection:
        require_current("duckdb", applied_migrations(connection))
        return read_differences(connection, rows_max)


def copy_beside_server(path: Path, folder: Path) -> Path:
    """Copy a file and its log into a folder, and return the copy's path.

    Raises UnavailableError if the file is not left alone for as long as copying takes, or there
    is no room.
    """
    copy, log = folder / path.name, Path(f"{path}.wal")
    try:
        for _ in range(_ATTEMPTS):
            before = _header(path)
            if not _is_checkpointing(path):
                _copy(log, Path(f"{copy}.wal"))
                _copy(path, copy)
                if not _is_checkpointing(path) and _header(path) == before:
                    return copy
            time.sleep(_PAUSE_S)
    except OSError as error:
        raise UnavailableError(
            f"The event store cannot be copied: {error.strerror or error}."
        ) from error
    raise UnavailableError(
        "The server writes to the event store faster than it can be copied. Try again when there "
        "is less to do, or stop the server."
    )


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _is_checkpointing(path: Path) -> bool:
    return any(path.parent.glob(f"{path.name}.wal.*"))


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    # A log that has just been folded into the file is not there.
    if source.exists():
        shutil.copyfile(source, target)
