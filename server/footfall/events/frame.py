"""Events in memory, in the order in which sessions and visitors are counted.

The bulk of the events is sorted by visitor and time, and does not change; what came since lies
beside it in the order of storage, until it is so much that all is sorted anew. So what has been
counted of the bulk stays true but for the visitors with news: their events are first taken out,
and then counted with the news. Both are few, and are found without looking at the others'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from footfall.analytics.queries.model import (
    Bools,
    Condition,
    EventField,
    EventPart,
    EventRows,
    EventScan,
    Int64s,
    Numbers,
    Texts,
)
from footfall.events.query_statements import StoredRows

Codes = npt.NDArray[np.int32]
Places = npt.NDArray[np.intp]

#: News that may lie beside the bulk: so many, or this part of it.
NEWS_MIN: Final = 4_096
_NEWS_PART: Final = 32
#: Memory that a visitor takes for its number, and a text for its own, beside its letters.
_VISITOR_BYTES: Final = 64
_TEXT_BYTES: Final = 160
#: Conditions of which is remembered what texts they hold for.
_CONDITIONS_MAX: Final = 32


class EventFrame:
    """The events of one kind on a site from an instant on, with some of their texts."""

    def __init__(self, fields: Iterable[EventField], bulk: Iterable[StoredRows]) -> None:
        """Take over events; those of a visitor are in one of the stored rows, in order."""
        self._texts = {field: _TextNumbers() for field in fields}
        self._visitors = _VisitorNumbers()
        taken = [self._taken(each.rows, self._visitors.add(each.visitor_ids)) for each in bulk]
        self._bulk = _Events.joined(taken, self._texts)
        self._news = _Events.joined([], self._texts)
        #: Names what the bulk is now; no other has the same.
        self._name = object()

    @property
    def fields(self) -> frozenset[EventField]:
        """The texts that are here."""
        return frozenset(self._texts)

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        rows = len(self._bulk) + len(self._news)
        texts = sum(numbers.size_bytes for numbers in self._texts.values())
        return bytes_of(rows, len(self._texts)) + self._visitors.size_bytes + texts

    def add(self, news: StoredRows) -> None:
        """Take over the events since; they come in the order of visitors, time and storage."""
        numbers = np.array(
            [self._visitors.number(each) for each in news.visitor_ids.to_pylist()], np.int32
        )
        more = self._taken(news.rows, numbers)
        self._news = _Events.joined([self._news, more], self._texts)
        if len(self._news) > max(NEWS_MIN, len(self._bulk) // _NEWS_PART):
            self._bulk = _Events.joined([self._bulk, self._news], self._texts).sorted()
            self._news = _Events.joined([], self._texts)
            self._visitors.settle()
            self._name = object()

    def parts(self, scan: EventScan) -> Iterator[EventPart]:
        """Yield what a scan has to count, to take out again, and to count instead."""
        bulk = self._bulk

        def rows() -> EventRows:
            return self._rows(bulk.at(np.flatnonzero(self._among(bulk, scan))), scan)

        yield EventPart(rows, name=self._name)
        news = self._news.at(np.flatnonzero(self._among(self._news, scan)))
        if not len(news):
            return
        before = bulk.at(bulk.places_of(np.unique(news.visitors)))
        before = before.at(np.flatnonzero(self._among(before, scan)))
        after = _Events.joined([before, news], self._texts).sorted()
        if len(before):
            yield EventPart(lambda: self._rows(before, scan), sign=-1)
        yield EventPart(lambda: self._rows(after, scan))

    def _taken(self, rows: EventRows, visitors: Codes) -> _Events:
        """Return rows as events with the numbers that are used here; visitors' are given."""
        numbers = {
            field: known.numbers(rows.texts[field].values)[rows.texts[field].codes]
            for field, known in self._texts.items()
        }
        return _Events(visitors[rows.visitors], rows.ts_us, numbers)

    def _among(self, events: _Events, scan: EventScan) -> Bools:
        """Return which of the events are in a scan."""
        found: Bools = (events.ts_us >= scan.start_us) & (events.ts_us < scan.end_us)
        for condition in scan.conditions:
            texts = self._texts[condition.field]
            found &= texts.holding(condition)[events.texts[condition.field]]
        return found

    def _rows(self, events: _Events, scan: EventScan) -> EventRows:
        texts = {
            field: Texts(events.texts[field], self._texts[field].texts) for field in scan.fields
        }
        return EventRows(events.visitors, events.ts_us, texts)


def bytes_of(rows: int, fields: int) -> int:
    """Return how much memory so many events take with so many texts each, without the texts."""
    return rows * (4 + 8 + 4 * fields)


