"""What validation and enrichment cost by themselves, in microseconds an event.

`python benchmarks/ingest_domain.py` prints, for several batch sizes, the time from raw columns to a
batch that is ready for the store, as the best of several runs, beside a floor: one BLAKE2b digest
an event, which is what a dedup key costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from footfall.accounts.model import Plan, Site
from footfall.ingest.api_requests import api_request_batch
from footfall.ingest.enrich.geo import NoGeo
from footfall.ingest.enrich.visitors import DaySalts
from footfall.ingest.web_events import web_event_batch

RUNS = 9
NOW_US = time.time_ns() // 1000
TODAY = NOW_US // 86_400_000_000
SITE = Site("site", "account", "example.com", "Europe/Zurich", False, Plan("free", 10, 10, 10, 10))
SALTS = DaySalts(TODAY, {TODAY + day: bytes(32) for day in (-1, 0, 1)})
AGENTS = [
    f"Mozilla/5.0 (X11; Linux x86_64; rv:{version}.0) Gecko/20100101 Firefox/{version}.0"
    for version in range(90, 140)
]
REFERRERS = ["", "https://www.google.com/", "https://t.co/x", "https://example.com/a"]


def api_columns(events: int, dice: random.Random) -> dict[str, list[Any]]:
    """Return what a batch of API requests is decoded to."""
    return {
        "event_id": [f"{dice.getrandbits(64):x}" for _ in range(events)],
        "timestamp": [NOW_US / 1e6 - dice.random() * 3600 for _ in range(events)],
        "consumer_id": [f"consumer-{dice.randrange(1000)}" for _ in range(events)],
        "method": [dice.choice(("GET", "POST")) for _ in range(events)],
        "url": [f"/items/{dice.randrange(10_000)}?q=1" for _ in range(events)],
        "function": ["list_items"] * events,
        "response_us": [dice.randrange(10**6) for _ in range(events)],
        "status_code": [dice.choice((200, 404)) for _ in range(events)],
        "data": [None] * events,
    }


def web_columns(events: int, dice: random.Random) -> dict[str, list[Any]]:
    """Return what a batch of page views is decoded to."""
    return {
        "event_id": [f"{dice.getrandbits(64):x}" for _ in range(events)],
        "timestamp": [NOW_US / 1e6 - dice.random() * 3600 for _ in range(events)],
        "url": [f"https://example.com/page/{dice.randrange(2000)}" for _ in range(events)],
        "title": ["A title"] * events,
        "referrer": [dice.choice(REFERRERS) for _ in range(events)],
        "user_agent": [dice.choice(AGENTS) for _ in range(events)],
        "ip": [f"192.0.2.{dice.randrange(256)}" for _ in range(events)],
    }


def best_us(work: Callable[[], object], events: int) -> float:
    """Return the shortest time of several runs, in microseconds an event."""
    shortest = float("inf")
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest / events * 1e6


def main() -> None:
    """Measure and print."""
    dice = random.Random(1)
    print("events a batch   floor   API requests   without ids   page views   (µs an event)")
    for events in (1, 10, 100, 1000, 10_000):
        api, web = api_columns(events, dice), web_columns(events, dice)
        keyless = {name: column for name, column in api.items() if name != "event_id"}
        ids = [text.encode() for text in api["event_id"]]
        floor = best_us(lambda ids=ids: [blake2b(i, digest_size=16).digest() for i in ids], events)
        times = (
            best_us(lambda raw=api: api_request_batch("app", raw, None, NOW_US), events),
            best_us(lambda raw=keyless: api_request_batch("app", raw, None, NOW_US), events),
            best_us(
                lambda raw=web: web_event_batch(
                    SITE,
                    raw,
                    idempotency_key=None,
                    browser=None,
                    salts=SALTS,
                    geo=NoGeo(),
                    now_us=NOW_US,
                ),
                events,
            ),
        )
        print(f"{events:14,}{floor:8.2f}{times[0]:15.2f}{times[1]:14.2f}{times[2]:13.2f}")


if __name__ == "__main__":
    main()
