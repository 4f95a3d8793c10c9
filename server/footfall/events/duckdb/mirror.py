"""History from memory: what is counted of the sites that are asked for, by day, slot and page.

Grouping and ranking a site's page days takes DuckDB milliseconds, most of which it spends on
setting itself up. Here the same rows are a few arrays, which are summed and ranked in a fraction
of one. They are read from the rollups once, and kept up by reading the events that came since:
events get added in the order of their sequence numbers, so that the arrays with those events are
what a rescan would give.

What makes that untrue, a commit that fails, begins a new generation; a site of which events are
removed is forgotten. Sites whose pages would take too much memory are left to DuckDB. Texts of
pages are read when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from typing import Final

import numpy as np
import pyarrow as pa

from footfall.analytics.model import (
    DayCount,
    History,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
)
from footfall.events import history
from footfall.events.duckdb.counts import (
    Columns,
    DayCounts,
    Ints,
    counted,
    summed_up,
    sums_by,
    where,
)
from footfall.events.duckdb.kept_sites import KeptSites
from footfall.events.duckdb.sql import FOLDED, Connection, fetch, fetch_columns, snapshot
from footfall.events.rollups import SUMS
from footfall.events.tables import SLOT_US
from footfall.events.writer import Writer

#: Rows of a site's pages that are kept in memory, 24 bytes each; and rows of all sites.
_PAGE_ROWS_MAX: Final = 500_000
_ROWS_MAX: Final = 2_000_000
#: Memory for a page's number, in rows.
_ROWS_A_PAGE: Final = 4
#: Pages of a site whose texts are kept.
_TEXTS_MAX: Final = 10_000
#: Pages with the same count of which texts are read to put them in order.
_TIED_MAX: Final = 5_000

#: A day later than all others.
_NEVER: Final = 2**62


class HistoryMirrors:
    """Answers questions about history from memory where it can; called from several threads."""

    def __init__(
        self, writer: Writer, page_rows_max: int = _PAGE_ROWS_MAX, rows_max: int = _ROWS_MAX
    ) -> None:
        self.sites = KeptSites(lambda site_id: _Site(site_id, writer, page_rows_max), rows_max)

    def history(self, connection: Connection, query: HistoryQuery) -> History | None:
        """Return the answer to a query, None if it is not to be had here."""
        with self.sites.using([query.site_id]) as sites:
            return sites[query.site_id].history(connection, query)

    def pace(self, connection: Connection, query: PaceQuery) -> PaceCounts:
        """Return the answer to a query."""
        with self.sites.using([query.site_id]) as sites:
            return sites[query.site_id].pace(connection, query)


class _Site:
    """What is counted of a site, from a local day on."""

    def __init__(self, site_id: str, writer: Writer, page_rows_max: int) -> None:
        self._site_id = site_id
        self._writer = writer
        self._page_rows_max = page_rows_max
        #: Events after this one are not here yet.
        self._seq = -1
        self._generation = -1
        self._version = self._texts_version = ""
        #: The first day that is here.
        self._from_day = _NEVER
        self._first_day: int | None = None
        #: By number of the slot since the epoch.
        self._slots = DayCounts.none()
        #: By number of the page; None until they are asked for.
        self._pages: DayCounts | None = None
        #: From this day on there are too many rows of pages.
        self._too_large_from = -_NEVER
        #: The number of a page by its id, from 0.
        self._numbers: dict[int, int] = {}
        #: What is known of pages, by number.
        self._texts: dict[int, Sequence[str]] = {}

    @property
    def size(self) -> int:
        """About how much memory it takes, in rows."""
        return len(self._slots) + len(self._pages or ()) + _ROWS_A_PAGE * len(self._numbers)

    def history(self, connection: Connection, query: HistoryQuery) -> History | None:
        """Return the answer to a query, None if it is not to be had here."""
        if not self._bring_up(connection, query.first_day, pages=query.pages_max > 0):
            return None
        pages = self._top_pages(connection, query) if query.pages_max > 0 else []
        if pages is None:
            return None
        days = _days(self._slots.between(query.first_day, query.last_day))
        return History(self._first_day, days, pages)

    def pace(self, connection: Connection, query: PaceQuery) -> PaceCounts:
        """Return the answer to a query."""
        first_day = query.local_day - 1
        # First, so that the whole is never less than its part.
        asked = history.pace_parameters(query)
        within = counted(fetch_columns(connection, history.events_within_slot(), asked))
        if not self._bring_up(connection, first_day, pages=False):
            # Two days of its pages are too many: they are not kept, slots are.
            self._pages = None
            self._bring_up(connection, first_day, pages=False)
        rows = summed_up(self._slots.between(first_day, query.local_day))
        rows = where(rows, (rows["pageviews"] != 0) | (rows["visits"] != 0))
        columns = (rows["local_day"], rows["key"] * SLOT_US, rows["pageviews"], rows["visits"])
        return history.pace_counts(
            query,
            (within["pageviews"].sum(), within["visits"].sum()),
            zip(*(values.tolist() for values in columns), strict=True),
        )

    def _bring_up(self, connection: Connection, first_day: int, *, pages: bool) -> bool:
        """Take over what is committed; return whether the days from the first one on are here,
        with their pages if they are asked for.
        """
        # Noted before anything is read, so that what is read is at least as new.
        versions, seq = self._writer.versions, self._writer.last_seq
        generation, version = versions.generation, versions.of(self._site_id)
        texts_version = versions.of_pages(self._site_id)
        if self._texts_version != texts_version or len(self._texts) > _TEXTS_MAX:
            self._texts_version, self._texts = texts_version, {}
        is_here = self._from_day <= first_day and (self._pages is not None or not pages)
        current = self._generation == generation
        # Whatever is cut short below is begun anew.
        self._generation = -1
        if not (current and is_here):
            if not self._load(connection, first_day, pages=pages or self._pages is not None):
                self._generation = generation if current else -1
                return False
        elif self._version != version:
            self._add(self._events(connection, self._seq))
        self._seq = max(self._seq, seq)
        self._generation, self._version = generation, version
        return True

    def _load(self, connection: Connection, from_day: int, *, pages: bool) -> bool:
        """Start over; return False, and leave everything as it is, if the pages are too many."""
        if pages and from_day <= self._too_large_from:
            return False
        asked = {"site_id": self._site_id, "from_day": from_day}
        page_rows = None
        with snapshot(connection):
            if pages:
                ((count,),) = fetch(connection, history.page_day_rows(), asked)
                if count <= self._page_rows_max:
                    page_rows = fetch_columns(connection, history.page_days(), asked)
            slot_rows = fetch_columns(connection, history.slot_days(), asked)
            first = fetch(connection, history.first_day(tail=False), asked)
            folded = FOLDED.seq(connection)
            events = self._events(connection, folded)
        if pages and page_rows is None:
            self._too_large_from = from_day
            return False
        self._seq, self._from_day = folded, from_day
        self._first_day = first[0][0] if first else None
        self._slots = DayCounts(_by_slot(slot_rows, slot_rows["slot_us"]))
        self._numbers, self._texts = {}, {}
        self._pages = DayCounts(self._by_page(page_rows)) if page_rows is not None else None
        self._add(events)
        return True

    def _events(self, connection: Connection, after_seq: int) -> Columns:
        asked = {"site_id": self._site_id, "folded_seq": after_seq}
        return counted(fetch_columns(connection, history.events_since(), asked))

    def _add(self, events: Columns) -> None:
        """Take over the events after those that are here."""
        if not len(events["seq"]):
            return
        views = events["local_day"][events["pageviews"] > 0]
        if len(views):
            first = int(views.min())
            self._first_day = first if self._first_day is None else min(first, self._first_day)
        here = where(events, events["local_day"] >= self._from_day)
        self._slots.add(_by_slot(here, here["ts_us"]))
        if self._pages is not None:
            self._pages.add(self._by_page(here))
        self._seq = int(events["seq"].max())

    def _by_page(self, rows: Columns) -> Columns:
        """Return rows with their pages' numbers as keys."""
        ids = pa.array(rows["page_id"], pa.int64()).dictionary_encode()
        numbers = self._numbers
        of_ids = [numbers.setdefault(id_, len(numbers)) for id_ in ids.dictionary.to_pylist()]
        return {**rows, "key": np.array(of_ids, np.int32)[ids.indices.to_numpy()]}

    def _top_pages(self, connection: Connection, query: HistoryQuery) -> list[PageCount] | None:
        """Return the first pages by rank, None if they are not to be had here."""
        if self._pages is None:
            return None
        rows = self._pages.between(query.first_day, query.last_day)
        size = len(self._numbers)
        sums = {name: sums_by(rows["key"], rows[name], size) for name in SUMS}
        rank = sums[history.ranked_by(query.rank_by)]
        among = rank > 0
        asked = history.parameters(query)
        if asked["search"]:
            found = fetch_columns(connection, history.found_pages(), asked)["page_id"]
            matching = np.zeros(size, np.bool_)
            matching[[self._numbers[id_] for id_ in found.tolist() if id_ in self._numbers]] = True
            among &= matching
        chosen = _first(np.flatnonzero(among), rank, query.pages_max)
        if len(chosen) > query.pages_max + _TIED_MAX:
            return None
        texts = self._texts_of(connection, chosen.tolist())
        order = ((-rank[page], texts[page][1], texts[page][0], page) for page in texts)
        return [
            history.page_count([*texts[page], *(sums[name][page] for name in SUMS)])
            for *_, page in nsmallest(query.pages_max, order)
        ]

    def _texts_of(self, connection: Connection, pages: list[int]) -> dict[int, Sequence[str]]:
        missing = [page for page in pages if page not in self._texts]
        if missing:
            ids = np.fromiter(self._numbers, np.int64)[missing].tolist()
            asked = {"site_id": self._site_id, "page_ids": ids}
            for page_id, *texts in fetch(connection, history.page_texts(), asked):
                self._texts[self._numbers[page_id]] = texts
        return {page: self._texts[page] for page in pages if page in self._texts}


def _by_slot(rows: Columns, times_us: Ints) -> Columns:
    """Return rows with the numbers of their slots as keys."""
    return {**rows, "key": times_us // SLOT_US}


def _first(chosen: Ints, rank: Ints, count: int) -> Ints:
    """Return those that are among the first by rank, and all that share the last one's."""
    if len(chosen) <= count:
        return chosen
    last = np.partition(rank[chosen], -count)[-count]
    kept: Ints = chosen[rank[chosen] >= last]
    return kept


def _days(rows: Columns) -> list[DayCount]:
    """Return the days with any count, ascending."""
    if not len(rows["local_day"]):
        return []
    first = int(rows["local_day"].min())
    of = rows["local_day"] - first
    sums = [sums_by(of, rows[name], int(of.max()) + 1) for name in SUMS]
    counted = np.flatnonzero(np.any(sums, axis=0))
    return [history.day_count([first + day, *(s[day] for s in sums)]) for day in counted.tolist()]
