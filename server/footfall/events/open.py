"""Choosing the engine by URL."""

from __future__ import annotations

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from footfall.errors import InvalidInputError
from footfall.events.ports import Clock, EventStore, time_us


def open_event_store(url: str, *, memory_mb: int = 384, clock: Clock = time_us) -> EventStore:
    """Open the store at `url`, bring its schema up to date, and load what the writer remembers.

    `duckdb:///PATH` is embedded in this process; `clickhouse://USER:PASSWORD@HOST:PORT/DATABASE`
    is a server, `clickhouses://` the same over TLS; `chdb:///PATH` is ClickHouse in this process.
    `memory_mb` bounds the memory of DuckDB, in MiB.

    Raises InvalidInputError for a URL that names no engine, or one whose extra is not installed,
    and UnavailableError if the store cannot be opened, saying what to do about it.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise InvalidInputError(
            "The event store's URL cannot be read; write duckdb:///PATH or "
            "clickhouse://USER:PASSWORD@HOST:PORT/DATABASE."
        ) from None
    # Engines are imported when they are used: a DuckDB deployment has no ClickHouse client.
    if parts.drivername == "duckdb":
        from footfall.events.duckdb.store import DuckDBStore  # noqa: PLC0415

        # In memory nothing would outlive the process, whatever has been acknowledged.
        if not parts.database or parts.database == ":memory:":
            raise InvalidInputError("The event store's URL names no file; write duckdb:///PATH.")
        return DuckDBStore(parts.database, memory_mb=memory_mb, clock=clock)
    if parts.drivername in {"clickhouse", "clickhouses", "chdb"}:
        from footfall.events.clickhouse.store import open_clickhouse  # noqa: PLC0415

        return open_clickhouse(parts, clock=clock)
    raise InvalidInputError(
        f"The event store's URL names the engine {parts.drivername!r}; "
        "known are duckdb, clickhouse, clickhouses and chdb."
    )
