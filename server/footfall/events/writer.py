"""What every engine's writer does the same: deduplicate, judge visits, number the rows.

The engine stores what comes out of it in one go. Everything that is remembered between commits
(keys, last page views, pages) changes only for rows that are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from footfall.errors import NotFoundError
from footfall.events.batches import (
    TableRows,
    append,
    corrections_arrow,
    gather,
    merge_page,
    pages_arrow,
)
from footfall.events.dedup import WINDOW_US, Bools, Claim, DedupIndex, DedupTable, Int64s, Keys
from footfall.events.ports import Clock
from footfall.events.removals import RemovalSet
from footfall.events.versions import HistoryVersions
from footfall.events.visits import (
    GAP_US,
    Span,
    StoredView,
    Verdict,
    VisitMirror,
    beginnings_without,
)
from footfall.ingest.model import (
    CommitOutcome,
    EventBatch,
    EventTable,
    Exclusion,
    Page,
    Removal,
    WebEventKind,
)

#: How far back the mirror of visitors is filled at start.
MIRROR_US: Final = 60 * 60 * 1_000_000
#: Pages whose stored state is remembered, so that they are not written again.
_PAGES_MAX: Final = 50_000


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows to look for among the stored ones, by tenant, time and key."""

    table: EventTable
    tenants: Sequence[str]
    ts_us: Int64s
    keys: Keys


@dataclass(frozen=True, slots=True)
class WriteSet:
    """All that one commit stores."""

    tables: Mapping[EventTable, pa.Table]
    #: Pages that are new or have changed, whole.
    pages: Mapping[int, Page]
    first_seq: int
    last_seq: int

    @property
    def pages_arrow(self) -> pa.Table:
        return pages_arrow(self.pages)


class WriterEngine(Protocol):
    """What the writer asks of an engine, on the writer's thread."""

    def stored(self, lookup: Lookup) -> Bools:
        """Say which of the rows are stored already."""

    def views_around(self, spans: Sequence[Span]) -> list[StoredView]:
        """Return the stored counted page views of visitors in their spans."""

    def stored_pages(self, page_ids: Sequence[int]) -> dict[int, Page]:
        """Return the pages that the store knows."""

    def write(self, rows: WriteSet) -> None:
        """Store everything durably, or raise and store nothing."""

    def site_views(self, site_id: str, low_us: int, high_us: int) -> list[StoredView]:
        """Return a site's counted page views of a time, both ends inclusive."""

    def erase(self, rows: RemovalSet) -> int:
        """Remove events durably, and return how many there were; see EventWriter.remove."""


