"""The event store on DuckDB: one file, one transaction a commit.

A commit appends rows and nothing else, apart from new pages. What makes reads fast is done
between commits: every 50,000 rows the page views are folded into the rollups, and the
write-ahead log is folded into the file once it is large. Both are transactions of their own, so
that a failure there is not a failure to store events, and is tried again later.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import structlog
from sqlalchemy import (
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    table,
)

from footfall.analytics.model import History, HistoryQuery, PaceCounts, PaceQuery
from footfall.analytics.queries.model import EventScan, Take
from footfall.errors import FootfallError, UnavailableError
from footfall.events import statements
from footfall.events.dedup import WINDOW_US, Bools, Int64s, Keys
from footfall.events.duckdb.engine import DuckDBEngine
from footfall.events.duckdb.folding import AFTER_SEQ, THROUGH_SEQ, add_up
from footfall.events.duckdb.frames import EventFrames
from footfall.events.duckdb.mirror import HistoryMirrors
from footfall.events.duckdb.reader import read_history
from footfall.events.duckdb.removing import erase
from footfall.events.duckdb.scrub import Scrubber
from footfall.events.duckdb.sql import (
    FOLDED,
    INCOMING,
    Connection,
    append,
    applied_migrations,
    last_seq,
    migrations,
    run,
)
from footfall.events.duckdb.verifying import read_differences
from footfall.events.duckdb.workspace import DuckDBWorkspaceReader
from footfall.events.duckdb.workspace_folds import WorkspaceFolds
from footfall.events.migrations import pending_migrations
from footfall.events.ports import Clock, time_us
from footfall.events.removals import RemovalSet
from footfall.events.rollups import ROLLUPS, SUMS
from footfall.events.tables import TABLES, TENANT_COLUMN, pages, web_events
from footfall.events.verify import AnyDifference
from footfall.events.visits import Span, StoredView
from footfall.events.writer import MIRROR_US, Lookup, Writer, WriteSet
from footfall.ingest.model import CommitOutcome, EventBatch, Page, Removal

_log = structlog.get_logger(__name__)

_FOLD_ROWS: Final = 50_000
_seq: Final = web_events.c.seq
#: The rollups with what the events of a fold add to them.
_FOLDS: Final = [
    (rollup, rollup.counts(_seq > AFTER_SEQ, _seq <= THROUGH_SEQ)) for rollup in ROLLUPS
]
#: At this size of the write-ahead log a checkpoint stalls the writer for 0.2 s.
_CHECKPOINT_BYTES: Final = 64 * 1024 * 1024
#: At rest nobody is held up, and rows in the file are compressed: what groups them by texts takes a
#: third less time.
_IDLE_CHECKPOINT_BYTES: Final = 8 * 1024 * 1024
#: To replay the log after a crash takes 1 ms for each commit in it, however small.
_CHECKPOINT_COMMITS: Final = 300
_IDLE_CHECKPOINT_COMMITS: Final = 100
_CHECKPOINT_PAUSE_S: Final = 5.0
#: How long upkeep leaves the writer to those who waited for a start after a crash. Then what that
#: has left in the log is worth a checkpoint: otherwise it would grow from crash to crash.
_PAUSE_AFTER_CRASH_S: Final = 5.0


class DuckDBStore(DuckDBWorkspaceReader):
    """An EventStore in a DuckDB file."""

    def __init__(
        self,
        path: str,
        *,
        memory_mb: int = 384,
        clock: Clock = time_us,
        fold_rows: int = _FOLD_ROWS,
    ) -> None:
        """Open the file, bring its schema up to date, and load what the writer remembers.

        Raises UnavailableError if the file cannot be opened or was written by a newer version.
        """
        self._clock = clock
        self._fold_rows = fold_rows
        super().__init__(DuckDBEngine(path, memory_mb), WorkspaceFolds(fold_rows))
        # Whether the last commit may have been stored although it failed.
        self._doubtful = False
        self._folded_seq = 0
        self._scrubber = Scrubber(self._engine, clock)
        self._checkpoint_after = 0.0
        #: Commits in the write-ahead log, as far as they are known; and when upkeep begins.
        self._logged_commits, self._upkeep_after = 0, 0.0
        if self._engine.wal_bytes():
            self._logged_commits = _CHECKPOINT_COMMITS
            self._upkeep_after = time.monotonic() + _PAUSE_AFTER_CRASH_S
        self._writer = Writer(self, clock)
        self._mirrors = HistoryMirrors(self._writer)
        self._frames = EventFrames(self._writer)
        try:
            with self._engine.cursor() as connection:
                self._migrate(connection)
                self._load(connection)
        except BaseException:
            self._engine.close()
            raise

    def close(self) -> None:
        """See EventStore.close."""
        self._engine.close()

    # The way in.

    def commit(self, batches: Sequence[EventBatch]) -> list[CommitOutcome]:
        """See EventWriter.commit."""
        if self._doubtful:
            self._settle()
        self._folds.note(batches)
        outcomes = self._writer.commit(batches)
        self._logged_commits += 1
        self._tend()
        return outcomes

    def remove(self, removal: Removal) -> int:
        """See EventWriter.remove."""
        if self._doubtful:
            self._settle()
        return self._writer.remove(removal)

    def scrub(self) -> None:
        """See EventWriter.scrub."""
        self._scrubber.run()

    def rest(self) -> float | None:
        """See EventWriter.rest."""
        # What may have to be taken out again must not get into the states.
        if not self._doubtful:
            self._tend(idle=True)
        pause_s = self._upkeep_after - time.monotonic()
        return pause_s if pause_s > 0 else self._scrubber.wait_s()

    def stored(self, lookup: Lookup) -> Bools:
        """See WriterEngine.stored."""
        target = TABLES[lookup.table]
        tenant = target.c[TENANT_COLUMN[lookup.table]]
        wanted = table(
            INCOMING,
            column("row"),
            column("tenant"),
            column("ts_us"),
            column("key_hi"),
            column("key_lo"),
        ).c
        # The range is implied by the join; stated, it lets whole blocks be skipped.
        statement = select(wanted.row).where(
            tenant == wanted.tenant,
            target.c.ts_us == wanted.ts_us,
            # As expressions, so that DuckDB does not hand a filter on them down into the Arrow
            # table: pyarrow's integers there end at 2^63 - 1, and the query would fail.
            target.c.key_hi == func.xor(wanted.key_hi, literal_column("0::UBIGINT")),
            target.c.key_lo == func.xor(wanted.key_lo, literal_column("0::UBIGINT")),
            target.c.ts_us.between(int(lookup.ts_us.min()), int(lookup.ts_us.max())),
        )
        incoming = pa.table(
            {
                "row": np.arange(len(lookup.ts_us)),
                "tenant": pa.array(lookup.tenants, pa.string()),
                "ts_us": lookup.ts_us,
                "key_hi": lookup.keys.hi,
                "key_lo": lookup.keys.lo,
            }
        )
        found = np.zeros(len(lookup.ts_us), dtype=np.bool_)
        with self._engine.cursor() as connection:
            found[run(connection, statement, incoming).fetchnumpy()["row"]] = True
        return found

    def views_around(self, spans: Sequence[Span]) -> list[StoredView]:
        """See WriterEngine.views_around."""
        wanted = table(
            INCOMING,
            column("site_id"),
            column("visitor_id"),
            column("low_us"),
            column("high_us"),
        ).c
        view = web_events.c
        # The range is implied by the join; stated, it lets whole blocks be skipped.
        low_us, high_us = min(s.low_us for s in spans), max(s.high_us for s in spans)
        statement = statements.views_between(low_us, high_us).where(
            view.site_id == wanted.site_id,
            view.visitor_id == wanted.visitor_id,
            view.ts_us.between(wanted.low_us, wanted.high_us),
        )
        incoming = pa.table(
            {
                "site_id": [span.visitor[0] for span in spans],
                "visitor_id": [span.visitor[1] for span in spans],
                "low_us": [span.low_us for span in spans],
                "high_us": [span.high_us for span in spans],
            }
        )
        with self._engine.cursor() as connection:
            return [StoredView(*row) for row in run(connection, statement, incoming).fetchall()]

    def stored_pages(self, page_ids: Sequence[int]) -> dict[int, Page]:
        """See WriterEngine.stored_pages."""
        wanted = table(INCOMING, column("page_id"))
        statement = select(pages.c.page_id, *statements.PAGE_COLUMNS).where(
            pages.c.page_id == wanted.c.page_id
        )
        incoming = pa.table({"page_id": pa.array(page_ids, pa.int64())})
        with self._engine.cursor() as connection:
            rows = run(connection, statement, incoming).fetchall()
        return {page_id: Page(*texts) for page_id, *texts in rows}

    def write(self, rows: WriteSet) -> None:
        """See WriterEngine.write."""
        try:
            with self._engine.cursor() as connection:
                connection.execute("BEGIN")
                try:
                    for name, arrow in rows.tables.items():
                        append(connection, TABLES[name], arrow)
                    if rows.pages:
                        _replace_pages(connection, rows.pages_arrow)
                except BaseException:
                    _rollback(connection)
                    raise
                self._doubtful = True
                connection.execute("COMMIT")
                self._doubtful = False
        except UnavailableError:
            if not self._doubtful:
                raise
            # The fault may have come after the rows were safe. Only the file knows.
            if not self._settle(rows.last_seq):
                raise

    def site_views(self, site_id: str, low_us: int, high_us: int) -> list[StoredView]:
        """See WriterEngine.site_views."""
        views = statements.views_between(low_us, high_us).where(web_events.c.site_id == site_id)
        with self._engine.cursor() as connection:
            return [StoredView(*row) for row in run(connection, views).fetchall()]

    def erase(self, rows: RemovalSet) -> int:
        """See WriterEngine.erase."""
        events = None
        try:
            with self._engine.cursor() as connection:
                connection.execute("BEGIN")
                try:
                    events = erase(connection, rows)
                except BaseException:
                    _rollback(connection)
                    raise
                connection.execute("COMMIT")
        finally:
            self._forget(rows.removal.site_id)
            # After a failure, too, which may have come when the file was changed already.
            if events != 0:
                self._scrubber.removed()
        return events

    def _forget(self, site_id: str) -> None:
        """Drop everything that is kept in memory of a site's events: some of them are gone."""
        self._mirrors.sites.forget(site_id)
        self._frames.sites.forget(site_id)

    def _settle(self, wanted_seq: int | None = None) -> bool:
        """Find out what became of a commit that failed at its very end.

        Returns whether the rows up to `wanted_seq` are stored. Without it, their callers have
        been told that they are not, so they are taken out again. Raises UnavailableError while
        the store cannot tell.
        """
        known_seq = self._writer.last_seq
        with self._engine.cursor() as connection:
            stored_seq = last_seq(connection)
            if wanted_seq is None and stored_seq > known_seq:
                connection.execute("BEGIN")
                for target in TABLES.values():
                    run(connection, delete(target).where(target.c.seq > known_seq))
                connection.execute("COMMIT")
        if wanted_seq is None:
            self._writer.versions.touch_all()
        self._doubtful = False
        return wanted_seq is not None and stored_seq >= wanted_seq

    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        """See WebHistory.history: from memory where it can be."""

        def work(connection: Connection) -> History:
            found = self._mirrors.history(connection, query)
            return found if found is not None else read_history(connection, query)

        return await self._engine.read(work, timeout_s)

    async def pace(self, query: PaceQuery, timeout_s: float) -> PaceCounts:
        """See WebHistory.pace."""
        return await self._engine.read(
            lambda connection: self._mirrors.pace(connection, query), timeout_s
        )

    async def scan_events(self, scans: Sequence[tuple[EventScan, Take]], timeout_s: float) -> None:
        """See QueryReader.scan_events: from memory where it can be."""
        await self._engine.read(lambda connection: self._frames.scan(connection, scans), timeout_s)

    async def differences(self, rows_max: int, timeout_s: float) -> list[AnyDifference]:
        """See EventStore.differences."""
        return await self._engine.read(
            lambda connection: read_differences(connection, rows_max), timeout_s
        )

    async def history_version(self, site_id: str, timeout_s: float) -> str:  # noqa: ARG002 - nothing is waited for
        """See WebHistory.history_version; the process that has the file is its only writer."""
        return self._writer.versions.of(site_id)

    # Between commits.

    def _tend(self, *, idle: bool = False) -> None:
        """Scrub, fold and checkpoint when it is time; failures are logged and tried again later."""
        if time.monotonic() < self._upkeep_after:
            return
        self._scrubber.step()
        if self._scrubber.copying:
            return
        try:
            if self._writer.last_seq - self._folded_seq >= self._fold_rows:
                self.fold()
            if self._folds.due(idle=idle):
                self.fold_states()
            if self._log_is_long(idle=idle) and time.monotonic() >= self._checkpoint_after:
                self._checkpoint_after = time.monotonic() + _CHECKPOINT_PAUSE_S
                with self._engine.cursor() as connection:
                    connection.execute("CHECKPOINT")
                self._checkpoint_after = 0.0
                self._logged_commits = 0
        except FootfallError as error:
            _log.warning("upkeep of the event store failed", error=repr(error))

    def _log_is_long(self, *, idle: bool) -> bool:
        """Whether the write-ahead log is worth a checkpoint."""
        commits = _IDLE_CHECKPOINT_COMMITS if idle else _CHECKPOINT_COMMITS
        size = _IDLE_CHECKPOINT_BYTES if idle else _CHECKPOINT_BYTES
        return self._logged_commits >= commits or self._engine.wal_bytes() >= size

    def fold(self) -> None:
        """Add all page views that are not in the rollups yet to them; the writer's thread only."""
        through_seq = self._writer.last_seq
        with self._engine.cursor() as connection:
            connection.execute("BEGIN")
            try:
                # The file's word, not ours: a fold that seemed to fail at its end may be in it.
                values = {"after_seq": FOLDED.seq(connection), "through_seq": through_seq}
                for rollup, rows in _FOLDS:
                    target, keys = rollup.table, tuple(rollup.keys)
                    add_up(connection, target, keys, SUMS, rollup.time_key, rows, values)
                FOLDED.move(connection, through_seq)
                connection.execute("COMMIT")
            except BaseException:
                _rollback(connection)
                raise
        self._folded_seq = through_seq

    def fold_states(self) -> None:
        """Bring the states of runs, documents and triggers up to date; the writer's thread only."""
        through_seq = self._writer.last_seq
        with self._engine.cursor() as connection:
            connection.execute("BEGIN")
            try:
                self._folds.fold(connection, through_seq)
                connection.execute("COMMIT")
            except BaseException:
                _rollback(connection)
                raise
        self._folds.folded()

    # At start.

    def _migrate(self, connection: Connection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations "
            "(version INTEGER NOT NULL, name VARCHAR NOT NULL, applied_us BIGINT NOT NULL)"
        )
        for migration in pending_migrations("duckdb", applied_migrations(connection)):
            connection.execute("BEGIN")
            for statement in migration.statements:
                connection.execute(statement)
            done = insert(migrations).values(
                version=migration.version, name=migration.name, applied_us=self._clock()
            )
            run(connection, done)
            connection.execute("COMMIT")

    def _load(self, connection: Connection) -> None:
        now_us = self._clock()
        self._folded_seq = FOLDED.seq(connection)
        self._folds.load(connection)
        self._scrubber.load(connection)
        keys: list[tuple[Keys, Int64s]] = []
        for target in TABLES.values():
            found = run(connection, statements.keys_since(target, now_us - WINDOW_US))
            columns = found.fetchnumpy()
            keys.append((Keys(columns["key_hi"], columns["key_lo"]), columns["received_us"]))
        since_us = now_us - MIRROR_US
        latest = run(connection, statements.latest_views(since_us)).fetchall()
        self._writer.remember(
            last_seq(connection), keys, since_us, {(site, who): at for site, who, at in latest}
        )


def _rollback(connection: Connection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error as error:
        # The fault that leads here is the one to tell of; a connection that is given back with a
        # transaction open rolls it back.
        _log.warning("rollback failed", error=repr(error))


def _replace_pages(connection: Connection, rows: pa.Table) -> None:
    incoming = table(INCOMING, column("page_id"))
    known = pages.c.page_id.in_(select(incoming.c.page_id))
    run(connection, delete(pages).where(known), rows)
    append(connection, pages, rows)
