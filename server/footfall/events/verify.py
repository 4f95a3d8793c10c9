"""Comparing what history is read from with the events that it was made of.

Of counts, what is expected is counted by definition, visits included: what the stored rows say of
visits is not asked. What is found is the rollups and, where an engine folds events into them later,
the tail of events that are not in them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from footfall.events.rollups import PAGEDAY, ROLLUPS, SUMS, Rollup
from footfall.events.tables import CORRECTION_KIND, pages, web_events
from footfall.events.visits import GAP_US
from footfall.ingest.model import WebEventKind

#: Runs a statement and returns its rows.
Run = Callable[[Select[Any]], Sequence[Any]]

_ZERO: Final[ColumnElement[Any]] = literal_column("0")


@dataclass(frozen=True, slots=True)
class Sums:
    """What is counted of a site's slot, or of a page on a day."""

    pageviews: int
    visits: int
    engaged_s: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A row of a rollup, with the tail's share, that is not what the events say."""

    #: The rollup's table.
    rollup: str
    site_id: str
    #: Days since the epoch.
    local_day: int
    #: Start of the quarter of an hour; None in a rollup by pages.
    slot_us: int | None
    #: Host and path; None in a rollup by slots.
    page: str | None
    expected: Sums
    found: Sums

    @property
    def place(self) -> tuple[object, ...]:
        """What tells it apart from others."""
        return self.rollup, self.site_id, self.local_day, self.slot_us, self.page

    @property
    def excess(self) -> tuple[float, ...]:
        """By how much more is found than is expected."""
        return (
            self.found.pageviews - self.expected.pageviews,
            self.found.visits - self.expected.visits,
            round(self.found.engaged_s - self.expected.engaged_s, 6),
        )


@dataclass(frozen=True, slots=True)
class StateDifference:
    """A folded state or sum of a workspace that is not what its events say, or stands for none."""

    #: The table of the states or sums.
    states: str
    workspace_id: str
    #: The id of the run, document or trigger; which sum it is.
    id: str


AnyDifference = Difference | StateDifference


def differences(run: Run, rows_max: int, folded_seq: int | None) -> list[Difference]:
    """Return the first differences, at most `rows_max`; reads all web events.

    Events after `folded_seq` are not in the rollups yet; None: all are.
    """
    found: list[Difference] = []
    for rollup in ROLLUPS:
        if len(found) < rows_max:
            rows = run(_differing(rollup, folded_seq).limit(rows_max - len(found)))
            known = _pages(run, rows) if rollup is PAGEDAY else {}
            found += [_difference(rollup, row, known) for row in rows]
    return found


def _differing(rollup: Rollup, folded_seq: int | None) -> Select[Any]:
    """Return (keys, sums as expected, sums as found) where these are not the same."""
    both = union_all(
        _on_one_side(rollup, rollup.rows(_is_event, visits=_begins_visit()), expected=True),
        *(_on_one_side(rollup, rows, expected=False) for rows in _stored(rollup, folded_seq)),
    ).subquery("both")
    keys = [both.c[name] for name in rollup.keys]
    expected = [func.sum(both.c[f"expected_{name}"]) for name in SUMS]
    found = [func.sum(both.c[f"found_{name}"]) for name in SUMS]
    return (
        select(*keys, *expected, *found)
        .group_by(*keys)
        .having(or_(*(a != b for a, b in zip(expected, found, strict=True))))
        .order_by(*keys)
    )


_event: Final = web_events.c
_is_event: Final = _event.kind != CORRECTION_KIND


def _begins_visit() -> ColumnElement[Any]:
    """Return 1 for a page view of a visitor who had none in the 30 minutes before it, else 0.

    At equal times, what was stored first comes first.
    """
    mine = (_event.site_id, _event.visitor_id, _event.kind)
    order = (_event.ts_us, _event.seq)
    before_us = func.max(_event.ts_us).over(partition_by=mine, order_by=order, rows=(None, -1))
    place = func.row_number().over(partition_by=mine, order_by=order)
    begins = or_(place == 1, _event.ts_us - before_us >= GAP_US)
    is_view = _event.kind == WebEventKind.PAGEVIEW.value
    return case((and_(is_view, begins), literal_column("1")), else_=_ZERO)


def _stored(rollup: Rollup, folded_seq: int | None) -> list[Select[Any]]:
    names = (*rollup.keys, *SUMS)
    stored = [select(*(rollup.table.c[name] for name in names))]
    if folded_seq is not None:
        stored.append(rollup.rows(_event.seq > folded_seq))
    return stored


def _on_one_side(rollup: Rollup, rows: Select[Any], *, expected: bool) -> Select[Any]:
    counted = rows.subquery()
    sums = [counted.c[name] for name in SUMS]
    nothing = [_ZERO] * len(SUMS)
    both = (sums, nothing) if expected else (nothing, sums)
    return select(
        *(counted.c[name] for name in rollup.keys),
        *(value.label(f"expected_{name}") for name, value in zip(SUMS, both[0], strict=True)),
        *(value.label(f"found_{name}") for name, value in zip(SUMS, both[1], strict=True)),
    )


def _pages(run: Run, rows: Sequence[Any]) -> dict[int, str]:
    """Return the addresses of the pages in the rows, by their ids."""
    if not rows:
        return {}
    ids = {int(row[2]) for row in rows}
    known = run(select(pages.c.page_id, pages.c.host, pages.c.path).where(pages.c.page_id.in_(ids)))
    return {page_id: f"{host}{path}" for page_id, host, path in known}


def _difference(rollup: Rollup, row: Sequence[Any], known: Mapping[int, str]) -> Difference:
    keys = dict(zip(rollup.keys, row, strict=False))
    slot_us, page_id = keys.get("slot_us"), keys.get("page_id")
    *_, e_views, e_visits, e_engaged, f_views, f_visits, f_engaged = row
    return Difference(
        rollup.table.name,
        keys["site_id"],
        keys["local_day"],
        slot_us,
        None if page_id is None else known.get(page_id, f"page {page_id}"),
        Sums(int(e_views), int(e_visits), int(e_engaged) / 1_000_000),
        Sums(int(f_views), int(f_visits), int(f_engaged) / 1_000_000),
    )
