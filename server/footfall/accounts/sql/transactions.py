"""Transactions that read and transactions that write, for the parts of the accounts store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from footfall.accounts.sql.engine import domain_errors
from footfall.accounts.sql.models import PlanRow
from footfall.errors import FootfallError


class Transactions:
    """Transactions on one engine.

    A transaction that writes takes SQLite's write lock when it begins: one that took it later,
    after reading, would fail if another process had written in between. PostgreSQL has no such
    lock: what is read to decide about a write is read FOR UPDATE.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reads = sessionmaker(engine)
        self._writes = sessionmaker(engine.execution_options(sqlite_begin="BEGIN IMMEDIATE"))

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with domain_errors(), self._reads() as session:
            yield session

    @contextmanager
    def _writing(self, taken: FootfallError | None = None) -> Iterator[Session]:
        with domain_errors(taken), self._writes.begin() as session:
            yield session

    def _overwrite_log(self) -> None:
        """Leave nothing in SQLite's write-ahead log of what has been deleted: the file itself has
        it overwritten (`secure_delete`), the log keeps older pages until it is used again.

        Another connection may be in the way for longer than is waited; the next call does it then.
        """
        if self._engine.dialect.name != "sqlite":
            return
        with domain_errors():
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def ping(self) -> None:
        with self._reading() as session:
            # Reads a table: SQLite would answer a constant without its file.
            session.execute(select(PlanRow.name).limit(1)).all()

    def close(self) -> None:
        self._engine.dispose()
