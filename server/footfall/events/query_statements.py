"""The statements behind batch queries, and the columns that their rows become.

There is one statement: the events of a scan with the few columns that are asked for, by visitor
and time where sessions are. What engines would have to do with windows and distinct counts, one
sort does for all parameters of a scan together; the rest is comparing neighbours. It is fast
because it reads the columns that it names only, and of those the row groups whose times are in
the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, Select, func, not_, select

from footfall.analytics.queries.model import (
    Condition,
    EventField,
    EventKind,
    EventRows,
    EventScan,
    Int64s,
    Operator,
    Texts,
)
from footfall.events.dialect import contains, is_like, starts_with, text_hash
from footfall.events.tables import pages, web_events
from footfall.ingest.model import Exclusion, WebEventKind

#: About how many events are in memory at once, in a portion of a scan.
PORTION_ROWS: Final = 2_000_000
_HASHES: Final = 1 << 63

_KINDS: Final = {
    EventKind.PAGEVIEW: WebEventKind.PAGEVIEW,
    EventKind.CUSTOM: WebEventKind.CUSTOM,
}


def count(scan: EventScan, through_seq: int | None = None) -> Select[Any]:
    """Return the number of a scan's events."""
    return select(func.count()).select_from(web_events).where(*_conditions(scan, through_seq))


def portions(
    scan: EventScan, events: int, rows_max: int, through_seq: int | None = None
) -> Iterator[Select[Any]]:
    """Return the statements that give a scan's events, of which there are so many: each gives the
    visitors of a share of all hashes.
    """
    event = web_events.c
    visitor = text_hash(event.visitor_id)
    fields = [
        event.page_id if field is EventField.PATH else event[field.value]
        for field in sorted(scan.fields)
    ]
    statement = select(visitor.label("visitor"), event.ts_us, *fields).where(
        *_conditions(scan, through_seq)
    )
    if scan.ordered:
        statement = statement.order_by(visitor, event.ts_us, event.seq)
    number = -(-events // rows_max)
    if number <= 1:
        yield statement
        return
    edges = [_HASHES * index // number for index in range(number)]
    for low, high in zip(edges, [*edges[1:], _HASHES], strict=True):
        yield statement.where(visitor.between(low, high - 1))


def paths(site_id: str) -> Select[Any]:
    """Return (page_id, path) of a site's pages."""
    return select(pages.c.page_id, pages.c.path).where(pages.c.site_id == site_id)


def event_rows(scan: EventScan, table: pa.Table, known_paths: pa.Table | None) -> EventRows:
    """Return the rows of a statement of `portions` as columns."""
    texts = {}
    for index, field in enumerate(sorted(scan.fields), start=2):
        coded = table.column(index).combine_chunks()
        if not pa.types.is_dictionary(coded.type):
            coded = coded.dictionary_encode()
        texts[field] = _texts(coded, known_paths if field is EventField.PATH else None)
    return EventRows(_visitors(scan, table.column(0)), table.column(1).to_numpy(), texts)


def _visitors(scan: EventScan, hashes: pa.ChunkedArray) -> Int64s:
    """Return small numbers instead of hashes."""
    if scan.ordered:
        # The next visitor has the next number; dictionaries take several times as long.
        values = hashes.to_numpy()
        numbers: Int64s = np.cumsum(np.diff(values, prepend=values[:1]) != 0)
        return numbers
    found: Int64s = hashes.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return found


def _texts(coded: pa.DictionaryArray, known_paths: pa.Table | None) -> Texts:
    codes = coded.indices.to_numpy().astype(np.int32, copy=False)
    values = coded.dictionary
    if known_paths is not None:
        # The same path on two hosts is one value; a page that nothing is known of is none.
        found = pc.index_in(values, known_paths.column(0))
        named = pc.fill_null(pc.take(known_paths.column(1), found), "")
        values = named.combine_chunks() if isinstance(named, pa.ChunkedArray) else named
    if not pa.types.is_dictionary(values.type):
        unique = values.dictionary_encode()
        if len(unique.dictionary) < len(values):
            codes = unique.indices.to_numpy().astype(np.int32, copy=False)[codes]
        values = unique.dictionary
    return Texts(codes, values.to_pylist())


def _conditions(scan: EventScan, through_seq: int | None) -> list[ColumnElement[bool]]:
    event = web_events.c
    conditions = [
        event.site_id == scan.site_id,
        event.kind == _KINDS[scan.kind].value,
        event.excluded == Exclusion.NONE.value,
        event.ts_us >= scan.start_us,
        event.ts_us < scan.end_us,
    ]
    if through_seq is not None:
        conditions.append(event.seq <= through_seq)
    for condition in scan.conditions:
        if condition.field is EventField.PATH:
            found = select(pages.c.page_id).where(
                pages.c.site_id == scan.site_id, _holds(condition, pages.c.path)
            )
            conditions.append(event.page_id.in_(found))
        else:
            conditions.append(_holds(condition, event[condition.field.value]))
    return conditions


def _holds(condition: Condition, text: ColumnElement[str]) -> ColumnElement[bool]:
    if condition.operator in {"in", "not_in"}:
        found = text.in_(condition.values)
        return found if condition.operator == "in" else not_(found)
    (value,) = condition.values
    return _COMPARISONS[condition.operator](text, value)


_COMPARISONS: Final[Mapping[Operator, Callable[[ColumnElement[str], str], ColumnElement[bool]]]] = {
    "contains": contains,
    "not_contains": lambda text, value: not_(contains(text, value)),
    "starts_with": starts_with,
    "like": is_like,
    "gt": lambda text, value: text > value,
    "lt": lambda text, value: text < value,
}
