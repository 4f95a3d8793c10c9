"""How web events become the rollups' rows, the same on every engine.

Counts are sums over rows: a page view is one, a correction takes a visit back, a heartbeat adds
engaged time. Excluded events are in none. Engaged time is summed in whole microseconds, so that a
sum is the same in whatever order an engine adds it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from footfall.events.dialect import int_divide
from footfall.events.tables import CORRECTION_KIND, SLOT_US, pageday, slot15, web_events
from footfall.ingest.model import Exclusion, WebEventKind

#: What both rollups sum up.
SUMS: Final = ("pageviews", "visits", "engaged_us")


@dataclass(frozen=True)
class Rollup:
    """A rollup's table, and what an event's key in it is."""

    table: Table
    keys: dict[str, ColumnElement[Any]]
    #: The key that grows with time, about in the order of which rows are stored.
    time_key: str

    def rows(
        self, *conditions: ColumnElement[bool], visits: ColumnElement[Any] = web_events.c.visits
    ) -> Select[Any]:
        """Return keys and sums of each event under the conditions that counts for anything;
        `visits` says for how many visits.
        """
        values = {**_VALUES, "visits": visits}
        return select(
            *(value.label(name) for name, value in self.keys.items()),
            *(value.label(name) for name, value in values.items()),
        ).where(_COUNTS, *conditions)

    def counts(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Return the rows that the events under the conditions make, by key."""
        return (
            select(
                *(value.label(name) for name, value in self.keys.items()),
                *(func.sum(value).label(name) for name, value in _VALUES.items()),
            )
            .where(_COUNTS, *conditions)
            .group_by(*self.keys.values())
            .order_by(*self.keys)
        )


def _number(value: int) -> ColumnElement[Any]:
    # A constant of the statement, not one of its parameters.
    return literal_column(str(int(value)))


_event: Final = web_events.c
_is_view: Final = _event.kind == _number(WebEventKind.PAGEVIEW)
_is_heartbeat: Final = _event.kind == _number(WebEventKind.HEARTBEAT)

_COUNTS: Final = and_(
    _event.excluded == _number(Exclusion.NONE),
    or_(
        _is_view,
        _event.kind == _number(CORRECTION_KIND),
        and_(_is_heartbeat, _event.engaged_s > _number(0)),
    ),
)
# Rounded half up by floor(), since engines do not agree about round().
_engaged_us: Final = cast(
    func.floor(_event.engaged_s * literal_column("1000000.0") + literal_column("0.5")), BigInteger
)
_VALUES: Final[dict[str, ColumnElement[Any]]] = {
    "pageviews": case((_is_view, _number(1)), else_=_number(0)),
    "visits": _event.visits,
    "engaged_us": case((_is_heartbeat, _engaged_us), else_=_number(0)),
}

SLOT15: Final = Rollup(
    slot15,
    {
        "site_id": _event.site_id,
        "slot_us": int_divide(_event.ts_us, SLOT_US) * SLOT_US,
        "local_day": _event.local_day,
    },
    "slot_us",
)
PAGEDAY: Final = Rollup(
    pageday,
    {
        "site_id": _event.site_id,
        "local_day": _event.local_day,
        "page_id": _event.page_id,
    },
    "local_day",
)
ROLLUPS: Final = (SLOT15, PAGEDAY)
