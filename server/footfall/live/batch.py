"""A site's events in the form that the scripts read, in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson

from footfall.analytics.model import LiveEvent
from footfall.ingest.model import INTERNAL_MEDIUM, EventBatch, Exclusion, WebEventKind

#: Events of one call of the script: a few milliseconds of Redis's time.
EVENTS_MAX = 200

#: Visitor, last seen in ms, page, source or "", device, country, city.
PresenceRow = tuple[str, int, str, str, str, str, str]

_COLUMNS = (
    "kind",
    "excluded",
    "visitor_id",
    "ts_us",
    "local_day",
    "page_id",
    "medium",
    "source",
    "source_detail",
    "country",
    "city",
    "device",
)


def live_events(batch: EventBatch, duplicates: Sequence[int]) -> Iterator[LiveEvent]:
    """Return the page views and heartbeats of a committed batch that count, in its order.

    A time after the batch's arrival is taken for the arrival.
    """
    skip = frozenset(duplicates)
    rows = zip(*(batch.columns[name] for name in _COLUMNS), strict=True)
    for index, (kind, excluded, visitor, ts_us, day, page_id, *rest) in enumerate(rows):
        if kind == WebEventKind.CUSTOM or excluded != Exclusion.NONE or index in skip:
            continue
        medium, source, detail, country, city, device = rest
        page = batch.pages[page_id]
        yield LiveEvent(
            visitor_id=visitor,
            ts_ms=min(ts_us, batch.received_us) // 1000,
            local_day=day,
            pageview=kind == WebEventKind.PAGEVIEW,
            host=page.host,
            path=page.path,
            title=page.title,
            og_image=page.og_image,
            medium=medium,
            source=source,
            detail=detail,
            country=country,
            city=city,
            device=device,
        )


@lru_cache(maxsize=65_536)
def source_key(medium: str, source: str, detail: str) -> str:
    """Return the text under which a source is counted."""
    return orjson.dumps((medium, source, detail)).decode()


def page_key(host: str, path: str) -> str:
    """Return the text under which a page is counted; it sorts by path first."""
    if "\0" in path:
        path = path.replace("\0", "%00")
    return f"{path}\0{host}"


def read_page_key(key: bytes) -> tuple[str, str]:
    """Return (host, path) of a page's text."""
    path, _, host = key.decode().rpartition("\0")
    return host, path


#: The source of a visitor who came without any.
DIRECT = source_key("(none)", "(direct)", "")


def own_source(event: LiveEvent) -> str:
    """Return the source that the event itself brings, or "" if it brings none.

    Heartbeats, and page views reached from the same site, leave the visitor's source as it is.
    """
    if not event.pageview or event.medium == INTERNAL_MEDIUM:
        return ""
    return source_key(event.medium, event.source, event.detail)


def presence_row(event: LiveEvent, source: str, page: str = "") -> PresenceRow:
    """Return what the scripts need of an event to move its visitor; "" keeps the source."""
    return (
        event.visitor_id,
        event.ts_ms,
        page or page_key(event.host, event.path),
        source,
        event.device or "other",
        event.country,
        event.city,
    )


class DayCounts:
    """What a batch adds to the counters of one local day."""

    def __init__(self) -> None:
        self.total = 0
        self.pages: dict[str, int] = {}
        self.visitors: dict[str, None] = {}
        self.described: dict[str, tuple[str, str]] = {}

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "total": self.total,
                "pages": self.pages,
                "visitors": list(self.visitors),
                "described": [(page, *texts) for page, texts in self.described.items()],
            }
        )


class LiveBatch:
    """Events of one site in commit order, at most about EVENTS_MAX of them.

    `today` is the site's local day: page views of it and of the next day are counted (a client's
    clock may be ahead at midnight), those of other days move presence only. Events up to
    `gone_ms` move no presence, their visitors being gone again; old logs come through here too.
    """

    def __init__(self, today: int, gone_ms: int = 0) -> None:
        self._today = today
        self._gone_ms = gone_ms
        self._size = 0
        self.presence: list[PresenceRow] = []
        self.days: dict[int, DayCounts] = {}

    def __len__(self) -> int:
        """Return the number of events that move anything."""
        return self._size

    def day(self, local_day: int) -> DayCounts:
        """Return the counters of a local day."""
        counts = self.days.get(local_day)
        if counts is None:
            counts = self.days[local_day] = DayCounts()
        return counts

    def add(self, event: LiveEvent) -> None:
        """Count an event."""
        page = page_key(event.host, event.path)
        present = event.ts_ms > self._gone_ms
        described = event.title != "" or event.og_image != ""
        counted = event.pageview and 0 <= event.local_day - self._today <= 1
        if present:
            self.presence.append(presence_row(event, own_source(event), page))
        if described:
            self.describe(page, event.title, event.og_image)
        if counted:
            day = self.day(event.local_day)
            day.total += 1
            day.pages[page] = day.pages.get(page, 0) + 1
            day.visitors[event.visitor_id] = None
        self._size += present or described or counted

    def describe(self, page: str, title: str, og_image: str) -> None:
        """Note a page's texts, as known today; "" leaves what is known."""
        described = self.day(self._today).described
        known = described.get(page, ("", ""))
        described[page] = (title or known[0], og_image or known[1])

    def encode_presence(self) -> bytes:
        return orjson.dumps(self.presence)


def pieces(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Cut rows into lists of at most `size`."""
    piece: list[Any] = []
    for row in rows:
        piece.append(row)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece
