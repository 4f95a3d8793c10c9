"""Counts over columns of events, of one portion of visitors after the other: no visitor is in two,
so that counts add up, and what is counted of some visitors can be taken out again.

Where sessions are asked for, rows come by visitor and time, so that the events of a session lie
side by side, and so do those of a visitor: both are found by comparing neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from footfall.analytics.queries.calendar import Granularity, LocalDays
from footfall.analytics.queries.model import (
    Bools,
    EventField,
    EventRows,
    Int64s,
    Numbers,
    Texts,
)

#: A session ends when so long no page is viewed.
GAP_US = 30 * 60 * 1_000_000
#: How far a session is followed beyond the end of a range.
FOLLOWED_US = 24 * 60 * 60 * 1_000_000


@dataclass(slots=True)
class Counts:
    """What is counted over page views and the sessions that begin among them."""

    pageviews: int = 0
    visitors: int = 0
    sessions: int = 0
    bounces: int = 0
    duration_us: int = 0

    def add(self, other: Counts, sign: int = 1) -> None:
        """Add the counts of other visitors, or take those of some out."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))


_Key = TypeVar("_Key", str, tuple[str, str, str])


class Table(Generic[_Key]):
    """Events and their visitors by key, of the keys that have any; and the number of all events
    that were looked at.
    """

    def __init__(self) -> None:
        self.counts: dict[_Key, tuple[int, int]] = {}
        self.total = 0

    def add(self, other: Self, sign: int = 1) -> None:
        """Add the counts of other visitors, or take those of some out."""
        self.total += sign * other.total
        if not self.counts and sign == 1:
            self.counts = other.counts.copy()
            return
        self._add((key, sign * events, sign * each) for key, (events, each) in other.counts.items())

    def _add(self, counted: Iterable[tuple[_Key, int, int]]) -> None:
        counts = self.counts
        for key, events, visitors in counted:
            before = counts.get(key, (0, 0))
            counts[key] = now = (before[0] + events, before[1] + visitors)
            if not now[0]:
                del counts[key]


class Portion:
    """Events of a portion of visitors, with what several folds need of them."""

    def __init__(self, rows: EventRows, days: LocalDays) -> None:
        self.rows = rows
        self.local_us = days.local_us(rows.ts_us)
        self.inside = days.inside(self.local_us)
        self._sessions: Sessions | None = None

    def sessions(self) -> Sessions:
        """Return the sessions that begin in the days; the rows are page views, in order."""
        if self._sessions is None:
            self._sessions = Sessions.of(self.rows, self.inside)
        return self._sessions


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions by the numbers of their first and last rows."""

    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]
    duration_us: Int64s

    @classmethod
    def of(cls, rows: EventRows, inside: Bools) -> Sessions:
        """Find the sessions whose first page view is inside."""
        if not len(rows):
            none = np.zeros(0, dtype=np.intp)
            return cls(none, none, np.zeros(0, dtype=np.int64))
        ts_us = rows.ts_us
        begins = np.empty(len(rows), dtype=np.bool_)
        begins[0] = True
        np.not_equal(rows.visitors[1:], rows.visitors[:-1], out=begins[1:])
        begins[1:] |= np.diff(ts_us) >= GAP_US
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(rows)) - 1
        kept = inside[first]
        first, last = first[kept], last[kept]
        return cls(first, last, ts_us[last] - ts_us[first])

    @property
    def bounces(self) -> Bools:
        found: Bools = self.first == self.last
        return found


class Number:
    """How many events there are."""

    def __init__(self) -> None:
        self.events = 0

    def take(self, portion: Portion) -> None:
        """Count a portion."""
        self.events += int(np.count_nonzero(portion.inside))

    def add(self, other: Number, sign: int = 1) -> None:
        """Add the events of other visitors, or take those of some out."""
        self.events += sign * other.events

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 1024


class Totals:
    """Counts over everything."""

    def __init__(self) -> None:
        self.counts = Counts()

    def take(self, portion: Portion) -> None:
        """Count a portion."""
        counts, inside = self.counts, portion.inside
        counts.pageviews += int(np.count_nonzero(inside))
        counts.visitors += _distinct(portion.rows.visitors[inside])
        sessions = portion.sessions()
        counts.sessions += len(sessions.first)
        counts.bounces += int(np.count_nonzero(sessions.bounces))
        counts.duration_us += int(sessions.duration_us.sum())

    def add(self, other: Totals, sign: int = 1) -> None:
        """Add the counts of other visitors, or take those of some out."""
        self.counts.add(other.counts, sign)

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 1024


class Series:
    """Counts by day or hour; a session counts where it begins."""

    def __init__(self, days: LocalDays, granularity: Granularity) -> None:
        self._days = days
        self._granularity = granularity
        self.labels = days.labels(granularity)
        size = max(self.labels, default=-1) + 1
        self._sums = {name: np.zeros(size, dtype=np.int64) for name in Counts.__slots__}

    def take(self, portion: Portion) -> None:
        """Count a portion."""
        rows, inside = portion.rows, portion.inside
        bucket = self._days.buckets(portion.local_us, self._granularity)
        self._count("pageviews", bucket[inside])
        self._count("visitors", _pairs(bucket[inside], rows.visitors[inside]))
        sessions = portion.sessions()
        begun = bucket[sessions.first]
        self._count("sessions", begun)
        self._count("bounces", begun[sessions.bounces])
        # Not bincount's weights: those are floating point.
        np.add.at(self._sums["duration_us"], begun, sessions.duration_us)

    def _count(self, name: str, buckets: Int64s) -> None:
        sums = self._sums[name]
        sums += np.bincount(buckets, minlength=len(sums))

    def add(self, other: Series, sign: int = 1) -> None:
        """Add the counts of other visitors, or take those of some out."""
        for name, sums in other._sums.items():
            self._sums[name] += sign * sums

    def counts(self) -> dict[str, Counts]:
        """Return the counts by the buckets' names, in the order of time."""
        return {
            label: Counts(**{name: int(sums[number]) for name, sums in self._sums.items()})
            for number, label in self.labels.items()
        }

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 1024 + 256 * len(self.labels)


