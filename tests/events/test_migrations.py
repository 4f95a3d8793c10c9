"""The schema's history."""

from __future__ import annotations

import pytest

from footfall.errors import UnavailableError
from footfall.events.migrations import known_migrations, pending_migrations
from tests.events.conftest import Engine
from tests.events.traffic import api_batch, everything, execute, query


@pytest.mark.parametrize("engine_name", ["duckdb", "clickhouse"])
def test_migrations_are_numbered_without_gaps(engine_name: str) -> None:
    versions = [migration.version for migration in known_migrations(engine_name)]
    assert versions == list(range(1, len(versions) + 1))
    assert all(migration.statements for migration in known_migrations(engine_name))


def test_statements_end_at_semicolons_and_comments_are_left_out() -> None:
    (first, *_) = known_migrations("duckdb")
    assert first.statements[0].startswith("CREATE TABLE api_requests")
    assert first.statements[-1] == "INSERT INTO folded VALUES (0)"
    assert not any("--" in statement or ";" in statement for statement in first.statements)


def test_what_is_applied_is_not_pending() -> None:
    everything_known = {migration.version for migration in known_migrations("duckdb")}
    assert pending_migrations("duckdb", everything_known) == []
    assert len(pending_migrations("duckdb", set())) == len(everything_known)


async def test_the_schema_is_recorded_and_applied_once(engine: Engine) -> None:
    store = engine.open()
    recorded = "SELECT version, name, applied_us FROM schema_migrations ORDER BY version"
    before = query(store, recorded)
    name = {"duckdb": "duckdb", "chdb": "clickhouse"}[engine.name]
    assert [row[:2] for row in before] == [
        (migration.version, migration.name) for migration in known_migrations(name)
    ]
    store.commit([api_batch([{}])])
    engine.clock.now_us += 5
    store = engine.reopen()
    assert query(store, recorded) == before
    assert len(await everything(store)) == 1


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    store = engine.open()
    execute(store, "INSERT INTO schema_migrations VALUES (99, 'from_the_future', 1)")
    with pytest.raises(UnavailableError, match=r"schema 99, but .* up to \d+ only\. Start the"):
        engine.reopen()
    # The refusal lets go of the store.
    with pytest.raises(UnavailableError, match="schema 99"):
        engine.open()
