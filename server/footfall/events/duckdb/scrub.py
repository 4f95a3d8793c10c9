"""Leaving nothing of removed events in a DuckDB file.

DuckDB keeps what is deleted where it is: in blocks that are free, in blocks that other columns
share, in dictionaries and statistics, and in the log. What is surely without it is a file into
which only what is left was ever written. So the file is written anew beside the old one while
commits and reads go on, gets what was committed meanwhile, and takes the old one's place between
two commits.
"""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import func, select

from footfall.errors import FootfallError, UnavailableError
from footfall.events.duckdb.engine import DuckDBEngine
from footfall.events.duckdb.removing import removals
from footfall.events.duckdb.sql import Connection, last_seq, run
from footfall.events.ports import Clock
from footfall.events.tables import TABLES, pages

_log = structlog.get_logger(__name__)

#: Removals that follow one another within this time are scrubbed together.
_GATHER_S: Final = 5.0
#: How long to leave it after a failure, such as too little room on the disk.
_RETRY_S: Final = 60.0
_LOOK_S: Final = 0.05
#: How long commits wait for reads to end when the files change places; twice as long each time
#: that this was not enough.
_PATIENCE_S: Final = 0.25
_PATIENCE_MAX_S: Final = 4.0
#: Sequence numbers that are copied in one go, on one thread: the other is for reads.
_COPY_ROWS: Final = 250_000

#: The name under which the new file is attached; its tables have it in front of theirs.
_FRESH: Final = "fresh"
_NAME: Final = '"'
_TEXT: Final = "'"
#: What is changed in place by commits is copied last, when there are none.
_LATE: Final = frozenset({pages.name})


