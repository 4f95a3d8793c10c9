"""Choosing the engine by URL."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from footfall.errors import InvalidInputError
from footfall.events.ports import Clock, EventStore, time_us
from footfall.events.verify import AnyDifference


def verify_event_store(url: str, *, rows_max: int, memory_mb: int = 384) -> Sequence[AnyDifference]:
    """Return where the store at `url` has counted otherwise than its events say, at most
    `rows_max`; changes nothing, and works beside a server.

    Raises as `open_event_store` does, and UnavailableError if the schema is another version's.
    """
    parts = _parts(url)
    if parts.drivername == "duckdb":
        from footfall.events.duckdb.verifying import differences_in_file  # noqa: PLC0415

        return differences_in_file(Path(parts.database or ""), rows_max, memory_mb)
    from footfall.events.clickhouse.verifying import differences_in_database  # noqa: PLC0415

    return differences_in_database(parts, rows_max)


def load_event_engine(url: str) -> None:
    """Load the code of the engine that `url` names, without touching its data, in a process that
    is there for it.

    Raises InvalidInputError as `open_event_store` does.
    """
    if _parts(url).drivername == "duckdb":
        import duckdb  # noqa: PLC0415

        from footfall.events.duckdb.engine import leave_pandas_out  # noqa: PLC0415
        from footfall.events.duckdb.store import DuckDBStore  # noqa: PLC0415

        leave_pandas_out()
        # The driver loads much of itself with the first use of each of its features.
        DuckDBStore(":memory:").close()
        # The database that it opens for those who name none has a thread, which no fork would have.
        duckdb.close()
    else:
        importlib.import_module("footfall.events.clickhouse.store")


def open_event_store(url: str, *, memory_mb: int = 384, clock: Clock = time_us) -> EventStore:
    """Open the store at `url`, bring its schema up to date, and load what the writer remembers.

    `duckdb:///PATH` is embedded in this process; `clickhouse://USER:PASSWORD@HOST:PORT/DATABASE`
    is a server, `clickhouses://` the same over TLS; `chdb:///PATH` is ClickHouse in this process.
    `memory_mb` bounds the memory of DuckDB, in MiB.

    Raises InvalidInputError for a URL that names no engine, or one whose extra is not installed,
    and UnavailableError if the store cannot be opened, saying what to do about it.
    """
    parts = _parts(url)
    # Engines are imported when they are used: a DuckDB deployment has no ClickHouse client.
    if parts.drivername == "duckdb":
        from footfall.events.duckdb.store import DuckDBStore  # noqa: PLC0415

        return DuckDBStore(str(parts.database), memory_mb=memory_mb, clock=clock)
    from footfall.events.clickhouse.store import open_clickhouse  # noqa: PLC0415

    return open_clickhouse(parts, clock=clock)


def _parts(url: str) -> URL:
    try:
        parts = make_url(url)
    except ArgumentError:
        raise InvalidInputError(
            "The event store's URL cannot be read; write duckdb:///PATH or "
            "clickhouse://USER:PASSWORD@HOST:PORT/DATABASE."
        ) from None
    if parts.drivername not in {"duckdb", "clickhouse", "clickhouses", "chdb"}:
        raise InvalidInputError(
            f"The event store's URL names the engine {parts.drivername!r}; "
            "known are duckdb, clickhouse, clickhouses and chdb."
        )
    # In memory nothing would outlive the process, whatever has been acknowledged.
    if parts.drivername == "duckdb" and (not parts.database or parts.database == ":memory:"):
        raise InvalidInputError("The event store's URL names no file; write duckdb:///PATH.")
    return parts
