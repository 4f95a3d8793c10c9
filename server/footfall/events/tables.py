"""The tables of the event store, as every engine has them.

The migrations make them; the queries and the writers are built from these. Texts are "" where
nothing is known, times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, SmallInteger, String, Table

from footfall.events.workspace_tables import WORKSPACE_NULLABLE, WORKSPACE_TABLES
from footfall.ingest.model import EventTable

metadata = MetaData()

api_requests = Table(
    EventTable.API_REQUESTS.value,
    metadata,
    Column("seq", BigInteger),
    Column("application_id", String),
    Column("received_us", BigInteger),
    Column("key_hi", BigInteger),
    Column("key_lo", BigInteger),
    Column("event_id", String),
    Column("ts_us", BigInteger),
    Column("consumer_id", String),
    Column("method", String),
    Column("url", String),
    Column("function", String),
    Column("status_code", Integer, nullable=True),
    Column("response_us", BigInteger),
    Column("data", String),
)

web_events = Table(
    EventTable.WEB_EVENTS.value,
    metadata,
    Column("seq", BigInteger),
    Column("site_id", String),
    Column("received_us", BigInteger),
    Column("key_hi", BigInteger),
    Column("key_lo", BigInteger),
    Column("visits", SmallInteger),
    Column("event_id", String),
    Column("ts_us", BigInteger),
    Column("local_day", Integer),
    Column("kind", SmallInteger),
    Column("excluded", SmallInteger),
    Column("visitor_id", String),
    Column("page_id", BigInteger),
    Column("medium", String),
    Column("source", String),
    Column("source_detail", String),
    Column("referrer_host", String),
    Column("referrer", String),
    Column("utm_source", String),
    Column("utm_medium", String),
    Column("utm_campaign", String),
    Column("utm_term", String),
    Column("utm_content", String),
    Column("browser", String),
    Column("os", String),
    Column("device", String),
    Column("country", String),
    Column("city", String),
    Column("language", String),
    Column("timezone", String),
    Column("screen", String),
    Column("name", String),
    Column("properties", String),
    Column("engaged_s", Double),
)

pages = Table(
    "pages",
    metadata,
    Column("page_id", BigInteger),
    Column("site_id", String),
    Column("host", String),
    Column("path", String),
    Column("title", String),
    Column("author", String),
    Column("pubdate", String),
    Column("og_image", String),
    Column("search_text", String),
)

#: What is counted by site and quarter of an hour, UTC. The local day is a key of its own, since
#: in some zones a day has begun within a quarter of an hour.
slot15 = Table(
    "slot15",
    metadata,
    Column("site_id", String),
    Column("slot_us", BigInteger),
    Column("local_day", Integer),
    Column("pageviews", BigInteger),
    Column("visits", BigInteger),
    Column("engaged_us", BigInteger),
)

#: What is counted by site, local day and page; visits are those that began on the page.
pageday = Table(
    "pageday",
    metadata,
    Column("site_id", String),
    Column("local_day", Integer),
    Column("page_id", BigInteger),
    Column("pageviews", BigInteger),
    Column("visits", BigInteger),
    Column("engaged_us", BigInteger),
)

#: When events were removed, and the last sequence number that had been used by then.
removals = Table(
    "removals",
    metadata,
    Column("last_seq", BigInteger),
    Column("removed_us", BigInteger),
)

#: The column that names the tenant, by table.
TENANT_COLUMN: Final = {
    EventTable.API_REQUESTS: "application_id",
    EventTable.WEB_EVENTS: "site_id",
    **dict.fromkeys(WORKSPACE_TABLES, "workspace_id"),
}

TABLES: Final = {
    EventTable.API_REQUESTS: api_requests,
    EventTable.WEB_EVENTS: web_events,
    **WORKSPACE_TABLES,
}

#: Columns of events that may be NULL; all others have a value in every row.
NULLABLE: Final = frozenset({api_requests.c.status_code, *WORKSPACE_NULLABLE})

#: Columns that the store fills in; a batch brings all others.
STORE_COLUMNS: Final = frozenset(
    {
        "seq",
        "application_id",
        "site_id",
        "workspace_id",
        "received_us",
        "key_hi",
        "key_lo",
        "visits",
    }
)

#: The kind of a row that takes a visit back or gives one; see `visits.py`.
CORRECTION_KIND: Final = 0

SLOT_US: Final = 15 * 60 * 1_000_000

_ARROW: Final[dict[type[object], pa.DataType]] = {
    BigInteger: pa.int64(),
    Integer: pa.int32(),
    SmallInteger: pa.int8(),
    Double: pa.float64(),
    String: pa.string(),
}


def arrow_type(column: Column[object]) -> pa.DataType:
    """Return the Arrow type in which a column's values go to the engine."""
    if column.name in {"key_hi", "key_lo"}:
        return pa.uint64()
    return _ARROW[type(column.type)]


def batch_columns(table: Table) -> list[Column[object]]:
    """Return the columns that batches bring, in the table's order."""
    return [column for column in table.columns if column.name not in STORE_COLUMNS]
