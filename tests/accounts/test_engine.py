"""What a store that cannot be used says, and what is never in it."""

from __future__ import annotations

import base64
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from footfall.accounts.keys import key_digest
from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Role, Scope
from footfall.accounts.sql import engine as engines
from footfall.accounts.sql import open_account_store
from footfall.errors import InvalidInputError, UnavailableError
from tests.accounts import postgresql


@pytest.mark.parametrize(
    "url",
    [
        "",
        "accounts.sqlite",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://root:secret@localhost/accounts",
        "postgresql+asyncpg://root:secret@localhost/accounts",
        "postgresql+psycopg://root:secret@localhost:port/accounts",
        "🦆://",
    ],
)
def test_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InvalidInputError, match="sqlite:///PATH") as caught:
        open_account_store(url)
    assert "secret" not in str(caught.value)


def test_sqlite_makes_a_private_file_in_a_new_directory(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "accounts 100% ä.sqlite"
    store = open_account_store(f"sqlite:///{path}")
    store.create_account("News", "free")
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) == 3  # with the write-ahead log and its index
    store.close()


def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    engine = engines.make_engine(f"sqlite:///{tmp_path}/accounts.sqlite")
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    full = 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_sqlite_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(UnavailableError, match="not an SQLite file"):
        open_account_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"not a database" * 1000


@pytest.mark.parametrize("name", ["file/accounts.sqlite", "directory"])
def test_sqlite_file_that_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(UnavailableError, match="cannot be opened") as caught:
        open_account_store(f"sqlite:///{tmp_path / name}")
    assert str(tmp_path) not in str(caught.value)


def test_sqlite_that_another_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_LOCK_TIMEOUT_MS", 50)
    path = tmp_path / "accounts.sqlite"
    store = open_account_store(f"sqlite:///{path}")
    account = store.create_account("News", "free")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="locked by another process"):
        store.create_account("Shop", "free")
    # Readers do not wait for a writer.
    assert store.get_account("News") == account
    holder.execute("ROLLBACK")
    holder.close()
    assert store.create_account("Shop", "free").name == "Shop"
    store.close()


def test_postgresql_that_goes_away_and_comes_back() -> None:
    with postgresql.running() as server:
        url = server.new_database()
        store = open_account_store(url)
        account = store.create_account("News", "free")
        server.stop()
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                store.get_account("News")
            assert str(caught.value) == "The accounts store does not answer."
            with pytest.raises(UnavailableError):
                store.ping()
            with pytest.raises(UnavailableError):
                store.create_account("Shop", "free")
        with pytest.raises(UnavailableError):
            open_account_store(url)
        server.start()
        assert store.get_account("News") == account
        store.ping()
        store.close()


def test_postgresql_database_that_does_not_exist(server: postgresql.Server) -> None:
    url = make_url(server.new_database()).set(database="no_such_database")
    with pytest.raises(UnavailableError) as caught:
        open_account_store(url.render_as_string())
    assert "no_such_database" not in str(caught.value)


def test_postgresql_statement_that_takes_too_long(
    server: postgresql.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_STATEMENT_TIMEOUT_MS", 50)
    engine = engines.make_engine(server.new_database())
    with (
        pytest.raises(UnavailableError),
        engines.domain_errors(),
        engine.connect() as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(10)")
    engine.dispose()


def test_no_secret_is_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    store = open_account_store(f"sqlite:///{path}")
    manager = AccountManager(store)
    manager.create_account("News", "free")
    site = manager.create_site("News", "a.example", "UTC", public=False)
    keys = [
        manager.create_key("News", kind=kind, site_ids=[site.id], scopes=list(Scope)).text
        for kind in KeyKind
    ]
    application = manager.create_application("News", "api")
    keys += [application.write_key, application.read_key]
    keys += [manager.create_workspace("News", "desk").api_key]
    manager.create_user("News", "ada@a.example", "correct horse battery", Role.ADMIN)

    # While it is open: the write-ahead log holds all of it then.
    contents = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for key in keys:
        secret = key.removeprefix("nm_").removeprefix("dbdy_")
        assert len(secret) == 32
        raw = base64.b64decode(secret, altchars=b"-_" if {"-", "_"} & set(secret) else None)
        for form in (secret.encode(), secret[8:].encode(), raw, raw.hex().encode()):
            assert form not in contents
        assert key_digest(key) in contents
    assert b"correct horse" not in contents
    assert b"$scrypt$" in contents
    assert b"a.example" in contents
    store.close()
