"""The statement behind exports of web events."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, select

from footfall.analytics.model import WebEventRow
from footfall.events.tables import CORRECTION_KIND, pages, web_events

_OF_THE_PAGE: Final = frozenset({"host", "path", "title", "author", "pubdate", "og_image"})


def _column(name: str) -> ColumnElement[Any]:
    if name in _OF_THE_PAGE:
        # Pages of excluded events are not kept.
        return func.coalesce(pages.c[name], "")
    return web_events.c[name]


def web_event_page(
    site_id: str, start_us: int, end_us: int, after_seq: int, through_seq: int, rows: int
) -> Select[Any]:
    """Return rows of a site as WebEventRow has them, by sequence number; see
    EventReader.web_events.

    Fast because rows are stored in the order of `seq`: whole blocks outside of the numbers are
    skipped, so that a page costs by how many numbers it looks at.
    """
    event = web_events.c
    return (
        select(*map(_column, WebEventRow._fields))
        .select_from(
            web_events.outerjoin(
                pages, and_(pages.c.page_id == event.page_id, pages.c.site_id == event.site_id)
            )
        )
        .where(
            event.site_id == site_id,
            event.ts_us >= start_us,
            event.ts_us < end_us,
            event.seq > after_seq,
            event.seq <= through_seq,
            event.kind != CORRECTION_KIND,
        )
        .order_by(event.seq)
        .limit(rows)
    )
