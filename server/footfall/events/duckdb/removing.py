"""Removing events from a DuckDB file, in the transaction that is open."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, and_, column, delete, insert, select, table, update

from footfall.events.duckdb.sql import FOLDED, INCOMING, Connection, append, run
from footfall.events.removals import (
    RemovalSet,
    gone,
    gone_counts,
    gone_events,
    gone_pages,
    left_without_events,
)
from footfall.events.rollups import ROLLUPS, SUMS, Rollup
from footfall.events.tables import pages, web_events
from footfall.ingest.model import Removal

#: The table as this engine has it: a row tells whether its bytes are gone from the file, too.
removals: Final = table(
    "removals",
    column("last_seq", BigInteger),
    column("removed_us", BigInteger),
    column("scrubbed_us", BigInteger),
)


def erase(connection: Connection, rows: RemovalSet) -> int:
    """Remove events with their share of the rollups, and pages that no event is about any more.

    Returns how many events there were.
    """
    removal = rows.removal
    ((count,),) = run(connection, gone_events(removal)).fetchall()
    touched = run(connection, gone_pages(removal)).to_arrow_table()
    for rollup in ROLLUPS:
        if removal.visitor_id is None:
            theirs = gone_counts(removal, rollup.table)
            run(connection, delete(rollup.table).where(*theirs))
        else:
            _take_from(connection, rollup, removal)
    run(connection, delete(web_events).where(*gone(removal)))
    if removal.of_site:
        run(connection, delete(pages).where(pages.c.site_id == removal.site_id))
    else:
        ids = select(table(INCOMING, column("page_id")).c.page_id)
        left = left_without_events(removal.site_id, pages, ids)
        run(connection, delete(pages).where(*left), touched)
    if rows.beginnings is not None:
        append(connection, web_events, rows.beginnings)
    if len(touched):
        noted = {"last_seq": rows.last_seq, "removed_us": rows.removed_us}
        run(connection, insert(removals).values(noted))
    return int(count)


def _take_from(connection: Connection, rollup: Rollup, removal: Removal) -> None:
    """Take a visitor's counts out of a rollup, and what is left of nothing."""
    target = rollup.table
    is_folded = web_events.c.seq <= FOLDED.seq(connection)
    counts = run(connection, rollup.counts(*gone(removal), is_folded)).to_arrow_table()
    if not len(counts):
        return
    incoming = table(INCOMING, *(column(name) for name in counts.column_names))
    same = and_(
        target.c.site_id == removal.site_id,
        *(target.c[name] == incoming.c[name] for name in rollup.keys),
    )
    less = {name: target.c[name] - incoming.c[name] for name in SUMS}
    run(connection, update(target).values(less).where(same), counts)
    nothing = and_(*(target.c[name] == 0 for name in SUMS))
    run(connection, delete(target).where(target.c.site_id == removal.site_id, nothing))
