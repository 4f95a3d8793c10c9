"""Comparing rollups with events in a ClickHouse database, whoever writes to it meanwhile."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, String, column, select, table
from sqlalchemy.engine import URL

from footfall.events.clickhouse.driver import Driver, compile_sql, connect
from footfall.events.migrations import require_current
from footfall.events.verify import Difference, differences

migrations: Final = table(
    "schema_migrations",
    column("version", BigInteger),
    column("name", String),
    column("applied_us", BigInteger),
)


def applied_migrations(driver: Driver) -> set[int]:
    """Return the versions of the migrations that have been applied."""
    return {version for (version,) in driver.rows(compile_sql(select(migrations.c.version)))}


def differences_in_database(url: URL, rows_max: int) -> list[Difference]:
    """Return what is not what the events say in a database.

    Raises UnavailableError if it does not answer, or its schema is another version's.
    """
    driver = connect(url)
    try:
        require_current("clickhouse", applied_migrations(driver))
        return read_differences(driver, rows_max)
    finally:
        driver.close()


def read_differences(driver: Driver, rows_max: int, query_id: str = "") -> list[Difference]:
    """Return what is not what the events say; see EventStore.differences.

    A commit may become visible in one table after the other was read, so what differs is looked
    at again: it counts if it differs again in the same way.
    """

    def look() -> list[Difference]:
        return differences(
            lambda asked: driver.rows(compile_sql(asked), query_id=query_id), rows_max, None
        )

    found = look()
    if not found:
        return []
    again = {difference.place: difference for difference in look()}
    return [
        again[difference.place]
        for difference in found
        if difference.place in again and again[difference.place].excess == difference.excess
    ]
