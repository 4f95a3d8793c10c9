"""Engines: how connections to SQLite and PostgreSQL are made, and what their errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from footfall.errors import FootfallError, InvalidInputError, UnavailableError

_log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S = 5
_LOCK_TIMEOUT_MS = 10_000
_STATEMENT_TIMEOUT_MS = 10_000
_POOL: dict[str, Any] = {"pool_size": 4, "max_overflow": 4, "pool_timeout": _CONNECT_TIMEOUT_S}

_DOES_NOT_ANSWER = "The accounts store does not answer."
#: What SQLite's primary result codes mean for the operator, where it is not the caller's fault.
_SQLITE_UNAVAILABLE = {
    sqlite3.SQLITE_PERM: "The accounts database may not be accessed.",
    sqlite3.SQLITE_BUSY: "The accounts database is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The accounts database is locked by another process.",
    sqlite3.SQLITE_READONLY: "The accounts database cannot be written.",
    sqlite3.SQLITE_IOERR: "The accounts database cannot be read or written.",
    sqlite3.SQLITE_CORRUPT: "The accounts database is damaged.",
    sqlite3.SQLITE_FULL: "The disk of the accounts database is full.",
    sqlite3.SQLITE_CANTOPEN: "The accounts database cannot be opened.",
    sqlite3.SQLITE_NOTADB: "The accounts database is not an SQLite file.",
}
#: SQLSTATE classes and codes after which the same statement may succeed: connection, resources,
#: operator intervention, system; serialization failure and deadlock; read-only standby.
_POSTGRESQL_UNAVAILABLE = ("08", "53", "57", "58", "28", "3D", "40001", "40P01", "25006", "55P03")


def make_engine(url: str) -> Engine:
    """Return the engine for `sqlite:///PATH` or `postgresql+psycopg://…`, without connecting.

    Raises InvalidInputError if the URL cannot be used, UnavailableError if SQLite's file cannot be
    made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidInputError(f"The accounts store's URL cannot be read. {_EXPECTED}") from None
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"} and parsed.database not in {
        None,
        "",
        ":memory:",
    }:
        return _sqlite(parsed)
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return _postgresql(parsed)
    raise InvalidInputError(f"The accounts store cannot be {parsed.drivername!r}. {_EXPECTED}")


_EXPECTED = "Use sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE."


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Digests, salts and e-mail addresses are nobody else's business; the write-ahead log gets
        # the same mode from SQLite.
        path.touch(mode=0o600)
    except OSError as error:
        _log.warning("accounts store cannot be opened", error=str(error))
        raise UnavailableError("The accounts database cannot be opened.") from None
    engine = create_engine(
        url,
        connect_args={"timeout": _LOCK_TIMEOUT_MS / 1000, "check_same_thread": False},
        **_POOL,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, and only before the first write: too late to
    # take the lock that a reading and then writing transaction needs.
    connection.isolation_level = None
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # A forgotten salt is overwritten, not only unlinked.
    connection.execute("PRAGMA secure_delete = ON")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Set write-ahead logging, which is kept in the file.

    Setting it the first time needs the file alone, and SQLite does not wait for that as it waits
    for other locks.
    """
    deadline = time.monotonic() + _LOCK_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _sqlite_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _postgresql(url: URL) -> Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "tcp_user_timeout": _STATEMENT_TIMEOUT_MS,
        "application_name": "footfall",
        "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={_STATEMENT_TIMEOUT_MS} -c timezone=UTC",
    }
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={k: v for k, v in arguments.items() if k not in url.query},
            pool_pre_ping=True,
            pool_recycle=1800,
            **_POOL,
        )
    except ImportError:
        raise InvalidInputError(
            "PostgreSQL needs a driver that is not installed: pip install 'footfall[postgres]'."
        ) from None


@contextmanager
def domain_errors(taken: FootfallError | None = None) -> Iterator[None]:
    """Turn the drivers' errors into the domain's, told apart by their codes and types.

    A value that must be unique and is not becomes `taken`, a store that does not answer
    UnavailableError. What is left is a fault of this program and goes on as it is.
    """
    try:
        yield
    except PoolTimeoutError as error:
        _log.warning("accounts store: no connection is free", error=str(error))
        raise UnavailableError(_DOES_NOT_ANSWER) from None
    except DBAPIError as error:
        if taken is not None and _is_taken(error.orig):
            raise taken from None
        message = _unavailable(error)
        if message is None:
            raise
        _log.warning("accounts store does not answer", error=str(error.orig))
        raise UnavailableError(message) from None


def _sqlite_code(error: BaseException) -> int | None:
    """Return SQLite's primary result code: extended codes hold it in their lowest byte."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_taken(error: BaseException | None) -> bool:
    extended = getattr(error, "sqlite_errorcode", None)
    unique = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
    return extended in unique or getattr(error, "sqlstate", None) == "23505"


def _unavailable(error: DBAPIError) -> str | None:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _SQLITE_UNAVAILABLE.get(_sqlite_code(cause) or 0)
    state = getattr(cause, "sqlstate", None)
    if state is None:
        # No SQLSTATE: the server did not say anything, because the connection failed or broke.
        lost = error.connection_invalidated or isinstance(error, OperationalError)
        return _DOES_NOT_ANSWER if lost else None
    return _DOES_NOT_ANSWER if state.startswith(_POSTGRESQL_UNAVAILABLE) else None