@dataclass(frozen=True, slots=True)
class _Events:
    """Columns of events: numbers of visitors and of texts."""

    visitors: Numbers
    ts_us: Int64s
    texts: Mapping[EventField, Codes]

    @classmethod
    def joined(cls, parts: Sequence[_Events], fields: Iterable[EventField]) -> _Events:
        """Return the events of all parts."""
        no_codes = np.zeros(0, np.int32)
        return cls(
            np.concatenate([no_codes, *(part.visitors for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.ts_us for part in parts)]),
            {
                field: np.concatenate([no_codes, *(part.texts[field] for part in parts)])
                for field in fields
            },
        )

    def __len__(self) -> int:
        return len(self.ts_us)

    def at(self, places: Places) -> _Events:
        """Return the events at some places."""
        if len(places) == len(self):
            # All of them, since nobody asks for one twice.
            return self
        texts = {field: codes[places] for field, codes in self.texts.items()}
        return _Events(self.visitors[places], self.ts_us[places], texts)

    def sorted(self) -> _Events:
        """Return them by visitor and time; what is alike in both stays in its order."""
        order = np.lexsort((self.ts_us, self.visitors))
        texts = {field: codes[order] for field, codes in self.texts.items()}
        return _Events(self.visitors[order], self.ts_us[order], texts)

    def places_of(self, visitors: Numbers) -> Places:
        """Return the places of some visitors' events, which are sorted; so are the visitors."""
        low = np.searchsorted(self.visitors, visitors, "left")
        counts = np.searchsorted(self.visitors, visitors, "right") - low
        skipped = np.repeat(low - np.cumsum(counts) + counts, counts)
        places: Places = skipped + np.arange(len(skipped))
        return places


class _TextNumbers:
    """Texts by number; there only ever get more of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._letters = 0
        #: What conditions were found to say of the first texts.
        self._holding: dict[Condition, Bools] = {}

    @property
    def size_bytes(self) -> int:
        conditions = len(self._holding) * len(self.texts)
        return self._letters + _TEXT_BYTES * len(self.texts) + conditions

    def numbers(self, texts: Sequence[str]) -> Codes:
        """Return the numbers of texts; new ones get the next."""
        return np.array([self._number(text) for text in texts], np.int32)

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            self._letters += len(text)
        return number

    def holding(self, condition: Condition) -> Bools:
        """Return of which texts a condition is true."""
        known = self._holding.pop(condition, np.zeros(0, np.bool_))
        if len(known) < len(self.texts):
            test = condition.test()
            more = np.array([test(text) for text in self.texts[len(known) :]], np.bool_)
            known = np.concatenate([known, more])
        self._holding[condition] = known
        if len(self._holding) > _CONDITIONS_MAX:
            del self._holding[next(iter(self._holding))]
        return known


class _VisitorNumbers:
    """Visitors' ids by number. A dictionary of them would take several times the memory."""

    def __init__(self) -> None:
        self._ids: pa.Array = pa.array([], pa.string())
        #: Hashes of the ids, ascending, and their numbers: what is not found is new, and what is
        #: found is compared.
        self._hashes = np.zeros(0, np.int64)
        self._of_hashes = np.zeros(0, np.int32)
        #: The ids after those.
        self._recent: dict[str, int] = {}

    @property
    def size_bytes(self) -> int:
        return int(self._ids.nbytes) + _VISITOR_BYTES * (len(self._ids) + len(self._recent))

    def add(self, new: pa.Array) -> Codes:
        """Take over ids none of which is here; return what their places become."""
        first = len(self._ids)
        ids = pa.concat_arrays([self._ids, new.cast(pa.string())])
        hashes = np.fromiter(map(hash, new.to_pylist()), np.int64, len(new))
        hashes = np.concatenate([self._hashes, hashes])
        numbers = np.concatenate([self._of_hashes, np.arange(first, len(ids), dtype=np.int32)])
        order = np.argsort(hashes)
        self._ids, self._hashes, self._of_hashes = ids, hashes[order], numbers[order]
        return np.arange(first, len(ids), dtype=np.int32)

    def number(self, visitor_id: str) -> int:
        """Return the number of an id; a new one gets the next."""
        hashed = hash(visitor_id)
        place = int(np.searchsorted(self._hashes, hashed))
        while place < len(self._hashes) and self._hashes[place] == hashed:
            number = int(self._of_hashes[place])
            if self._ids[number].as_py() == visitor_id:
                return number
            place += 1
        return self._recent.setdefault(visitor_id, len(self._ids) + len(self._recent))

    def settle(self) -> None:
        """Put the ids that came since to the others."""
        recent, self._recent = list(self._recent), {}
        self.add(pa.array(recent, pa.string()))
