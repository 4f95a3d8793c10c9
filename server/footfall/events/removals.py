"""What a removal takes out of the tables of web events, the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnElement, Select, Table, func, select

from footfall.events.tables import CORRECTION_KIND, web_events
from footfall.ingest.model import Removal


@dataclass(frozen=True, slots=True)
class RemovalSet:
    """All that one removal changes in a store."""

    removal: Removal
    #: Rows of web events that give visits to page views which begin one from now on, since what
    #: was before them goes; None if there are none.
    beginnings: pa.Table | None
    #: The last sequence number that has been used, those of `beginnings` included.
    last_seq: int
    removed_us: int


def gone(removal: Removal) -> list[ColumnElement[bool]]:
    """Return the conditions on the web events that go."""
    event = web_events.c
    conditions = [event.site_id == removal.site_id]
    if removal.visitor_id is not None:
        conditions.append(event.visitor_id == removal.visitor_id)
    if removal.before is not None:
        conditions.append(event.local_day < removal.before.local_day)
    return conditions


def gone_events(removal: Removal) -> Select[Any]:
    """Return the number of events that go; corrections are none."""
    return (
        select(func.count())
        .select_from(web_events)
        .where(*gone(removal), web_events.c.kind != CORRECTION_KIND)
    )


def gone_pages(removal: Removal) -> Select[Any]:
    """Return the ids of the pages that the events which go are about."""
    return select(web_events.c.page_id).where(*gone(removal)).distinct()


def gone_counts(removal: Removal, rollup: Table) -> list[ColumnElement[bool]]:
    """Return the conditions on a rollup's rows that go whole; for a removal by site or by day."""
    conditions: list[ColumnElement[bool]] = [rollup.c.site_id == removal.site_id]
    if removal.before is not None:
        conditions.append(rollup.c.local_day < removal.before.local_day)
    return conditions


def left_without_events(site_id: str, pages: Table, page_ids: Any) -> Sequence[ColumnElement[bool]]:
    """Return the conditions on those of the pages that no event is about any more."""
    event = web_events.c
    left = select(event.page_id).where(event.site_id == site_id)
    return (
        pages.c.site_id == site_id,
        pages.c.page_id.in_(page_ids),
        pages.c.page_id.not_in(left),
    )
