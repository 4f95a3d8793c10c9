"""The event store on ClickHouse.

ClickHouse has no transactions, so the order of a commit's inserts carries its meaning: pages
first, which do no harm by themselves, then the events, whose insert is the commit point. The
rollups are views that the same insert feeds. A commit that fails half-way is taken out again
before the next one, since its callers have been told that nothing was stored.

One server writes to a database: the sequence numbers, and what is known of duplicates and visits,
are in its memory.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    delete,
    insert,
    not_,
    select,
    tuple_,
)
from sqlalchemy.engine import URL

from footfall.events import statements
from footfall.events.clickhouse.driver import Driver, compile_sql, connect
from footfall.events.clickhouse.verifying import (
    applied_migrations,
    migrations,
    read_differences,
)
from footfall.events.clickhouse.workspace import ClickHouseWorkspaceReader
from footfall.events.dedup import WINDOW_US, Bools, Int64s, Keys
from footfall.events.migrations import pending_migrations
from footfall.events.ports import Clock, time_us
from footfall.events.removals import (
    RemovalSet,
    gone,
    gone_counts,
    gone_events,
    gone_pages,
    left_without_events,
)
from footfall.events.rollups import ROLLUPS, Rollup
from footfall.events.tables import SLOT_US, TABLES, TENANT_COLUMN, pages, removals, web_events
from footfall.events.verify import Difference
from footfall.events.visits import Span, StoredView
from footfall.events.writer import MIRROR_US, Lookup, Writer, WriteSet
from footfall.ingest.model import CommitOutcome, EventBatch, EventTable, Page, Removal

T = TypeVar("T")

#: Values in one IN list, which keeps a statement well under the parser's limit of 256 KiB.
_LIST_MAX: Final = 300


def open_clickhouse(url: URL, *, clock: Clock = time_us) -> ClickHouseStore:
    """Open the store of a `clickhouse://`, `clickhouses://` or `chdb://` URL."""
    return ClickHouseStore(connect(url), clock=clock)


class ClickHouseStore(ClickHouseWorkspaceReader):
    """An EventStore in a ClickHouse database."""

    def __init__(self, driver: Driver, *, clock: Clock = time_us) -> None:
        """Bring the schema up to date, and load what the writer remembers.

        Raises UnavailableError if the server does not answer, or if the database was written by
        a newer version.
        """
        super().__init__(driver)
        self._clock = clock
        #: A commit that failed and may have been stored, in part or whole.
        self._doubtful: WriteSet | None = None
        self._has_written = False
        self._writer = Writer(self, clock)
        try:
            self._migrate()
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See EventStore.close."""
        self._pool.close()
        self._probes.close()
        self._driver.close()

    # The way in.

    def commit(self, batches: Sequence[EventBatch]) -> list[CommitOutcome]:
        """See EventWriter.commit."""
        if self._doubtful is not None:
            self._settle(self._doubtful)
        self._has_written = True
        return self._writer.commit(batches)

    def remove(self, removal: Removal) -> int:
        """See EventWriter.remove."""
        if self._doubtful is not None:
            self._settle(self._doubtful)
        self._has_written = True
        return self._writer.remove(removal)

    def scrub(self) -> None:
        """See EventWriter.scrub: a removal has written all parts anew that held anything of it, and
        ClickHouse deletes the old ones after its `old_parts_lifetime` (8 minutes by default).
        """

    def rest(self) -> float | None:
        """See EventWriter.rest: ClickHouse merges by itself."""
        return None

    def stored(self, lookup: Lookup) -> Bools:
        """See WriterEngine.stored."""
        target = TABLES[lookup.table].c
        identity = (target.ts_us, target.key_hi, target.key_lo)
        rows: dict[str, dict[tuple[int, int, int], int]] = defaultdict(dict)
        wanted = zip(
            lookup.ts_us.tolist(), lookup.keys.hi.tolist(), lookup.keys.lo.tolist(), strict=True
        )
        for row, (tenant, key) in enumerate(zip(lookup.tenants, wanted, strict=True)):
            rows[tenant][key] = row
        found = np.zeros(len(lookup.ts_us), dtype=np.bool_)
        for tenant, mine in rows.items():
            for keys in _in_lists(mine):
                statement = select(*identity).where(
                    target[TENANT_COLUMN[lookup.table]] == tenant, tuple_(*identity).in_(keys)
                )
                for key in self._driver.rows(compile_sql(statement)):
                    found[mine[tuple(key)]] = True
        return found

    def views_around(self, spans: Sequence[Span]) -> list[StoredView]:
        """See WriterEngine.views_around."""
        found = []
        by_visitor = {span.visitor: span for span in spans}
        for visitors in _in_lists(by_visitor):
            mine = [by_visitor[visitor] for visitor in visitors]
            statement = statements.views_between(
                min(span.low_us for span in mine), max(span.high_us for span in mine)
            ).where(tuple_(web_events.c.site_id, web_events.c.visitor_id).in_(visitors))
            for row in self._driver.rows(compile_sql(statement)):
                view = StoredView(*row)
                span = by_visitor[view.site_id, view.visitor_id]
                if span.low_us <= view.ts_us <= span.high_us:
                    found.append(view)
        return found

    def stored_pages(self, page_ids: Sequence[int]) -> dict[int, Page]:
        """See WriterEngine.stored_pages."""
        found = {}
        for ids in _in_lists(page_ids):
            statement = select(pages.c.page_id, *statements.PAGE_COLUMNS).where(
                pages.c.page_id.in_(ids)
            )
            for page_id, *texts in self._driver.rows(compile_sql(statement)):
                found[page_id] = Page(*texts)
        return found

    def write(self, rows: WriteSet) -> None:
        """See WriterEngine.write."""
        # Made for each attempt: sequence numbers are used again after a failed commit, and with
        # an old token ClickHouse would take the new rows for the old ones.
        token = uuid.uuid4().hex
        if rows.pages:
            self._driver.insert(pages.name, rows.pages_arrow, token)
        self._doubtful = rows
        for name, arrow in rows.tables.items():
            plain = [
                part.cast(pa.string()) if pa.types.is_dictionary(part.type) else part
                for part in arrow.columns
            ]
            self._driver.insert(name.value, pa.table(plain, arrow.column_names), token)
        self._doubtful = None

    def site_views(self, site_id: str, low_us: int, high_us: int) -> list[StoredView]:
        """See WriterEngine.site_views."""
        views = statements.views_between(low_us, high_us).where(web_events.c.site_id == site_id)
        return [StoredView(*row) for row in self._driver.rows(compile_sql(views))]

    def erase(self, rows: RemovalSet) -> int:
        """See WriterEngine.erase.

        Events go last: whatever was cut short is done again whole, as long as they tell of it.
        """
        removal = rows.removal
        ((count,),) = self._driver.rows(compile_sql(gone_events(removal)))
        noted = {
            "last_seq": pa.array([rows.last_seq], pa.int64()),
            "removed_us": pa.array([rows.removed_us], pa.int64()),
        }
        self._driver.insert(removals.name, pa.table(noted), uuid.uuid4().hex)
        touched = [page_id for (page_id,) in self._driver.rows(compile_sql(gone_pages(removal)))]
        if removal.visitor_id is None:
            for rollup in ROLLUPS:
                self._delete(rollup.table, *gone_counts(removal, rollup.table))
        else:
            self._count_without(removal)
        self._delete(web_events, *gone(removal))
        if removal.of_site:
            self._delete(pages, pages.c.site_id == removal.site_id)
        for ids in _in_lists(touched):
            self._delete(pages, *left_without_events(removal.site_id, pages, ids))
        if rows.beginnings is not None:
            self._driver.insert(web_events.name, rows.beginnings, uuid.uuid4().hex)
        for table in (web_events, pages, *(rollup.table for rollup in ROLLUPS)):
            self._driver.command(
                f"ALTER TABLE {table.name} APPLY DELETED MASK SETTINGS mutations_sync = 2"
            )
        return int(count)

    def _count_without(self, removal: Removal) -> None:
        """Count the rollups' rows that have a visitor's share again, without it."""
        left = not_(and_(*gone(removal)))
        for rollup in ROLLUPS:
            asked = rollup.counts(*gone(removal))
            size = len(rollup.keys)
            keys = [tuple(row[:size]) for row in self._driver.rows(compile_sql(asked))]
            self._recount(rollup, keys, left)

    def _delete(self, target: Table, *conditions: ColumnElement[bool]) -> None:
        self._driver.command(compile_sql(delete(target).where(*conditions)))

    def _recount(
        self, rollup: Rollup, keys: Iterable[tuple[Any, ...]], *conditions: ColumnElement[bool]
    ) -> None:
        """Count rows of a rollup again, from the events under the conditions."""
        target = rollup.table
        names = target.columns.keys()
        for some in _in_lists(keys):
            self._delete(target, tuple_(*(target.c[name] for name in rollup.keys)).in_(some))
            counts = rollup.counts(tuple_(*rollup.keys.values()).in_(some), *conditions)
            self._driver.command(compile_sql(insert(target).from_select(names, counts)))

    def _settle(self, rows: WriteSet) -> None:
        self._take_out(rows)
        self._doubtful = None
        self._writer.versions.touch_all()

    def _take_out(self, rows: WriteSet) -> None:
        """Remove what a failed commit may have left.

        Its share in the rollups is not known, so those of its keys are counted again.
        """
        for name in rows.tables:
            self._delete(TABLES[name], TABLES[name].c.seq > self._writer.last_seq)
        events = rows.tables.get(EventTable.WEB_EVENTS)
        if events is None:
            return
        touched: list[set[tuple[Any, ...]]] = [_slot_keys(events), _page_day_keys(events)]
        for rollup, keys in zip(ROLLUPS, touched, strict=True):
            self._recount(rollup, keys)

    async def differences(self, rows_max: int, timeout_s: float) -> list[Difference]:
        """See EventStore.differences."""
        query_id = uuid.uuid4().hex

        async def stop() -> None:
            await asyncio.to_thread(self._driver.kill, query_id)

        return await self._pool.run(
            lambda: read_differences(self._driver, rows_max, query_id), stop, timeout_s
        )

    async def history_version(self, site_id: str, timeout_s: float) -> str:
        """See WebHistory.history_version.

        A server that has not written asks ClickHouse, since another one may write.
        """
        if self._has_written:
            return self._writer.versions.of(site_id)
        return await self.table_versions(timeout_s)

    # At start.

    def _migrate(self) -> None:
        self._driver.command(
            "CREATE TABLE IF NOT EXISTS schema_migrations "
            "(version Int64, name String, applied_us Int64) ENGINE = MergeTree ORDER BY version"
        )
        for migration in pending_migrations("clickhouse", applied_migrations(self._driver)):
            for statement in migration.statements:
                self._driver.command(statement)
            done = {
                "version": pa.array([migration.version], pa.int64()),
                "name": [migration.name],
                "applied_us": pa.array([self._clock()], pa.int64()),
            }
            self._driver.insert(migrations.name, pa.table(done), uuid.uuid4().hex)

    def _load(self) -> None:
        now_us = self._clock()
        keys: list[tuple[Keys, Int64s]] = []
        for target in TABLES.values():
            found = self._driver.arrow(
                compile_sql(statements.keys_since(target, now_us - WINDOW_US))
            )
            hi, lo, received_us = (part.to_numpy() for part in found.columns)
            keys.append((Keys(hi, lo), received_us))
        since_us = now_us - MIRROR_US
        latest = self._driver.rows(compile_sql(statements.latest_views(since_us)))
        ((seq,),) = self._driver.rows(compile_sql(statements.last_seq()))
        self._writer.remember(
            int(seq), keys, since_us, {(site, who): at for site, who, at in latest}
        )


def _in_lists(values: Iterable[T]) -> Iterator[list[T]]:
    """Split values into lists that a statement may hold."""
    iterator = iter(values)
    while some := list(islice(iterator, _LIST_MAX)):
        yield some


def _slot_keys(events: pa.Table) -> set[tuple[Any, ...]]:
    columns = [events[name].to_pylist() for name in ("site_id", "ts_us", "local_day")]
    return {
        (site, at_us // SLOT_US * SLOT_US, day) for site, at_us, day in zip(*columns, strict=True)
    }


def _page_day_keys(events: pa.Table) -> set[tuple[Any, ...]]:
    columns = [events[name].to_pylist() for name in ("site_id", "local_day", "page_id")]
    return set(zip(*columns, strict=True))