class Writer:
    """An EventWriter on an engine; called from one thread at a time."""

    def __init__(self, engine: WriterEngine, clock: Clock, index: DedupIndex | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._index = index or DedupTable()
        self._mirror = VisitMirror()
        self._pages: dict[int, Page] = {}
        #: Sites that were removed: what is still on its way to them must not come back.
        self._removed_sites: set[str] = set()
        self.versions = HistoryVersions()
        self.last_seq = 0

    def remember(
        self,
        last_seq: int,
        keys: Sequence[tuple[Keys, Int64s]],
        views_since_us: int,
        latest_us: dict[tuple[str, str], int],
    ) -> None:
        """Take over what the store holds, at start."""
        self.last_seq = last_seq
        for part, received_us in keys:
            self._index.load(part, received_us)
        self._mirror.load(views_since_us, latest_us)

    def commit(self, batches: Sequence[EventBatch]) -> list[CommitOutcome]:
        """See EventWriter.commit."""
        if not self._removed_sites.isdisjoint(batch.tenant_id for batch in batches):
            raise NotFoundError("There is no such site.")
        gathered = gather(batches)
        if not any(len(rows) for rows in gathered):
            return [CommitOutcome((), self.last_seq) for _ in batches]
        keys = Keys(
            np.concatenate([rows.keys.hi for rows in gathered]),
            np.concatenate([rows.keys.lo for rows in gathered]),
        )
        received_us = np.concatenate([rows.received_us for rows in gathered])
        claim = self._index.claim(keys, received_us)
        try:
            fresh = self._fresh(gathered, claim)
            verdict = self._store(gathered, fresh)
        except BaseException:
            self._index.undo(claim)
            raise
        if verdict is not None:
            self._mirror.committed(verdict)
        return self._outcomes(batches, gathered, fresh)

    def remove(self, removal: Removal) -> int:
        """See EventWriter.remove."""
        if removal.of_site:
            self._removed_sites.add(removal.site_id)
        beginnings = None
        if removal.before is not None:
            midnight_us = removal.before.ts_us
            around = self._engine.site_views(
                removal.site_id, midnight_us - GAP_US, midnight_us + GAP_US
            )
            if views := beginnings_without(removal.before, around):
                beginnings = corrections_arrow(views, self.last_seq + 1, self._clock(), visits=1)
                # Used up even if they are not stored: what became of a failure is unknown.
                self.last_seq += len(views)
        try:
            events = self._engine.erase(
                RemovalSet(removal, beginnings, self.last_seq, self._clock())
            )
        except BaseException:
            self.versions.touch_all()
            raise
        # Dedup keys stay: an event that is sent again within a day has still been seen.
        self._mirror.forget(removal)
        for page_id in [i for i, page in self._pages.items() if page.site_id == removal.site_id]:
            del self._pages[page_id]
        self.versions.touch((removal.site_id,), (removal.site_id,))
        return events

    def _fresh(self, gathered: Sequence[TableRows], claim: Claim) -> list[Bools]:
        """Return which rows of each table are to be stored."""
        ends = np.cumsum([len(rows) for rows in gathered])[:-1]
        fresh = np.split(claim.fresh.copy(), ends)
        for rows, new in zip(gathered, fresh, strict=True):
            # The index forgets after a day, and an old log may come again at any time: what is
            # older than the window is looked for among the rows of its time.
            late = new & rows.keys.present
            late &= rows.ints("ts_us") < rows.received_us - WINDOW_US
            if late.any():
                at = np.flatnonzero(late)
                lookup = Lookup(
                    rows.table, rows.tenants(at), rows.ints("ts_us")[at], rows.keys.take(at)
                )
                new[at[self._engine.stored(lookup)]] = False
        return fresh

    def _store(self, gathered: Sequence[TableRows], fresh: Sequence[Bools]) -> Verdict | None:
        verdict: Verdict | None = None
        tables: dict[EventTable, pa.Table] = {}
        known: dict[int, Page] = {}
        pages: dict[int, Page] = {}
        touched: set[str] = set()
        first_seq = seq = self.last_seq + 1
        for rows, new in zip(gathered, fresh, strict=True):
            visits = None
            if rows.table is EventTable.WEB_EVENTS:
                verdict, visits = self._visits(rows, new)
                known, pages = self._pages_of(rows.batches)
                touched = _counted_sites(rows, new)
            if not new.any():
                continue
            tables[rows.table] = rows.arrow(seq, new, visits)
            seq += len(tables[rows.table])
            if rows.table is EventTable.WEB_EVENTS and verdict and verdict.corrections:
                taken_back = corrections_arrow(verdict.corrections, seq, self._clock())
                tables[rows.table] = append(tables[rows.table], taken_back)
                seq += len(taken_back)
        if tables or pages:
            try:
                self._engine.write(WriteSet(tables, pages, first_seq, seq - 1))
            except BaseException:
                # Parts of it may be there to be read all the same.
                self.versions.touch_all()
                raise
            self.versions.touch(touched, {page.site_id for page in pages.values()})
        self.last_seq = seq - 1
        self._remember_pages(known)
        return verdict

    def _visits(self, rows: TableRows, fresh: Bools) -> tuple[Verdict | None, npt.NDArray[np.int8]]:
        visits = np.zeros(len(rows), dtype=np.int8)
        counted = fresh & (rows.ints("kind") == WebEventKind.PAGEVIEW.value)
        counted &= rows.ints("excluded") == Exclusion.NONE.value
        at = np.flatnonzero(counted)
        if not len(at):
            return None, visits
        visitor_ids = rows.values("visitor_id")
        visitors = list(
            zip(rows.tenants(at), [visitor_ids[row] for row in at.tolist()], strict=True)
        )
        verdict = self._mirror.judge(visitors, rows.ints("ts_us")[at], self._engine.views_around)
        visits[at] = verdict.starts
        return verdict, visits

    def _pages_of(self, batches: Sequence[EventBatch]) -> tuple[dict[int, Page], dict[int, Page]]:
        """Return all pages of the batches as they are known now, and those that are news."""
        seen: dict[int, Page] = {}
        for batch in batches:
            for page_id, page in batch.pages.items():
                seen[page_id] = merge_page(seen.get(page_id), page)
        asked = [page_id for page_id in seen if page_id not in self._pages]
        before = self._engine.stored_pages(asked) if asked else {}
        now = {
            page_id: merge_page(self._pages.get(page_id) or before.get(page_id), page)
            for page_id, page in seen.items()
        }
        news = {
            page_id: page
            for page_id, page in now.items()
            if page != self._pages.get(page_id) and page != before.get(page_id)
        }
        return now, news

    def _remember_pages(self, pages: Mapping[int, Page]) -> None:
        for page_id, page in pages.items():
            self._pages.pop(page_id, None)
            self._pages[page_id] = page
        # The pages that were seen longest ago are forgotten first.
        for page_id in list(islice(self._pages, max(0, len(self._pages) - _PAGES_MAX))):
            del self._pages[page_id]

    def _outcomes(
        self,
        batches: Sequence[EventBatch],
        gathered: Sequence[TableRows],
        fresh: Sequence[Bools],
    ) -> list[CommitOutcome]:
        duplicates: dict[int, list[int]] = {}
        for rows, new in zip(gathered, fresh, strict=True):
            if new.all():
                continue
            for place, start, end in zip(rows.places, rows.edges, rows.edges[1:], strict=False):
                duplicates[place] = np.flatnonzero(~new[start:end]).tolist()
        return [
            CommitOutcome(duplicates.get(place, ()), self.last_seq) for place in range(len(batches))
        ]


def _counted_sites(rows: TableRows, fresh: Bools) -> set[str]:
    """Return the sites of which the rows change what is counted."""
    counted = fresh & (rows.ints("excluded") == Exclusion.NONE.value)
    counted &= (rows.ints("kind") == WebEventKind.PAGEVIEW.value) | (rows.ints("engaged_s") > 0)
    of = np.searchsorted(rows.edges, np.flatnonzero(counted), side="right") - 1
    return {rows.batches[place].tenant_id for place in np.unique(of).tolist()}