class Breakdown(Table[str]):
    """Events and their visitors by the values of a text; of page views, also where sessions begin
    or end with them.
    """

    def __init__(self, field: EventField, of: str = "events", *, sourced: bool = False) -> None:
        super().__init__()
        self.field = field
        self._of = of
        self._sourced = sourced

    def take(self, portion: Portion) -> None:
        """Count a portion."""
        chosen = self._chosen(portion)
        self.total += len(chosen)
        if self._sourced:
            chosen = chosen[_is_sourced(portion.rows)[chosen]]
        texts = portion.rows.texts[self.field]
        events, visitors = count_pairs(
            texts.codes[chosen], portion.rows.visitors[chosen], len(texts.values)
        )
        self._add(_table(texts.values, events, visitors))

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 1024 + sum(256 + 4 * len(name) for name in self.counts)

    def _chosen(self, portion: Portion) -> npt.NDArray[np.intp]:
        if self._of == "entries":
            return portion.sessions().first
        if self._of == "exits":
            return portion.sessions().last
        return np.flatnonzero(portion.inside)


class Properties(Table[tuple[str, str, str]]):
    """Custom events and their visitors by name, property and value.

    With `first_of` each event has one property at most: the first of these names that it has.
    """

    def __init__(self, first_of: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._first_of = first_of

    def take(self, portion: Portion) -> None:
        """Count a portion."""
        rows = np.flatnonzero(portion.inside)
        self.total += len(rows)
        names, documents = (portion.rows.texts[f] for f in (EventField.NAME, EventField.PROPERTIES))
        pairs = [self._pairs(document) for document in documents.values]
        numbers: dict[tuple[str, str, str], int] = {}
        codes: list[int] = []
        owners: list[int] = []
        for row in rows.tolist():
            name = names.values[names.codes[row]]
            for key, value in pairs[documents.codes[row]]:
                codes.append(numbers.setdefault((name, key, value), len(numbers)))
                owners.append(row)
        visitors = portion.rows.visitors[np.array(owners, dtype=np.intp)]
        events, distinct = count_pairs(np.array(codes, dtype=np.int32), visitors, len(numbers))
        self._add(_table(list(numbers), events, distinct))

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return 1024 + sum(512 + 4 * sum(map(len, key)) for key in self.counts)

    def _pairs(self, document: str) -> list[tuple[str, str]]:
        pairs = _property_pairs(document)
        if not self._first_of:
            return pairs
        known = dict(pairs)
        return [("", known[name]) for name in self._first_of if known.get(name)][:1]


def _table(
    keys: Sequence[_Key], events: Int64s, visitors: Int64s
) -> Iterable[tuple[_Key, int, int]]:
    """Yield what has been counted of each key that has any event; they go by their places."""
    found = np.flatnonzero(events)
    columns = (found.tolist(), events[found].tolist(), visitors[found].tolist())
    for code, of_key, distinct in zip(*columns, strict=True):
        yield keys[code], of_key, distinct


def _property_pairs(document: str) -> list[tuple[str, str]]:
    """Return names and values of a custom event's properties, values as texts."""
    if not document:
        return []
    return [
        (key, value if isinstance(value, str) else orjson.dumps(value).decode())
        for key, value in orjson.loads(document).items()
    ]


def count_pairs(
    codes: npt.NDArray[np.int32], visitors: Numbers, size: int
) -> tuple[Int64s, Int64s]:
    """Return the rows and the distinct visitors of each code below `size`, in any order."""
    # One sort of plain integers takes less time than any way to group the rows.
    pairs = np.sort((codes.astype(np.int64) << 32) | visitors)
    new = np.ones(len(pairs), dtype=np.bool_)
    np.not_equal(pairs[1:], pairs[:-1], out=new[1:])
    rows: Int64s = np.bincount(codes, minlength=size)
    return rows, np.bincount(pairs[new] >> 32, minlength=size)


def _pairs(groups: Numbers, visitors: Numbers) -> Int64s:
    """Return the group of each distinct (group, visitor); rows are by either, and by the other
    within it, but for a clock that is put back over midnight.
    """
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    same = visitors[1:] == visitors[:-1]
    if bool(np.any(same & (groups[1:] < groups[:-1]))):
        order = np.lexsort((groups, visitors))
        groups, visitors = groups[order], visitors[order]
        same = visitors[1:] == visitors[:-1]
    new = np.empty(len(groups), dtype=np.bool_)
    new[0] = True
    np.logical_not(same & (groups[1:] == groups[:-1]), out=new[1:])
    found: Int64s = groups[new].astype(np.int64)
    return found


def _distinct(ordered: Numbers) -> int:
    """Return the number of distinct values of a sorted column."""
    if not len(ordered):
        return 0
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1


def _is_sourced(rows: EventRows) -> Bools:
    """Return which page views have a source of their own: not those from a page of the site."""
    medium: Texts = rows.texts[EventField.MEDIUM]
    known = np.array([value != "" for value in medium.values], dtype=np.bool_)
    found: Bools = known[medium.codes]
    return found
