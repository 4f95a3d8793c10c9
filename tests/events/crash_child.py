"""A process to be killed: `commit URL` stores batches and says so after each, `count URL` says what
a store holds, `fill URL` runs a store into a full disk and out of it again, in a checkpoint of its
own or (`fill-auto URL`) in one that DuckDB makes within a commit.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
import time

import structlog

from footfall.errors import UnavailableError
from footfall.events import EventStore, open_event_store
from footfall.events.duckdb import engine as engine_module
from footfall.events.duckdb import store as store_module
from footfall.ingest.model import EventBatch
from tests.events.traffic import SITE, api_batch, everything, query, web_batch

#: Events of each kind in a commit.
BATCH = 50


def batches(number: int) -> list[EventBatch]:
    now_us = time.time_ns() // 1000
    ids = [{"event_id": f"{number}-{index}", "ts_us": now_us} for index in range(BATCH)]
    return [
        api_batch(ids, received_us=now_us),
        web_batch([event | {"visitor_id": event["event_id"]} for event in ids], received_us=now_us),
    ]


def say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def commit(store: EventStore) -> None:
    start = asyncio.run(store.last_seq(60))
    number = 0
    while True:
        store.commit(batches(start * 1000 + number))
        number += 1
        say(number)


def count(store: EventStore) -> None:
    rows = asyncio.run(everything(store))
    ((views,),) = query(store, f"SELECT count(*) FROM web_events WHERE site_id = '{SITE}'")
    ((visits,),) = query(store, "SELECT sum(visits) FROM web_events")
    say(
        {
            "rows": len(rows),
            "ids": len({row.event_id for row in rows}),
            "views": views,
            "visits": int(visits),
            "seqs": len({row.seq for row in rows}),
        }
    )


def fill(store: EventStore) -> None:
    """Commit until the disk is full, make room, and commit again until that works."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    kept, number = [], 0
    limit = 3 * 2**19
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    while number < 1000:
        number += 1
        try:
            store.commit(batches(number))
        except UnavailableError:
            break
        kept.append(number)
    refused = number
    for _ in range(3):
        try:
            store.commit(batches(refused))
        except UnavailableError:
            continue
        kept.append(refused)
        break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    give_up = time.monotonic() + 60
    while refused not in kept and time.monotonic() < give_up:
        try:
            (outcome, _) = store.commit(batches(refused))
        except UnavailableError:
            time.sleep(0.05)
            continue
        assert not outcome.duplicate_rows, "what was refused had been remembered"
        kept.append(refused)
    rows = asyncio.run(everything(store))
    found = sorted({int(row.event_id.split("-")[0]) for row in rows})
    say({"kept": kept, "found": found, "rows": len(rows), "refused": refused})


def main() -> None:
    doing, url = sys.argv[1:]
    if doing == "fill":
        store_module._CHECKPOINT_BYTES = 2**20
    if doing == "fill-auto":
        engine_module._WAL_BYTES_MAX = 2**20
    # Standard output is for answers.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    jobs = {"commit": commit, "count": count, "fill": fill, "fill-auto": fill}
    jobs[doing](open_event_store(url, memory_mb=200))


if __name__ == "__main__":
    main()
