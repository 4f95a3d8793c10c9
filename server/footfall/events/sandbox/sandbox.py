"""A process for each custom query: what goes into it, and what comes out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from footfall.analytics.custom.grammar import ENGINE_FUNCTIONS
from footfall.analytics.custom.model import ResultColumn, SandboxAnswer, SandboxQuery
from footfall.analytics.custom.views import VIEWS, View
from footfall.errors import (
    DeadlineError,
    FootfallError,
    InvalidInputError,
    OverloadedError,
    UnavailableError,
)
from footfall.events.reading import ReadPool
from footfall.events.site_rows import (
    LOCAL,
    LOCAL_COLUMNS,
    RowsQuery,
    SiteRows,
    with_local_time,
)
from footfall.ingest.model import WebEventKind

_log = structlog.get_logger(__name__)

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
#: How many queries may wait for their turn.
_WAITING_MAX: Final = 8
_CHILD: Final = str(Path(__file__).with_name("child.py"))


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a query may use."""

    #: Events that it may read: 2 million of them with a few columns take 0.6 s to hand over.
    events_max: int = 2_000_000
    #: The size of what it may read: a byte for each character, and 8 for each value.
    bytes_max: int = 384 * 1024 * 1024
    #: Its own time, whatever its caller's patience.
    seconds: int = 10
    memory_mb: int = 512
    #: Queries at the same time.
    processes: int = 2


@dataclass(slots=True)
class SandboxStats:
    """What became of queries so far."""

    answered: int = 0
    #: Those that asked for too much, or came when too many waited.
    refused: int = 0
    #: Those that ran out of time, whose caller left, or that the store failed.
    failed: int = 0
    #: Time that queries took, reading included.
    seconds: float = 0.0
    running: int = 0