class Scrubber:
    """Writes the file anew some time after a removal; everything but the copying itself happens on
    the writer's thread.
    """

    def __init__(self, engine: DuckDBEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._file = Path(f"{Path(engine.path).resolve()}.{_FRESH}")
        self._pending = False
        self._due = 0.0
        self._copy: _Copy | None = None
        self._patience_s = _PATIENCE_S
        # Of a process that ended over it.
        self._discard()

    @property
    def copying(self) -> bool:
        """Whether a copy is being made: events may come, but nothing else may change till then."""
        return self._copy is not None

    def load(self, connection: Connection) -> None:
        """Find out whether a removal is yet to be scrubbed, at start."""
        waiting = select(func.count()).where(removals.c.scrubbed_us.is_(None))
        ((count,),) = run(connection, waiting).fetchall()
        self._pending = count > 0

    def removed(self) -> None:
        """Take note of a removal."""
        if not self._pending:
            self._pending, self._due = True, time.monotonic() + _GATHER_S
        if self._copy is not None:
            self._copy.is_void = True

    def wait_s(self) -> float | None:
        """Return after how many seconds `step` has something to do at the earliest; None: nothing
        waits.
        """
        if not self._pending:
            return None
        if self._copy is not None:
            return _LOOK_S
        return max(self._due - time.monotonic(), _LOOK_S)

    def step(self) -> None:
        """Do what is due, without waiting for a copy."""
        if not self._pending or time.monotonic() < self._due:
            return
        try:
            if self._copy is None:
                self._begin()
            elif self._copy.ended:
                self._end(self._copy)
        except (FootfallError, OSError) as error:
            _log.warning("event store not scrubbed yet", error=repr(error))
            self._start_over(_RETRY_S)

    def run(self) -> None:
        """Do all of it now; raises UnavailableError if it cannot be done."""
        while self._pending:
            self._due = 0.0
            try:
                copy = self._copy or self._begin()
                copy.join()
                self._end(copy)
            except OSError as error:
                self._start_over(_RETRY_S)
                raise UnavailableError("The event store's file cannot be written anew.") from error
            except FootfallError:
                self._start_over(_RETRY_S)
                raise

    def _begin(self) -> _Copy:
        size = Path(self._engine.path).stat().st_size + self._engine.wal_bytes()
        if shutil.disk_usage(self._file.parent).free < size:
            raise UnavailableError("There is no room for a second file of the event store.")
        self._copy = copy = _Copy(self._engine, self._file)
        copy.start()
        return copy

    def _end(self, copy: _Copy) -> None:
        if copy.is_void:
            # Something was removed that is in it.
            self._start_over(0.0)
            return
        if copy.error is not None:
            raise copy.error
        if self._engine.exchange(
            self._file,
            lambda connection: copy.complete(connection, self._clock()),
            self._patience_s,
        ):
            _log.info("event store scrubbed", seconds=round(time.monotonic() - copy.began, 1))
            self._copy, self._pending, self._patience_s = None, False, _PATIENCE_S
        else:
            # Reads went on for longer.
            self._patience_s = min(2 * self._patience_s, _PATIENCE_MAX_S)
            self._due = time.monotonic() + _PATIENCE_MAX_S

    def _start_over(self, pause_s: float) -> None:
        self._copy = None
        self._due = time.monotonic() + pause_s
        try:
            with self._engine.cursor() as connection:
                connection.execute(f"DETACH DATABASE IF EXISTS {_FRESH}")
        except FootfallError as error:
            _log.warning("copy of the event store is still attached", error=repr(error))
        self._discard()

    def _discard(self) -> None:
        for file in (self._file, Path(f"{self._file}.wal")):
            file.unlink(missing_ok=True)


class _Copy:
    """A copy of the file that is made in a thread."""

    def __init__(self, engine: DuckDBEngine, file: Path) -> None:
        self._engine = engine
        self._file = file
        self._has_snapshot = threading.Event()
        self._through_seq = 0
        self._thread = threading.Thread(target=self._run, name="events-scrub", daemon=True)
        self.began = time.monotonic()
        self.is_void = False
        self.error: FootfallError | None = None

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def start(self) -> None:
        """Begin; returns once it is settled what the copy holds."""
        self._thread.start()
        self._has_snapshot.wait()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            self._engine.run(self._make)
        except FootfallError as error:
            self.error = error
        finally:
            self._has_snapshot.set()

    def _make(self, connection: Connection) -> None:
        ((store,),) = connection.execute("SELECT current_database()").fetchall()
        tables: dict[str, str] = dict(
            connection.execute(
                "SELECT table_name, sql FROM duckdb_tables() "
                "WHERE database_name = current_database()"
            ).fetchall()
        )
        connection.execute(f"ATTACH {_quoted(str(self._file), _TEXT)} AS {_FRESH}")
        connection.execute(f"USE {_FRESH}")
        for sql in tables.values():
            connection.execute(sql)
        connection.execute(f"USE {_quoted(store, _NAME)}")
        connection.execute("BEGIN")
        self._through_seq = last_seq(connection)
        self._has_snapshot.set()
        sequenced = {target.name for target in TABLES.values()}
        for name in tables.keys() - _LATE:
            if name not in sequenced:
                _copy(connection, name)
                continue
            for after in range(0, self._through_seq, _COPY_ROWS):
                _copy(connection, name, f"seq > {after} AND seq <= {after + _COPY_ROWS}")
        connection.execute("COMMIT")

    def complete(self, connection: Connection, now_us: int) -> None:
        """Add what has come since; nothing comes meanwhile."""
        connection.execute("BEGIN")
        for target in TABLES.values():
            _copy(connection, target.name, f"seq > {self._through_seq}")
        for name in _LATE:
            _copy(connection, name)
        connection.execute(f"UPDATE {_FRESH}.{removals.name} SET scrubbed_us = {now_us}")  # noqa: S608 - ours
        connection.execute("COMMIT")
        connection.execute(f"CHECKPOINT {_FRESH}")
        connection.execute(f"DETACH {_FRESH}")


def _copy(connection: Connection, name: str, condition: str = "true") -> None:
    """Copy rows of a table; with RETURNING that takes one thread, and keeps their order."""
    rows = connection.execute(
        f"INSERT INTO {_FRESH}.{name} SELECT * FROM {name} WHERE {condition} RETURNING 1"  # noqa: S608 - names and numbers of ours
    )
    while rows.fetchmany(_COPY_ROWS):
        pass


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, mark + mark) + mark
