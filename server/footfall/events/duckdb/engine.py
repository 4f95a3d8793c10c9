"""A DuckDB file: connections, interrupts, and recovery from faults of the disk.

DuckDB gives up on an open database after a fault that leaves it unsure of its file (a checkpoint
on a full disk, say): every call fails until all connections are closed and the file is opened
again. This module does that by itself, and turns driver errors into the service's own.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import structlog

from footfall.errors import InvalidInputError, UnavailableError
from footfall.events.reading import ReadPool

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_THREADS: Final = 2
_READERS: Final = 4
#: The write-ahead log is folded into the file by `checkpoint`; this is only how large it may
#: grow while that keeps failing.
_WAL_BYTES_MAX: Final = 1 << 30
#: How long to leave a database alone that could not be opened again.
_REOPEN_PAUSE_S: Final = 0.5
_CLOSE_TIMEOUT_S: Final = 5.0
#: How long the files' change of places is waited for.
_EXCHANGE_WAIT_S: Final = 30.0


class _NoPandas:
    """Finds no pandas, at once."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"{name} is left out here", name=name)


def leave_pandas_out() -> None:
    """Let nothing in this process import pandas from now on.

    DuckDB looks whether the values that it is given are of pandas' kinds. Where pandas is
    installed, it loads all of it for that: 0.3 s and 30 MiB. Where it is not, it looks for it
    again with each value: 50 µs.
    """
    sys.meta_path.insert(0, _NoPandas)


