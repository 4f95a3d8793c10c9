"""Batch queries from memory: the events of the sites that are asked for, kept up to date.

Reading and sorting two million events takes DuckDB and us a second. Here they are read once, and
kept up by reading what came since, as `mirror.py` does it with history: events get added in the
order of their sequence numbers. What makes that untrue begins a new generation, or has the site
forgotten. Sites that would take too much memory are left to the scan, and so are questions that
read few events or the properties of custom ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from footfall.analytics.queries.model import (
    EventField,
    EventKind,
    EventPart,
    EventScan,
    Take,
)
from footfall.events import query_statements
from footfall.events.duckdb.kept_sites import KeptSites
from footfall.events.duckdb.sql import Connection, run, snapshot, template_of
from footfall.events.frame import EventFrame, bytes_of
from footfall.events.query_statements import StoredRows, stored_rows
from footfall.events.writer import Writer

#: Memory for all frames together; one takes at most half of it.
BYTES_MAX: Final = 256 << 20
#: A question that reads fewer events is answered by a scan as soon as they are not in memory.
FEW_EVENTS: Final = 50_000

#: Later than any event.
_NEVER_US: Final = 2**62


class EventFrames:
    """Gives the events of scans from memory where it can; called from several threads."""

    def __init__(
        self, writer: Writer, bytes_max: int = BYTES_MAX, few_events: int = FEW_EVENTS
    ) -> None:
        self.sites = KeptSites(
            lambda site_id: _Site(site_id, writer, bytes_max // 2, few_events), bytes_max
        )

    def scan(self, connection: Connection, scans: Sequence[tuple[EventScan, Take]]) -> None:
        """Give each scan's events to what takes them; see QueryReader.scan_events."""
        with self.sites.using(scan.site_id for scan, _ in scans) as sites:
            # The snapshot comes after, so that no frame is ahead of it.
            for site in sites.values():
                site.begin()
            with snapshot(connection):
                for scan, take in scans:
                    for part in sites[scan.site_id].parts(connection, scan):
                        take(part)


class _Site:
    """The frames of a site."""

    def __init__(self, site_id: str, writer: Writer, bytes_max: int, few_events: int) -> None:
        self._site_id = site_id
        self._writer = writer
        self._bytes_max = bytes_max
        self._few_events = few_events
        self._kinds: dict[EventKind, _Kept] = {}
        self._generation = self._seq = -1

    @property
    def size(self) -> int:
        """About how much memory it takes, in bytes."""
        return sum(kept.frame.size_bytes for kept in self._kinds.values())

    def begin(self) -> None:
        """Note what there is at least to be read from now on."""
        generation = self._writer.versions.generation
        if generation != self._generation:
            self._kinds.clear()
        self._generation, self._seq = generation, self._writer.last_seq

    def parts(self, connection: Connection, scan: EventScan) -> Iterator[EventPart]:
        """Return the parts of a scan, from memory where that can be."""
        fields = scan.fields | {condition.field for condition in scan.conditions}
        # Whatever is cut short below is begun anew.
        kept = self._kinds.pop(scan.kind, None)
        if kept is None or not kept.covers(scan.start_us, fields):
            events = count(connection, scan)
            loaded = None
            if events > self._few_events and EventField.PROPERTIES not in fields:
                loaded = self._loaded(connection, scan, fields, kept)
            if loaded is None:
                if kept is not None:
                    self._kinds[scan.kind] = kept
                return scanned(connection, scan, events)
            kept = loaded
        elif kept.seq < self._seq:
            news = self._news(connection, scan.kind, kept)
            if not news.whole:
                return scanned(connection, scan, count(connection, scan))
            kept.frame.add(news)
            kept.seq = max(self._seq, news.last_seq)
        self._kinds[scan.kind] = kept
        return kept.frame.parts(scan)

    def _loaded(
        self,
        connection: Connection,
        scan: EventScan,
        fields: frozenset[EventField],
        known: _Kept | None,
    ) -> _Kept | None:
        """Read all events that a scan and those before it have asked for, and all later ones;
        return None if they are too many, or a page is not known yet.
        """
        from_us = scan.start_us
        if known is not None:
            from_us = min(from_us, known.from_us)
            fields |= known.frame.fields
        whole = EventScan(self._site_id, scan.kind, from_us, _NEVER_US, fields)
        events = count(connection, whole)
        if bytes_of(events, len(fields)) > self._bytes_max:
            return None
        bulk = list(stored(connection, whole, events))
        if not all(rows.whole for rows in bulk):
            return None
        seq = max(self._seq, *(rows.last_seq for rows in bulk))
        return _Kept(EventFrame(fields, bulk), from_us, seq)

    def _news(self, connection: Connection, kind: EventKind, kept: _Kept) -> StoredRows:
        """Return the events since."""
        fields = kept.frame.fields
        since = template_of(query_statements.events_since(kind, fields))
        asked = {"site_id": self._site_id, "after_seq": kept.seq, "from_us": kept.from_us}
        table = connection.execute(since.sql, since.parameters(asked)).to_arrow_table()
        known_paths = None
        if EventField.PATH in fields and len(table):
            ids = table.column(query_statements.place_of(EventField.PATH, fields))
            named = template_of(query_statements.paths_of())
            asked = {"site_id": self._site_id, "page_ids": ids.unique().to_pylist()}
            known_paths = connection.execute(named.sql, named.parameters(asked)).to_arrow_table()
        return stored_rows(fields, table, known_paths)


@dataclass(slots=True)
class _Kept:
    """A frame of the events from an instant on, up to one."""

    frame: EventFrame
    from_us: int
    seq: int

    def covers(self, start_us: int, fields: frozenset[EventField]) -> bool:
        """Whether such events are all here."""
        return self.from_us <= start_us and fields <= self.frame.fields


def scanned(connection: Connection, scan: EventScan, events: int) -> Iterator[EventPart]:
    """Yield a scan's events, of which there are so many, as the file has them."""
    for found in stored(connection, scan, events):
        yield EventPart(lambda rows=found.rows: rows)  # type: ignore[misc]


def stored(connection: Connection, scan: EventScan, events: int) -> Iterator[StoredRows]:
    """Yield a scan's events, of which there are so many, in portions."""
    if not events:
        return
    known_paths: pa.Table | None = None
    if EventField.PATH in scan.fields:
        known_paths = run(connection, query_statements.paths(scan.site_id)).to_arrow_table()
    for part in query_statements.portions(scan, events, query_statements.PORTION_ROWS):
        table = run(connection, part).to_arrow_table()
        yield stored_rows(scan.fields, table, known_paths, ordered=scan.ordered)


def count(connection: Connection, scan: EventScan) -> int:
    """Return the number of a scan's events."""
    ((events,),) = run(connection, query_statements.count(scan)).fetchall()
    return int(events)
