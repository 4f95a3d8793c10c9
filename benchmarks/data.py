"""Synthetic traffic for the benchmarks: the same rows for every contestant, from fixed seeds."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any

from footfall.events.tables import batch_columns, web_events
from footfall.ingest.model import EventBatch, EventTable, Page, WebEventKind

_METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE")
_STATUSES = (200, 200, 200, 200, 201, 204, 301, 404, 500, None)
_BROWSERS = ("Chrome", "Safari", "Firefox", "Edge")
_SYSTEMS = ("Windows", "macOS", "Android", "iOS", "Linux")
_DEVICES = ("desktop", "mobile", "tablet")
_COUNTRIES = ("CH", "DE", "FR", "IT", "AT", "US", "GB")
_CITIES = ("Zürich", "Genève", "Berlin", "Paris", "Roma", "Wien", "")
_SOURCES = (
    ("(none)", "(direct)", ""),
    ("search", "Google", "google.com"),
    ("social", "Mastodon", ""),
    ("referral", "example.org", ""),
)


def dedup_key(tenant_id: str, event_id: str) -> bytes:
    """Return the digest under which an event of a tenant is known."""
    return hashlib.blake2b(f"{tenant_id}e{event_id}".encode(), digest_size=16).digest()


def api_batch(
    size: int, *, seed: int, now_us: int, application_id: str = "app-bench", keyed: bool = True
) -> EventBatch:
    """Return a batch of API requests of the last minute with their own ids."""
    pick = random.Random(seed)
    ids = [f"{seed:08x}-{index:06d}" for index in range(size)]
    columns: dict[str, list[Any]] = {
        "event_id": ids if keyed else [""] * size,
        "ts_us": [now_us - pick.randrange(60_000_000) for _ in range(size)],
        "consumer_id": [f"consumer-{pick.randrange(500)}" for _ in range(size)],
        "method": [pick.choice(_METHODS) for _ in range(size)],
        "url": [f"/v1/items/{pick.randrange(2000)}" for _ in range(size)],
        "function": ["unknown"] * size,
        "status_code": [pick.choice(_STATUSES) for _ in range(size)],
        "response_us": [int(pick.lognormvariate(9, 1)) for _ in range(size)],
        "data": [""] * size,
    }
    keys = [dedup_key(application_id, event_id) if keyed else bytes(16) for event_id in ids]
    return EventBatch(EventTable.API_REQUESTS, application_id, now_us, columns, keys)


def page_id(site_id: str, host: str, path: str) -> int:
    """Return the id of a page."""
    digest = hashlib.blake2b(f"{site_id}\0{host}\0{path}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def web_batch(
    size: int,
    *,
    seed: int,
    now_us: int,
    site_id: str = "site-bench",
    visitors: int = 20_000,
    page_count: int = 2_000,
) -> EventBatch:
    """Return a batch of page views that arrive in the order of their times."""
    pick = random.Random(seed)
    ids = [f"{seed:08x}-{index:06d}" for index in range(size)]
    columns: dict[str, list[Any]] = {
        column.name: [""] * size for column in batch_columns(web_events)
    }
    numbers = [min(int(pick.paretovariate(0.7)), page_count) for _ in range(size)]
    paths = [f"/articles/{number}" for number in numbers]
    page_ids = {path: page_id(site_id, "example.com", path) for path in set(paths)}
    sources = [pick.choice(_SOURCES) for _ in range(size)]
    columns |= {
        "event_id": ids,
        "ts_us": sorted(now_us - pick.randrange(1_000_000) for _ in range(size)),
        "local_day": [now_us // 86_400_000_000] * size,
        "kind": [WebEventKind.PAGEVIEW.value] * size,
        "excluded": [0] * size,
        "visitor_id": [f"visitor-{pick.randrange(visitors):08d}" for _ in range(size)],
        "page_id": [page_ids[path] for path in paths],
        "medium": [medium for medium, _, _ in sources],
        "source": [source for _, source, _ in sources],
        "source_detail": [detail for _, _, detail in sources],
        "browser": [pick.choice(_BROWSERS) for _ in range(size)],
        "os": [pick.choice(_SYSTEMS) for _ in range(size)],
        "device": [pick.choice(_DEVICES) for _ in range(size)],
        "country": [pick.choice(_COUNTRIES) for _ in range(size)],
        "city": [pick.choice(_CITIES) for _ in range(size)],
        "language": ["de-CH"] * size,
        "timezone": ["Europe/Zurich"] * size,
        "screen": ["1920x1080"] * size,
        "engaged_s": [0.0] * size,
    }
    pages = {
        page_ids[path]: Page(site_id, "example.com", path, f"Article {path[10:]}", "", "", "")
        for path in set(paths)
    }
    keys = [dedup_key(site_id, event_id) for event_id in ids]
    return EventBatch(EventTable.WEB_EVENTS, site_id, now_us, columns, keys, pages)


def api_groups(
    count: int, *, batches: int = 64, size: int = 100, now_us: int
) -> Iterator[list[EventBatch]]:
    """Return groups of API request batches, each what one commit takes."""
    for group in range(count):
        yield [
            api_batch(size, seed=group * batches + index, now_us=now_us) for index in range(batches)
        ]


def web_groups(
    count: int, *, batches: int = 64, size: int = 100, now_us: int
) -> Iterator[list[EventBatch]]:
    """Return groups of page view batches, each what one commit takes; time goes on between
    them.
    """
    for group in range(count):
        at_us = now_us + group * 1_000_000
        yield [
            web_batch(size, seed=group * batches + index, now_us=at_us) for index in range(batches)
        ]