class _Process:
    """A child that may be there, to be killed from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def start(self, rows_fd: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise DeadlineError("The query took longer than its deadline allows.")
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and script
                [sys.executable, "-I", "-B", _CHILD, str(rows_fd)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[rows_fd],
                env={},
                cwd="/",
            )
            return self._child

    def kill(self) -> None:
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.kill()


class EventSandbox:
    """A Sandbox on an event store, whichever engine that has."""

    def __init__(self, events: SiteRows, limits: SandboxLimits | None = None) -> None:
        self._events = events
        self._limits = limits or SandboxLimits()
        self._turns = asyncio.Semaphore(self._limits.processes)
        self._waiting = 0
        self._pool = ReadPool(self._limits.processes)
        self.stats = SandboxStats()

    def close(self) -> None:
        """Take no more queries."""
        self._pool.close()

    async def run(self, query: SandboxQuery, timeout_s: float) -> SandboxAnswer:
        """See Sandbox.run."""
        stats = self.stats
        try:
            answer = await self._in_turn(query, timeout_s)
        except (InvalidInputError, OverloadedError):
            stats.refused += 1
            raise
        except BaseException:
            stats.failed += 1
            raise
        stats.answered += 1
        return answer

    async def _in_turn(self, query: SandboxQuery, timeout_s: float) -> SandboxAnswer:
        if self._waiting >= _WAITING_MAX:
            raise OverloadedError("Too many custom queries wait for their turn; try again.")
        end_s = time.monotonic() + timeout_s
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            raise DeadlineError("The query's turn did not come within its deadline.") from None
        finally:
            self._waiting -= 1
        started = time.monotonic()
        self.stats.running += 1
        try:
            return await self._run(query, min(end_s, started + self._limits.seconds))
        finally:
            self.stats.running -= 1
            self.stats.seconds += time.monotonic() - started
            self._turns.release()

    async def _run(self, query: SandboxQuery, end_s: float) -> SandboxAnswer:
        started = time.perf_counter()
        table = await self._read(query, end_s)
        process = _Process()

        async def stop() -> None:
            process.kill()

        document = await self._pool.run(
            lambda: _execute(process, query, table, self._limits), stop, end_s - time.monotonic()
        )
        if "refused" in document:
            raise _refusal(document)
        return SandboxAnswer(
            [ResultColumn(name, kind) for name, kind in document["columns"]],
            document["rows"],
            document["truncated"],
            len(table),
            (time.perf_counter() - started) * 1000,
        )

    async def _read(self, query: SandboxQuery, end_s: float) -> pa.Table:
        views = [VIEWS[name] for name in query.statement.views]
        kinds = {WebEventKind[kind.upper()] for view in views for kind in view.kinds}
        asked = RowsQuery(
            query.site_id,
            tuple(sorted(kinds)),
            query.statement.columns,
            query.start_us,
            query.end_us,
        )
        if not views:
            # A statement without a table; there is nothing to be read.
            asked = replace(asked, kinds=(WebEventKind.CUSTOM,), start_us=0, end_us=0)
        number, characters = await self._events.measure_rows(asked, end_s - time.monotonic())
        size = characters + 8 * number * len(asked.columns)
        limits = self._limits
        if number > limits.events_max or size > limits.bytes_max:
            raise InvalidInputError(
                f"The query has to read {number} events of {_mib(size)} MiB, but may read "
                f"{limits.events_max} and {_mib(limits.bytes_max)}. "
                "Ask for fewer days (startDate, endDate) or fewer columns.",
                "QUERY_TOO_COMPLEX",
            )
        table = await self._events.site_rows(asked, limits.events_max, end_s - time.monotonic())
        if not LOCAL_COLUMNS.isdisjoint(asked.columns):
            table = await asyncio.to_thread(with_local_time, table, query.timezone)
        return table


def _execute(
    process: _Process, query: SandboxQuery, table: pa.Table, limits: SandboxLimits
) -> dict[str, Any]:
    """Hand a process its events and its statement, and return its answer."""
    statement = query.statement
    job = {
        "sql": statement.sql,
        "parameters": dict(statement.parameters),
        "tables": statement.views,
        "views": [_definition(VIEWS[name], statement.columns) for name in statement.views],
        "functions": sorted(ENGINE_FUNCTIONS),
        "identifiers": sorted(statement.identifiers),
        "rows_max": query.rows_max,
        "bytes_max": ANSWER_BYTES_MAX,
        "memory_mb": limits.memory_mb,
        "seconds": limits.seconds + 2,
    }
    rows_fd = os.memfd_create("footfall-rows", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(rows_fd), "wb") as file:
            pq.write_table(table, file, compression="snappy")
        child = process.start(rows_fd)
    finally:
        os.close(rows_fd)
    try:
        out, _ = child.communicate(orjson.dumps(job))
    finally:
        child.kill()
        child.wait()
    try:
        answer: dict[str, Any] = orjson.loads(out)
    except orjson.JSONDecodeError:
        # It was killed, by us, by its limits or by the system; whoever waits for a query that ran
        # out of time has been told so already.
        _log.warning("custom query ended without an answer", status=child.returncode)
        answer = {"refused": "memory"}
    if answer.get("refused") == "engine":
        _log.error("custom query failed", detail=answer.get("detail"))
    return answer


#: How the columns of the views are made of what is read.
_EXPRESSIONS: Final = {
    "time": "make_timestamp(ts_us)",
    "local_time": f"make_timestamp({LOCAL})",
    "local_date": f"CAST(make_timestamp({LOCAL}) AS DATE)",
    "type": "CASE kind "
    + " ".join(f"WHEN {kind.value} THEN '{kind.name.lower()}'" for kind in WebEventKind)
    + " END",
    "properties": "CASE properties WHEN '' THEN '{}' ELSE properties END",
}


def _definition(view: View, columns: Iterable[str]) -> str:
    """Return the statement that makes a view; all of its text is our own."""
    asked = [name for name in view.columns if name in columns]
    listed = ", ".join(f'{_EXPRESSIONS.get(name, name)} AS "{name}"' for name in asked)
    kinds = ", ".join(str(WebEventKind[kind.upper()].value) for kind in view.kinds)
    rows = f"SELECT {listed or 'kind'} FROM stored WHERE kind IN ({kinds})"  # noqa: S608 - see above
    return f'CREATE VIEW "{view.name}" AS {rows}'


def _refusal(document: dict[str, Any]) -> FootfallError:  # noqa: PLR0911 - one a reason
    """Return the error of a statement that was refused or failed, in our own words."""
    about = ", ".join(repr(name) for name in document.get("about", ())[:3])
    names = f" It is about {about}." if about else ""
    match document["refused"]:
        case "memory":
            return _too_complex("The query needs more memory than it may have.")
        case "size":
            return _too_complex(
                f"The answer is larger than {ANSWER_BYTES_MAX // 1024 // 1024} MiB; "
                "ask for fewer rows or columns."
            )
        case "value":
            return _faulty(
                "A value cannot be converted, or a result is out of its type's range; "
                f"TRY_CAST gives NULL instead.{names}"
            )
        case "binding":
            return _faulty(
                "The query does not fit together: a column that is not known where it is used, one "
                "that is neither grouped nor aggregated, or values of types that do not go "
                f"together.{names}"
            )
        case "statement":
            return _faulty(f"The query cannot be run as it is written.{names}")
        case "function" | "table" | "construct" as what:
            return InvalidInputError(
                f"A {what} of the query is not allowed.{names}", "FORBIDDEN_OPERATION"
            )
        case _:
            return UnavailableError("The query could not be run.")


def _mib(size: int) -> int:
    return -(-size // 1024 // 1024)


def _too_complex(message: str) -> InvalidInputError:
    return InvalidInputError(message, "QUERY_TOO_COMPLEX")


def _faulty(message: str) -> InvalidInputError:
    return InvalidInputError(message, "VALIDATION_ERROR")
