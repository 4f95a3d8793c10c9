"""How SQL and rows get to ClickHouse: over HTTP, or into chDB in this process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import pyarrow as pa
import structlog
from sqlalchemy.engine import URL
from sqlalchemy.sql.elements import ClauseElement

from footfall.errors import DeadlineError, InvalidInputError, UnavailableError

try:
    import clickhouse_connect
    from clickhouse_connect.cc_sqlalchemy.dialect import ClickHouseDialect
    from clickhouse_connect.driver.binding import finalize_query
    from clickhouse_connect.driver.exceptions import ClickHouseError
except ImportError as error:
    raise InvalidInputError(
        "The event store's URL asks for ClickHouse, whose client is not installed; "
        'install it with: pip install "footfall[clickhouse]"'
    ) from error

_log = structlog.get_logger(__name__)

_dialect: Final = ClickHouseDialect(paramstyle="pyformat")

#: Wait for the part to be written (async inserts answer before), and let views deduplicate the
#: repetition of an insert like their source does.
_INSERT_SETTINGS: Final = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}
#: A block that a statement inserts again on purpose is not a repetition.
_COMMAND_SETTINGS: Final = {"insert_deduplicate": 0}
#: Read what a merge would leave, wherever rows are yet to be merged.
_READ_SETTINGS: Final = {"final": 1}


#: The server's code for a query that ran past `max_execution_time`.
_TIMEOUT_EXCEEDED: Final = 159


class Driver(Protocol):
    """A connection to ClickHouse that threads may share."""

    def rows(self, sql: str, *, query_id: str = "", timeout_s: float = 0) -> list[Any]:
        """Return the rows of a query, which ClickHouse gives up after the timeout (0: never)."""

    def arrow(self, sql: str, *, query_id: str = "", timeout_s: float = 0) -> pa.Table:
        """Return the rows of a query as an Arrow table; see `rows`."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows, once for each token, durably."""

    def command(self, sql: str) -> None:
        """Run a statement without rows to its end."""

    def kill(self, query_id: str) -> None:
        """Stop a query that another thread runs."""

    def close(self) -> None: ...


def compile_sql(statement: ClauseElement) -> str:
    """Return a statement's text for ClickHouse, values included, quoted by its own client."""
    compiled = statement.compile(dialect=_dialect, compile_kwargs={"render_postcompile": True})
    return str(finalize_query(str(compiled), dict(compiled.params)))


class ServerDriver:
    """A ClickHouse server, by HTTP."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: URL) -> ServerDriver:
        """Connect to the server of a `clickhouse://` or `clickhouses://` URL, and make its
        database if it is not there.
        """
        database = url.database or "default"
        with translated():
            client = clickhouse_connect.get_client(
                host=url.host or "127.0.0.1",
                port=url.port or 0,
                username=url.username,
                password=url.password or "",
                secure=url.drivername == "clickhouses",
                # Sessions allow one query at a time.
                autogenerate_session_id=False,
            )
            client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(database)}")
            client.database = database
        return cls(client)

    def rows(self, sql: str, *, query_id: str = "", timeout_s: float = 0) -> list[Any]:
        settings = _read_settings(query_id, timeout_s)
        with translated():
            return list(self._client.query(sql, settings=settings).result_rows)

    def arrow(self, sql: str, *, query_id: str = "", timeout_s: float = 0) -> pa.Table:
        settings = _read_settings(query_id, timeout_s)
        with translated():
            return self._client.query_arrow(sql, settings=settings, use_strings=True)

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        settings = _INSERT_SETTINGS | {"insert_deduplication_token": token}
        with translated():
            self._client.insert_arrow(table, rows, settings=settings)

    def command(self, sql: str) -> None:
        with translated():
            self._client.command(sql, settings=_COMMAND_SETTINGS)

    def kill(self, query_id: str) -> None:
        self.command(f"KILL QUERY WHERE query_id = '{query_id}' ASYNC")

    def close(self) -> None:
        self._client.close()


class EmbeddedDriver(ServerDriver):
    """chDB, one engine a process: a path that is open stays the only one until it is closed.

    It has one connection, on which queries wait for each other; so nothing can stop one but its
    own time limit. It must not be used after a fork.

    What its client is given as settings of a statement is often read, set before and reset after,
    in statements of their own. So they are the connection's here, or in the statement's text.
    """

    @classmethod
    def connect(cls, url: URL) -> EmbeddedDriver:
        """Open the directory of a `chdb:///PATH?database=NAME` URL, making it if need be."""
        database = str(url.query.get("database", "footfall"))
        try:
            with translated():
                client = clickhouse_connect.get_client(
                    interface="chdb", path=url.database, settings=_COMMAND_SETTINGS
                )
                client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(database)}")
                client.database = database
        except ImportError as error:
            raise InvalidInputError(
                "The event store's URL asks for chDB, which is not installed; "
                "install it with: pip install chdb"
            ) from error
        return cls(client)

    def arrow(
        self,
        sql: str,
        *,
        query_id: str = "",  # noqa: ARG002 - only a server's queries are stopped by their ids
        timeout_s: float = 0,
    ) -> pa.Table:
        settings = _read_settings("", timeout_s)
        given = ", ".join(f"{name} = {value}" for name, value in settings.items())
        with translated():
            return self._client.query_arrow(f"{sql}\nSETTINGS {given}", use_strings=True)

    def command(self, sql: str) -> None:
        with translated():
            self._client.command(sql)

    def kill(self, query_id: str) -> None:
        """Do nothing: the query ends at its time limit."""


def connect(url: URL) -> Driver:
    """Connect to the database of a `clickhouse://`, `clickhouses://` or `chdb://` URL."""
    kind = EmbeddedDriver if url.drivername == "chdb" else ServerDriver
    return kind.connect(url)


def _read_settings(query_id: str, timeout_s: float) -> dict[str, Any]:
    settings: dict[str, Any] = dict(_READ_SETTINGS)
    if timeout_s:
        settings["max_execution_time"] = math.ceil(timeout_s)
    if query_id:
        settings["query_id"] = query_id
    return settings


def _quoted(name: str) -> str:
    if not name.replace("_", "").isalnum():
        raise InvalidInputError("A ClickHouse database's name has letters, digits and _ only.")
    return f"`{name}`"


@contextmanager
def translated() -> Iterator[None]:
    """Turn driver errors into UnavailableError; the whole of them goes to the log only."""
    try:
        yield
    except (ClickHouseError, OSError) as error:
        if getattr(error, "code", None) == _TIMEOUT_EXCEEDED:
            raise DeadlineError("The query took longer than its deadline allows.") from error
        _log.error("event store failed", error=repr(error))
        raise UnavailableError("The event store does not answer.") from error
