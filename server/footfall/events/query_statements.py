"""The statements behind batch queries, and the columns that their rows become.

There is one statement: the events of a scan with the few columns that are asked for. What engines
would have to do with windows and distinct counts, one sort by visitor and time does for all
parameters of a scan together; the rest is comparing neighbours. It is fast because it reads the
columns that it names only, and of those the row groups whose times are in the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    String,
    bindparam,
    func,
    literal_column,
    not_,
    select,
)

from footfall.analytics.queries.model import (
    Condition,
    EventField,
    EventKind,
    EventRows,
    EventScan,
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
    statement = select(*_columns(scan.fields)).where(*_conditions(scan, through_seq))
    number = -(-events // rows_max)
    if number <= 1:
        yield statement
        return
    share = text_hash(web_events.c.visitor_id)
    edges = [_HASHES * index // number for index in range(number)]
    for low, high in zip(edges, [*edges[1:], _HASHES], strict=True):
        yield statement.where(share.between(low, high - 1))


@cache
def events_since(kind: EventKind, fields: frozenset[EventField]) -> Select[Any]:
    """Return a site's events of a kind after `after_seq` and not before `from_us`, as `portions`
    does.
    """
    event = web_events.c
    return select(*_columns(fields)).where(
        event.site_id == bindparam("site_id", None, String),
        event.kind == literal_column(str(_KINDS[kind].value)),
        event.excluded == literal_column(str(Exclusion.NONE.value)),
        event.seq > bindparam("after_seq", None, BigInteger),
        event.ts_us >= bindparam("from_us", None, BigInteger),
    )


def _columns(fields: frozenset[EventField]) -> list[ColumnElement[Any]]:
    event = web_events.c
    texts = (event.page_id if f is EventField.PATH else event[f.value] for f in sorted(fields))
    return [event.visitor_id, event.ts_us, event.seq, *texts]


def paths(site_id: str) -> Select[Any]:
    """Return (page_id, path) of a site's pages."""
    return select(pages.c.page_id, pages.c.path).where(pages.c.site_id == site_id)


@cache
def paths_of() -> Select[Any]:
    """Return (page_id, path) of the pages of a site among `page_ids`, for DuckDB."""
    ids = select(func.unnest(bindparam("page_ids", None, ARRAY(BigInteger))))
    site = pages.c.site_id == bindparam("site_id", None, String)
    return select(pages.c.page_id, pages.c.path).where(site, pages.c.page_id.in_(ids))


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of a scan, and what their visitors are called by number."""

    rows: EventRows
    visitor_ids: pa.StringArray
    #: The highest sequence number; 0 without any row.
    last_seq: int
    #: Whether every page is known; the path of others is "".
    whole: bool


def stored_rows(
    fields: frozenset[EventField],
    table: pa.Table,
    known_paths: pa.Table | None,
    *,
    ordered: bool = True,
) -> StoredRows:
    """Return the rows of a statement of `portions` as columns, by visitor, time and order of
    storage if they are wanted `ordered`.
    """
    # The sort is done here because engines sort by numbers only in good time, and have none that
    # tell visitors apart without a doubt.
    coded = _coded(table.column(0))
    visitors, ts_us, seq = coded.indices.to_numpy(), *(c.to_numpy() for c in table.columns[1:3])
    order = np.lexsort((seq, ts_us, visitors)) if ordered else slice(None)
    texts = {}
    whole = True
    for field in fields:
        column = _coded(table.column(place_of(field, fields)))
        codes = column.indices.to_numpy().astype(np.int32, copy=False)[order]
        values = column.dictionary
        if field is EventField.PATH and known_paths is not None:
            values = pc.take(known_paths.column(1), pc.index_in(values, known_paths.column(0)))
            whole = values.null_count == 0
            values = pc.fill_null(values, "")
        texts[field] = _texts(codes, values)
    rows = EventRows(visitors[order], ts_us[order], texts)
    return StoredRows(rows, coded.dictionary, int(seq.max(initial=0)), whole)


def place_of(field: EventField, fields: frozenset[EventField]) -> int:
    """Return the number of a field's column in the rows of `portions`; of paths, it has pages."""
    return 3 + sorted(fields).index(field)


def _coded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    values = column.combine_chunks()
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _texts(codes: npt.NDArray[np.int32], values: pa.Array | pa.ChunkedArray) -> Texts:
    """Return a column of texts, the same text of two pages as one."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    unique = values.dictionary_encode()
    if len(unique.dictionary) < len(values):
        codes = unique.indices.to_numpy().astype(np.int32, copy=False)[codes]
    return Texts(codes, unique.dictionary.to_pylist())


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