class _Reading:
    """A read under way: what there is to interrupt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self.stopped = False

    def start(self, cursor: duckdb.DuckDBPyConnection) -> None:
        with self._lock:
            self._cursor = cursor
            if self.stopped:
                raise UnavailableError("The event store stopped the query.")

    def finish(self) -> None:
        with self._lock:
            self._cursor = None

    def interrupt(self) -> None:
        with self._lock:
            self.stopped = True
            if self._cursor is not None:
                self._cursor.interrupt()


class DuckDBEngine:
    """An open DuckDB file that opens itself again when it has to."""

    def __init__(self, path: str, memory_mb: int) -> None:
        """Open or create the file.

        Raises UnavailableError if another process has it, or it cannot be read or made.
        """
        self.path = path
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_mb}MiB",
            "threads": _THREADS,
            "checkpoint_threshold": f"{_WAL_BYTES_MAX}B",
            # Insertion order is given by `seq`; not having to keep it saves memory in scans.
            "preserve_insertion_order": False,
            # Would read the table twice for a page of it, which pays for far wider rows than ours.
            "late_materialization_max_rows": 0,
        }
        self._pool = ReadPool(_READERS)
        #: For reads that tell whether the store answers, which it does while others wait.
        self._probes = ReadPool(1)
        self._readings: set[_Reading] = set()
        #: Guards the root connection and the number of cursors that are open on it.
        self._state = threading.Condition()
        self._cursors = 0
        self._broken = False
        self._closed = False
        self._exchanging = False
        self._reopen_after = 0.0
        self._root: duckdb.DuckDBPyConnection | None = None
        with translated("open"):
            self._root = self._connect()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        return duckdb.connect(self.path, config=self._config)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection to this thread, with driver errors translated."""
        with translated("use", self._note_fault):
            cursor = self._lend()
            try:
                yield cursor
            finally:
                self._take_back(cursor)

    def _lend(self) -> duckdb.DuckDBPyConnection:
        with self._state:
            self._state.wait_for(lambda: not self._exchanging, _EXCHANGE_WAIT_S)
            if self._closed:
                raise UnavailableError("The event store is closed.")
            if self._broken:
                self._reopen()
            if self._root is None:
                raise UnavailableError("The event store does not answer.")
            cursor = self._root.cursor()
            self._cursors += 1
            return cursor

    def _take_back(self, cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.close()
        finally:
            with self._state:
                self._cursors -= 1
                self._state.notify_all()

    def _note_fault(self, error: duckdb.Error) -> None:
        if isinstance(error, (duckdb.FatalException, duckdb.InternalException)):
            with self._state:
                self._broken = True

    def _reopen(self) -> None:
        """Open the file again; the state's lock is held."""
        if time.monotonic() < self._reopen_after:
            raise UnavailableError("The event store is recovering from a fault.")
        self._reopen_after = time.monotonic() + _REOPEN_PAUSE_S
        # As long as one connection is open, opening the file returns the broken database.
        self.interrupt_reads()
        if not self._state.wait_for(lambda: self._cursors == 0, _REOPEN_PAUSE_S):
            raise UnavailableError("The event store is recovering from a fault.")
        if self._root is not None:
            self._root.close()
            self._root = None
        self._root = self._connect()
        self._broken = False
        _log.warning("event store opened again")

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log."""
        try:
            return Path(f"{self.path}.wal").stat().st_size
        except FileNotFoundError:
            return 0

    def interrupt_reads(self) -> None:
        """Make all reads under way fail."""
        for reading in tuple(self._readings):
            reading.interrupt()

    def reads(self) -> int:
        """Return how many reads the engine is busy with."""
        return len(self._readings)

    async def read(self, work: Callable[[duckdb.DuckDBPyConnection], T], timeout_s: float) -> T:
        """Run work on a connection in another thread; see ReadPool.run."""
        return await self._read(self._pool, work, timeout_s)

    async def probe(self, timeout_s: float) -> None:
        """Return once the database has answered; reads that wait for a thread are passed by."""
        await self._read(self._probes, lambda connection: connection.execute("SELECT 1"), timeout_s)

    async def _read(
        self, pool: ReadPool, work: Callable[[duckdb.DuckDBPyConnection], T], timeout_s: float
    ) -> T:
        reading = _Reading()

        async def stop() -> None:
            reading.interrupt()

        return await pool.run(lambda: self._run(reading, work), stop, timeout_s)

    def run(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Run work on a connection in this thread; it is interrupted when the file is closed."""
        return self._run(_Reading(), work)

    def exchange(
        self,
        file: Path,
        complete: Callable[[duckdb.DuckDBPyConnection], None],
        patience_s: float,
    ) -> bool:
        """Put another file in the place of this one, and go on with that.

        Reads under way are waited for; returns False if they take longer than `patience_s`. Whoever
        wants a connection then waits until `complete` has finished the other file and that is
        open. However this process ends meanwhile, one of the two files is there, whole.
        """
        with translated("exchange", self._note_fault), self._state:
            if self._closed or self._broken or self._root is None:
                raise UnavailableError("The event store does not answer.")
            self._exchanging = True
            try:
                if not self._state.wait_for(lambda: self._cursors == 0, patience_s):
                    return False
                with self._root.cursor() as connection:
                    complete(connection)
                # Folds the log into the file, so that none is left that belongs to it.
                self._root.close()
                self._root = None
                try:
                    if self.wal_bytes():
                        raise UnavailableError("The event store's log cannot be folded.")
                    file.replace(Path(self.path).resolve())
                    _sync(file.parent)
                finally:
                    self._root = self._connect()
            finally:
                self._exchanging = False
                self._state.notify_all()
        return True

    def _run(self, reading: _Reading, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        self._readings.add(reading)
        try:
            with self.cursor() as cursor:
                reading.start(cursor)
                try:
                    return work(cursor)
                finally:
                    reading.finish()
        finally:
            self._readings.discard(reading)

    def close(self) -> None:
        """Stop all reads and close the file."""
        with self._state:
            if self._closed:
                return
            self._closed = True
        self._pool.close()
        self._probes.close()
        deadline = time.monotonic() + _CLOSE_TIMEOUT_S
        with self._state:
            while self._cursors and time.monotonic() < deadline:
                self.interrupt_reads()
                self._state.wait(0.02)
            if self._root is not None:
                self._root.close()
                self._root = None


def _sync(folder: Path) -> None:
    """Make what names stand for in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def translated(doing: str, noted: Callable[[duckdb.Error], None] | None = None) -> Iterator[None]:
    """Turn driver errors into UnavailableError; the whole of them goes to the log only."""
    try:
        yield
    except duckdb.InterruptException as error:
        # Whoever has run out of time is not waiting any more: this is the store itself, going.
        raise UnavailableError("The event store stopped the query.") from error
    except (duckdb.DataError, duckdb.IntegrityError) as error:
        _log.error("event store refused a value", doing=doing, error=repr(error))
        raise InvalidInputError("A batch holds a value that does not fit its column.") from error
    except (duckdb.Error, OSError) as error:
        if noted is not None and isinstance(error, duckdb.Error):
            noted(error)
        _log.error("event store failed", doing=doing, error=repr(error))
        message = (
            "The event store cannot be opened: another process may have it open, or its "
            "directory may not be writable."
            if doing == "open"
            else "The event store does not answer."
        )
        raise UnavailableError(message) from error
