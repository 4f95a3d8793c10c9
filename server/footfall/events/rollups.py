"""How page views become the rollups' rows, the same on every engine.

Counts are sums over rows: a page view is one, a correction takes a visit back. Excluded events
are in none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, case, func, select

from footfall.events.dialect import int_divide
from footfall.events.tables import CORRECTION_KIND, SLOT_US, pageday, slot15, web_events
from footfall.ingest.model import Exclusion, WebEventKind


@dataclass(frozen=True)
class Rollup:
    """A rollup's table, and what an event's key in it is."""

    table: Table
    keys: dict[str, ColumnElement[Any]]

    def counts(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Return the rows that the events under the conditions make, by key."""
        is_view = web_events.c.kind == WebEventKind.PAGEVIEW.value
        return (
            select(
                *(value.label(name) for name, value in self.keys.items()),
                func.sum(case((is_view, 1), else_=0)).label("pageviews"),
                func.sum(web_events.c.visits).label("visits"),
            )
            .where(
                web_events.c.excluded == Exclusion.NONE.value,
                web_events.c.kind.in_((WebEventKind.PAGEVIEW.value, CORRECTION_KIND)),
                *conditions,
            )
            .group_by(*self.keys.values())
            .order_by(*self.keys)
        )


ROLLUPS: Final = (
    Rollup(
        slot15,
        {
            "site_id": web_events.c.site_id,
            "slot_us": int_divide(web_events.c.ts_us, SLOT_US) * SLOT_US,
        },
    ),
    Rollup(
        pageday,
        {
            "site_id": web_events.c.site_id,
            "local_day": web_events.c.local_day,
            "page_id": web_events.c.page_id,
        },
    ),
)
