"""The event store's writer alone, against a raw append of the same rows.

The floor is what DuckDB takes to append the same rows from Arrow, made from the same lists, to
the same table in a file of its own, 10,000 rows a transaction: durable, but with no
deduplication, no visits, no rollups and no groups of small batches. Floor and subject take turns,
and each is charged with its checkpoints.

The floor is a plain INSERT, which DuckDB spreads over two threads. The store's runs on one, which
is cheaper for so few rows; part of its share comes from that, not from doing less work.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.data import api_groups, web_groups
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.migrations import known_migrations
from footfall.events.tables import TABLES, TENANT_COLUMN, arrow_type, batch_columns
from footfall.ingest.model import EventBatch, EventTable

FLOOR_ROWS = 10_000
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class WriterMeasurement:
    """Medians over the rounds, in rows a second, and the writer's share of the floor.

    `append_rows_s` is the floor without the making of Arrow tables, which is left out of the
    clock there; the share of it is the harder measure.
    """

    name: str
    rows: int
    floor_rows_s: float
    append_rows_s: float
    writer_rows_s: float
    #: The share of the floor that is to be reached.
    target: float

    @property
    def share(self) -> float:
        return self.writer_rows_s / self.floor_rows_s

    @property
    def append_share(self) -> float:
        return self.writer_rows_s / self.append_rows_s

    def __str__(self) -> str:
        return (
            f"{self.name}: writer {self.writer_rows_s:,.0f} rows/s, floor "
            f"{self.floor_rows_s:,.0f} rows/s, share {self.share:.2f} "
            f"({self.append_share:.2f} of the append of ready Arrow tables; target {self.target:g})"
        )


def measure_api(rounds: int = ROUNDS) -> WriterMeasurement:
    """Measure groups of 64 batches of 100 API requests."""
    return _measure("API requests, 64 x 100", EventTable.API_REQUESTS, api_groups, rounds, 0.7)


def measure_web(rounds: int = ROUNDS) -> WriterMeasurement:
    """Measure groups of 64 batches of 100 page views, with visits, pages and rollups."""
    name = "page views with rollups, 64 x 100"
    return _measure(name, EventTable.WEB_EVENTS, web_groups, rounds, 0.45)


def _measure(
    name: str,
    table: EventTable,
    groups: Callable[..., Iterator[list[EventBatch]]],
    rounds: int,
    target: float,
    count: int = 50,
) -> WriterMeasurement:
    now_us = time.time_ns() // 1000
    made = list(groups(count, now_us=now_us))
    flat = [batch for group in made for batch in group]
    rows = sum(len(batch) for batch in flat)
    floors, appends, writers = [], [], []
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        making, appending = raw_append(table, flat)
        floors.append(making + appending)
        appends.append(appending)
        writers.append(_writer(made))
    gc.unfreeze()
    return WriterMeasurement(
        name,
        rows,
        rows / statistics.median(floors),
        rows / statistics.median(appends),
        rows / statistics.median(writers),
        target,
    )


def _writer(groups: Sequence[Sequence[EventBatch]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        store = DuckDBStore(f"{folder}/events.duckdb")
        started = time.perf_counter()
        for group in groups:
            store.commit(group)
        # What is still in the write-ahead log is paid for here, as in the floor.
        store.close()
        return time.perf_counter() - started


def raw_append(table: EventTable, batches: Sequence[EventBatch]) -> tuple[float, float]:
    """Return the seconds to make Arrow tables, and those to append them."""
    with tempfile.TemporaryDirectory() as folder:
        connection = duckdb.connect(
            f"{folder}/floor.duckdb", config={"threads": 2, "checkpoint_threshold": "64MB"}
        )
        for migration in known_migrations("duckdb"):
            for statement in migration.statements:
                connection.execute(statement)
        making = appending = 0.0
        for columns in _in_tens_of_thousands(table, batches):
            started = time.perf_counter()
            incoming = pa.table(
                {
                    column.name: pa.array(columns[column.name], arrow_type(column))
                    for column in TABLES[table].columns
                }
            )
            made = time.perf_counter()
            connection.register("incoming", incoming)
            connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")
            connection.unregister("incoming")
            making += made - started
            appending += time.perf_counter() - made
        started = time.perf_counter()
        connection.close()
        return making, appending + time.perf_counter() - started


def _in_tens_of_thousands(
    table: EventTable, batches: Sequence[EventBatch]
) -> Iterator[dict[str, Any]]:
    """Return the batches' rows as columns of 10,000, with what the store would fill in."""
    columns: dict[str, list[Any]] = {c.name: [] for c in batch_columns(TABLES[table])}
    tenants: list[str] = []
    digests: list[bytes] = []
    for batch in batches:
        for name, values in columns.items():
            values.extend(batch.columns[name])
        tenants.extend([batch.tenant_id] * len(batch))
        digests.extend(batch.dedup_keys)
    halves = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    for start in range(0, len(tenants), FLOOR_ROWS):
        part = slice(start, start + FLOOR_ROWS)
        size = len(tenants[part])
        yield {name: values[part] for name, values in columns.items()} | {
            "seq": np.arange(start + 1, start + 1 + size),
            TENANT_COLUMN[table]: tenants[part],
            "received_us": np.full(size, batches[0].received_us),
            "key_hi": np.ascontiguousarray(halves[part, 0]),
            "key_lo": np.ascontiguousarray(halves[part, 1]),
            "visits": np.zeros(size, dtype=np.int8),
        }


def main() -> None:
    """Print all measurements."""
    print(measure_api(), flush=True)
    print(measure_web(), flush=True)


if __name__ == "__main__":
    main()
