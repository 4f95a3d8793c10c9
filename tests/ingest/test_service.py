"""The way in as a whole, on a real DuckDB store."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from footfall.errors import InvalidInputError
from footfall.events import open_event_store
from footfall.ingest.api_requests import API_REQUEST_FIELDS
from footfall.ingest.columns import columns_of_documents
from footfall.ingest.commit import GroupCommitter
from footfall.ingest.model import IngestResult, InvalidEventsError
from footfall.ingest.service import IngestService
from footfall.ingest.web_events import WEB_EVENT_FIELDS
from tests.ingest.values import (
    GOOGLEBOT,
    NOW_S,
    NOW_US,
    SITE,
    FixedPlaces,
    FixedPrices,
    FixedSalts,
)


class Opened:
    """A service on a store, its clock, and what the store's file holds afterwards."""

    def __init__(self, path: Path) -> None:
        self.now_us = NOW_US
        self._path = path
        self._store = open_event_store(
            f"duckdb:///{path}", memory_mb=128, clock=lambda: self.now_us
        )
        self.committer = GroupCommitter(self._store)
        self.committer.start()
        self.service = IngestService(
            self.committer, FixedSalts(), FixedPlaces(), FixedPrices(), lambda: self.now_us
        )

    async def requests(self, *events: Any, key: str | None = None) -> IngestResult:
        columns = columns_of_documents(events, API_REQUEST_FIELDS)
        return await self.service.ingest_api_requests("app", columns, key)

    async def web(self, *events: Any, key: str | None = None) -> IngestResult:
        columns = columns_of_documents(events, WEB_EVENT_FIELDS)
        return await self.service.ingest_web(SITE, columns, key)

    async def close(self) -> None:
        await self.committer.drain()
        self._store.close()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the closed store's file."""
        with duckdb.connect(str(self._path), read_only=True) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = Opened(tmp_path / "events.duckdb")
    yield opened
    await opened.close()


def outcome(result: IngestResult) -> tuple[int, int, list[int]]:
    return result.accepted, result.duplicates, [row.index for row in result.rejected]


def numbered(seed: int, count: int) -> Iterator[dict[str, Any]]:
    dice = random.Random(seed)
    for number in range(count):
        yield {
            "event_id": f"{seed}-{number}",
            "url": f"/{dice.randrange(9)}",
            "consumer_id": dice.choice(("a", "é", "")),
            "response_us": dice.randrange(10**6),
            "timestamp": NOW_S - dice.randrange(3600),
            "data": dice.choice((None, {"k": "v"})),
        }


async def test_good_events_are_stored_and_bad_ones_are_named(opened: Opened) -> None:
    events = list(numbered(1, 20))
    bad = {3: events[3] | {"response_us": "x"}, 11: 5}
    result = await opened.requests(*(bad.get(n, event) for n, event in enumerate(events)))
    assert outcome(result) == (18, 0, [3, 11])
    await opened.close()
    stored = opened.rows(
        "SELECT event_id, url, consumer_id, response_us, ts_us // 1000000 FROM api_requests"
    )
    names = ("event_id", "url", "consumer_id", "response_us", "timestamp")
    assert Counter(stored) == Counter(
        tuple(event[name] for name in names) for n, event in enumerate(events) if n not in bad
    )


async def test_a_batch_without_a_good_event_stores_nothing(opened: Opened) -> None:
    with pytest.raises(InvalidEventsError):
        await opened.requests({}, 7)
    with pytest.raises(InvalidInputError, match="Idempotency-Key"):
        await opened.requests(*numbered(1, 1), key="k" * 10_000)
    await opened.close()
    assert opened.rows("SELECT * FROM api_requests") == []


async def test_sending_again_counts_once(opened: Opened) -> None:
    events = list(numbered(2, 50))
    assert outcome(await opened.requests(*events)) == (50, 0, [])
    assert outcome(await opened.requests(*events, *numbered(3, 5))) == (5, 50, [])
    assert outcome(await opened.requests(events[0], events[0])) == (0, 2, [])
    twice = {"event_id": "twice", "response_us": 1}
    assert outcome(await opened.requests(twice, twice)) == (1, 1, [])
    await opened.close()
    assert opened.rows("SELECT count(*), count(DISTINCT event_id) FROM api_requests") == [(56, 56)]


async def test_a_batch_under_one_idempotency_key_counts_once(opened: Opened) -> None:
    events = [{"response_us": n} for n in range(5)]
    assert outcome(await opened.requests(*events, key="k1")) == (5, 0, [])
    assert outcome(await opened.requests(*events, key="k1")) == (0, 5, [])
    assert outcome(await opened.requests(*events, key="k2")) == (5, 0, [])
    assert outcome(await opened.requests(*events)) == (5, 0, [])
    # A bad event that is mended takes its own place.
    broken = [*events[:2], {"response_us": "x"}, *events[3:]]
    assert outcome(await opened.requests(*broken, key="k3")) == (4, 0, [2])
    assert outcome(await opened.requests(*events, key="k3")) == (1, 4, [])


async def test_concurrent_callers_have_their_own_answers(opened: Opened) -> None:
    batches = [list(numbered(seed, seed % 7 + 1)) for seed in range(100, 200)]
    results = await asyncio.gather(*(opened.requests(*batch) for batch in batches))
    assert [outcome(result) for result in results] == [(len(b), 0, []) for b in batches]
    assert opened.committer.stats.commits < 100
    again = await asyncio.gather(*(opened.requests(*batch) for batch in batches))
    assert [outcome(result) for result in again] == [(0, len(b), []) for b in batches]


async def test_web_events_arrive_enriched(opened: Opened) -> None:
    page = {"url": "https://example.com/a/?utm_source=s&utm_medium=m", "ip": "192.0.2.1"}
    result = await opened.web(
        page | {"event_id": "1", "title": "T"},
        page | {"event_id": "2", "user_agent": GOOGLEBOT, "timestamp": NOW_S - 10},
        page | {"event_id": "3", "type": "heartbeat", "engaged_seconds": 1.5},
        {"event_id": "4", "url": "https://example.com/", "referrer": "https://www.google.ch/"},
    )
    assert outcome(result) == (4, 0, [])
    await opened.close()
    assert opened.rows(
        "SELECT event_id, kind, excluded, medium, source, source_detail, engaged_s "
        "FROM web_events ORDER BY event_id"
    ) == [
        ("1", 1, 0, "m", "s", "", 0.0),
        ("2", 1, 1, "m", "s", "", 0.0),
        ("3", 2, 0, "m", "s", "", 1.5),
        ("4", 1, 0, "search", "Google Search", "google.ch", 0.0),
    ]
    assert opened.rows("SELECT host, path, title FROM pages ORDER BY path") == [
        ("example.com", "/", ""),
        ("example.com", "/a", "T"),
    ]
    everything = str(opened.rows("SELECT * FROM web_events"))
    assert "192.0.2.1" not in everything, "no address is stored"


async def test_old_events_are_known_after_a_day_and_a_restart(
    opened: Opened, tmp_path: Path
) -> None:
    events = [{"event_id": f"old-{n}", "response_us": n, "timestamp": 1000 + n} for n in range(9)]
    assert outcome(await opened.requests(*events)) == (9, 0, [])
    opened.now_us += 3 * 86_400_000_000
    assert outcome(await opened.requests(*events)) == (0, 9, [])
    await opened.close()
    again = Opened(tmp_path / "events.duckdb")
    again.now_us = NOW_US + 90 * 86_400_000_000
    assert outcome(await again.requests(*events, *numbered(7, 1))) == (1, 9, [])
    await again.close()
