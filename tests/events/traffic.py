"""Events to store, and what a store holds, for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from footfall.analytics.model import ApiRequestRow
from footfall.events import EventStore
from footfall.events.clickhouse.store import ClickHouseStore
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.tables import api_requests, batch_columns, web_events
from footfall.ingest.model import NO_KEY, EventBatch, EventTable, Page, WebEventKind

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: 2026-03-04T10:00:00Z, a Wednesday.
NOW = 1_772_618_400 * SECOND

APP = "app"
SITE = "site"


class FakeClock:
    """A clock that a test moves."""

    def __init__(self, now_us: int = NOW) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def key(tenant_id: str, event_id: str) -> bytes:
    if not event_id:
        return NO_KEY
    return hashlib.blake2b(f"{tenant_id}e{event_id}".encode(), digest_size=16).digest()


_API_DEFAULTS: dict[str, Any] = {
    "event_id": "",
    "ts_us": NOW,
    "consumer_id": "",
    "method": "GET",
    "url": "/",
    "function": "",
    "status_code": 200,
    "response_us": 1,
    "data": "",
}


def api_batch(
    events: Iterable[Mapping[str, Any]], tenant_id: str = APP, received_us: int = NOW
) -> EventBatch:
    """Return a batch of API requests; what an event leaves out is as dull as can be."""
    rows = [_API_DEFAULTS | event for event in events]
    columns = {c.name: [row[c.name] for row in rows] for c in batch_columns(api_requests)}
    keys = [key(tenant_id, row["event_id"]) for row in rows]
    return EventBatch(EventTable.API_REQUESTS, tenant_id, received_us, columns, keys)


def page_id(site_id: str, host: str, path: str) -> int:
    digest = hashlib.blake2b(f"{site_id}\0{host}\0{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def page(path: str, site_id: str = SITE, **texts: str) -> Page:
    blank = {"title": "", "author": "", "pubdate": "", "og_image": ""}
    return Page(site_id, "example.com", path, **(blank | texts))


def web_batch(
    events: Iterable[Mapping[str, Any]],
    tenant_id: str = SITE,
    received_us: int = NOW,
    pages: Sequence[Page] = (),
) -> EventBatch:
    """Return a batch of web events: page views of `path` unless an event says otherwise."""
    columns: dict[str, list[Any]] = {c.name: [] for c in batch_columns(web_events)}
    seen = {page_id(tenant_id, known.host, known.path): known for known in pages}
    keys = []
    for event in events:
        path = event.get("path", "/")
        at = page_id(tenant_id, "example.com", path)
        seen.setdefault(at, page(path, tenant_id))
        ts_us = event.get("ts_us", NOW)
        row: dict[str, Any] = dict.fromkeys(columns, "")
        row |= {
            "ts_us": ts_us,
            "local_day": ts_us // DAY,
            "kind": WebEventKind.PAGEVIEW.value,
            "excluded": 0,
            "visitor_id": "visitor",
            "page_id": at,
            "engaged_s": 0.0,
        }
        row |= {name: value for name, value in event.items() if name != "path"}
        for name, values in columns.items():
            values.append(row[name])
        keys.append(key(tenant_id, row["event_id"]))
    return EventBatch(EventTable.WEB_EVENTS, tenant_id, received_us, columns, keys, seen)


def query(store: EventStore, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of SQL that both engines read, whatever is behind the store."""
    if isinstance(store, DuckDBStore):
        with store._engine.cursor() as connection:
            return connection.execute(sql).fetchall()
    assert isinstance(store, ClickHouseStore)
    return [tuple(row) for row in store._driver.rows(sql)]


def execute(store: EventStore, sql: str) -> None:
    """Run SQL that has no rows."""
    if isinstance(store, DuckDBStore):
        with store._engine.cursor() as connection:
            connection.execute(sql)
    else:
        assert isinstance(store, ClickHouseStore)
        store._driver.command(sql)


async def everything(store: EventStore, tenant_id: str = APP) -> list[ApiRequestRow]:
    """Return all API requests of an application."""
    return await store.api_requests(
        tenant_id,
        0,
        2**62,
        after_seq=0,
        through_seq=2**62,
        rows_max=1_000_000,
        timeout_s=60,
    )


def rollup(
    store: EventStore, table: str, keys: Sequence[str], site_id: str = SITE
) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Return a rollup with what is not folded yet: page views and visits by key, zeros left
    out.
    """
    names = ", ".join(keys)
    found = query(
        store,
        f"SELECT {names}, sum(pageviews), sum(visits) FROM {table} "
        f"WHERE site_id = '{site_id}' GROUP BY {names}",
    )
    counts = {tuple(row[:-2]): (int(row[-2]), int(row[-1])) for row in found}
    if isinstance(store, DuckDBStore):
        tail = query(
            store,
            "SELECT ts_us, local_day, page_id, kind, visits FROM web_events WHERE excluded = 0 "
            f"AND kind IN (0, 1) AND site_id = '{site_id}' "
            "AND seq > (SELECT through_seq FROM folded)",
        )
        for ts_us, local_day, page, kind, visits in tail:
            known = {
                "slot_us": ts_us // (15 * MINUTE) * 15 * MINUTE,
                "local_day": local_day,
                "page_id": page,
            }
            at = tuple(known[name] for name in keys)
            before = counts.get(at, (0, 0))
            counts[at] = (before[0] + (kind == 1), before[1] + visits)
    return {at: value for at, value in counts.items() if value != (0, 0)}
