"""Migrations: at once, again, from the future, half-way; and the models beside them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from footfall.accounts.model import Scope
from footfall.accounts.sql import open_account_store
from footfall.accounts.sql.engine import make_engine
from footfall.accounts.sql.migrate import _DIRECTORY, VERSION_TABLE
from footfall.accounts.sql.models import Base
from footfall.errors import UnavailableError

OPEN = """
import sys
from footfall.accounts.model import Scope
from footfall.accounts.sql import open_account_store
print("ready", flush=True)
sys.stdin.readline()
store = open_account_store(sys.argv[1])
print(store.create_account(sys.argv[2], "free").name)
store.close()
"""


@pytest.fixture
def engine(url: str) -> Engine:
    return make_engine(url)


def test_several_processes_start_on_an_empty_store_at_once(url: str, engine: Engine) -> None:
    names = [f"account {number}" for number in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process, name in zip(processes, names, strict=True):
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"{name}\n"), errors
    with engine.connect() as connection:
        found = connection.execute(text("SELECT name FROM accounts ORDER BY name")).scalars().all()
        versions = connection.execute(text(f"SELECT count(*) FROM {VERSION_TABLE}")).scalar()
        plans = connection.execute(text("SELECT count(*) FROM plans")).scalar()
    assert found == names
    assert (versions, plans) == (1, 4)
    engine.dispose()


def test_opening_again_keeps_what_is_there(url: str) -> None:
    store = open_account_store(url)
    account = store.create_account("News", "pro")
    store.close()
    store = open_account_store(url)
    assert store.get_account("News") == account
    store.close()


def test_plan_that_an_operator_changed_stays_changed(url: str, engine: Engine) -> None:
    open_account_store(url).close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE plans SET site_requests_per_minute = 77"))
    engine.dispose()
    store = open_account_store(url)
    store.create_account("News", "free")
    site = store.create_site("News", "a.example", "UTC", public=False)
    assert site.plan.site_requests_per_minute == 77
    store.close()


def test_keys_and_plans_of_an_earlier_schema_go_on(url: str, engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(text("INSERT INTO accounts VALUES ('news', 'News', 'pro', 1)"))
        connection.execute(
            text(
                "INSERT INTO api_keys VALUES"
                " ('key', 'news', :digest, 'nm', :no, :no, :yes, 'nm_abcd', 1, NULL, NULL)"
            ),
            {"digest": b"1" * 32, "yes": True, "no": False},
        )
    engine.dispose()
    store = open_account_store(url)
    key = store.find_key(b"1" * 32)
    assert key is not None
    assert (key.id, key.scopes, key.last_used_at) == ("key", {Scope.ADMIN}, None)
    store.rotate_key("News", key.id, b"2" * 32, hint="nm_efgh", overlap_until=time.time() + 60)
    assert store.find_key(b"2" * 32) == store.find_key(b"1" * 32)
    allowances = {
        (plan.workspace_requests_per_second, plan.custom_sql_per_minute)
        for plan in store.list_plans()
    }
    assert allowances == {(5, 30)}
    store.close()


def test_newer_schema_is_refused_and_left_alone(url: str, engine: Engine) -> None:
    open_account_store(url).close()
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9001'"))
    with pytest.raises(UnavailableError, match="schema 9001, but this version") as caught:
        open_account_store(url)
    assert caught.value.metadata["schema"] == "9001"
    with engine.connect() as connection:
        version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    assert version == "9001"
    engine.dispose()


def test_failed_migration_leaves_nothing(url: str, engine: Engine) -> None:
    # The first migration makes this table last.
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE salts (mine INTEGER)"))
    with pytest.raises(DBAPIError):
        open_account_store(url)
    assert inspect(engine).get_table_names() == ["salts"]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE salts"))
    engine.dispose()
    open_account_store(url).close()


def test_migrations_make_the_tables_that_the_models_describe(
    new_url: Callable[[], str],
) -> None:
    url = new_url()
    open_account_store(url).close()
    engine = make_engine(url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
