"""The batches of one commit as Arrow tables, one for each table of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from footfall.errors import InvalidInputError
from footfall.events.dedup import Bools, Int64s, Keys
from footfall.events.search import page_text
from footfall.events.tables import NULLABLE, TABLES, TENANT_COLUMN, arrow_type, batch_columns
from footfall.events.visits import StoredView
from footfall.ingest.model import EventBatch, EventTable, Page

_COLUMNS: Final = {
    table: [
        (column.name, arrow_type(column), column in NULLABLE)
        for column in batch_columns(TABLES[table])
    ]
    for table in EventTable
}
_ORDER: Final = {table: [column.name for column in TABLES[table].columns] for table in EventTable}


@dataclass(frozen=True, slots=True)
class TableRows:
    """All rows of a commit for one table, batch after batch."""

    table: EventTable
    batches: Sequence[EventBatch]
    #: Each batch's index in the commit.
    places: Sequence[int]
    #: Row at which each batch starts, and the number of rows at the end.
    edges: Sequence[int]
    keys: Keys
    received_us: Int64s
    columns: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return self.edges[-1]

    def ints(self, name: str) -> npt.NDArray[Any]:
        """Return a column of integers, without a copy."""
        values: npt.NDArray[Any] = self.columns[name].to_numpy()
        return values

    def tenants(self, rows: Int64s) -> list[str]:
        """Return the tenant of each of the rows."""
        of = np.searchsorted(self.edges, rows, side="right") - 1
        return [self.batches[index].tenant_id for index in of.tolist()]

    def values(self, name: str) -> list[Any]:
        """Return the values of a column as the batches brought them."""
        return list(chain.from_iterable(batch.columns[name] for batch in self.batches))

    def arrow(self, first_seq: int, fresh: Bools, visits: npt.NDArray[np.int8] | None) -> pa.Table:
        """Return the fresh rows with all columns of the table, numbered from `first_seq`."""
        everything = dict(self.columns)
        sizes = [len(batch) for batch in self.batches]
        tenants = pa.array([batch.tenant_id for batch in self.batches], pa.string())
        of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        everything[TENANT_COLUMN[self.table]] = pa.DictionaryArray.from_arrays(of, tenants)
        everything["received_us"] = pa.array(self.received_us)
        everything["key_hi"] = pa.array(self.keys.hi)
        everything["key_lo"] = pa.array(self.keys.lo)
        if visits is not None:
            everything["visits"] = pa.array(visits)
        everything["seq"] = everything["received_us"]  # numbered below, once the rows are final
        rows = pa.table([everything[name] for name in _ORDER[self.table]], _ORDER[self.table])
        if not fresh.all():
            rows = rows.filter(pa.array(fresh))
        seq = np.arange(first_seq, first_seq + len(rows), dtype=np.int64)
        return rows.set_column(_ORDER[self.table].index("seq"), "seq", pa.array(seq))


def gather(batches: Sequence[EventBatch]) -> list[TableRows]:
    """Return the batches' rows by table, in the order of the batches.

    Raises InvalidInputError if a value does not fit its column: the batches cannot be stored.
    """
    tables = dict.fromkeys(batch.table for batch in batches)
    return [
        _gather(table, batches, [i for i, batch in enumerate(batches) if batch.table is table])
        for table in tables
    ]


def _gather(
    table: EventTable, all_batches: Sequence[EventBatch], places: Sequence[int]
) -> TableRows:
    batches = [all_batches[place] for place in places]
    sizes = [len(batch) for batch in batches]
    try:
        return TableRows(
            table,
            batches,
            places,
            [0, *accumulate(sizes)],
            Keys.from_digests(list(chain.from_iterable(batch.dedup_keys for batch in batches))),
            np.repeat(np.array([batch.received_us for batch in batches], dtype=np.int64), sizes),
            {
                name: _array(name, kind, nullable, sum(sizes), batches)
                for name, kind, nullable in _COLUMNS[table]
            },
        )
    except (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError) as error:
        raise InvalidInputError("A batch holds a value that does not fit its column.") from error


def _array(
    name: str, kind: pa.DataType, nullable: bool, size: int, batches: list[EventBatch]
) -> pa.Array:
    if len(batches) == 1:
        array = pa.array(batches[0].columns[name], kind)
    else:
        array = pa.array(list(chain.from_iterable(b.columns[name] for b in batches)), kind)
    if len(array) != size or (array.null_count and not nullable):
        raise ValueError(f"column {name} is not whole")
    return array


def append(rows: pa.Table, more: pa.Table) -> pa.Table:
    """Return both tables' rows, whatever the first one's encoding of its tenants."""
    return pa.concat_tables([rows.cast(more.schema), more])


_CORRECTED: Final = {"kind": 0, "excluded": 0, "key_hi": 0, "key_lo": 0}


def corrections_arrow(
    corrections: Sequence[StoredView], first_seq: int, now_us: int, *, visits: int = -1
) -> pa.Table:
    """Return rows that take visits back from stored page views, or give them some."""
    taken: dict[str, list[Any]] = {
        "site_id": [view.site_id for view in corrections],
        "visitor_id": [view.visitor_id for view in corrections],
        "ts_us": [view.ts_us for view in corrections],
        "local_day": [view.local_day for view in corrections],
        "page_id": [view.page_id for view in corrections],
        "seq": list(range(first_seq, first_seq + len(corrections))),
        "received_us": [now_us] * len(corrections),
        "visits": [visits] * len(corrections),
    }
    arrays = []
    table = TABLES[EventTable.WEB_EVENTS]
    for column in table.columns:
        kind = arrow_type(column)
        empty = "" if kind == pa.string() else 0
        blank = [_CORRECTED.get(column.name, empty)] * len(corrections)
        arrays.append(pa.array(taken.get(column.name, blank), kind))
    return pa.table(arrays, _ORDER[EventTable.WEB_EVENTS])


_PAGE_TEXTS: Final = ("title", "author", "pubdate", "og_image")
_PAGE_COLUMNS: Final = ("page_id", "site_id", "host", "path", *_PAGE_TEXTS, "search_text")


def merge_page(known: Page | None, seen: Page) -> Page:
    """Return what is known of a page after it was seen again: no text is forgotten."""
    if known is None or known == seen:
        return seen
    texts = {name: getattr(seen, name) or getattr(known, name) for name in _PAGE_TEXTS}
    return Page(seen.site_id, seen.host, seen.path, **texts)


def pages_arrow(pages: Mapping[int, Page]) -> pa.Table:
    """Return rows of the pages table."""
    rows = [
        (
            page_id,
            page.site_id,
            page.host,
            page.path,
            page.title,
            page.author,
            page.pubdate,
            page.og_image,
            page_text(page),
        )
        for page_id, page in pages.items()
    ]
    types = [pa.int64(), *[pa.string()] * (len(_PAGE_COLUMNS) - 1)]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)]
    return pa.table(arrays, list(_PAGE_COLUMNS))
