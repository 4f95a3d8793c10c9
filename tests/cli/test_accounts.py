"""The commands that manage accounts, on a real store."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from footfall.accounts.keys import key_digest
from footfall.accounts.model import ApplicationAccess
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from tests.cli.conftest import failure

FOOTFALL = [sys.executable, "-c", "from footfall.cli import main; main(prog_name='footfall')"]


def test_account(store: AccountStore, made: Callable[..., Any]) -> None:
    assert store.get_account("News").plan == "free"
    for plan in ("free", "hobby", "pro", "scale"):
        document = made("account", "create", f"On {plan}", "--plan", plan)
        account = store.get_account(f"On {plan}")
        assert document == {"id": account.id}
        assert account.plan == plan


def test_account_that_is_refused(store: AccountStore, run: Callable[..., Result]) -> None:
    assert "already an account named 'News'" in failure(run("account", "create", "News"))
    unknown = failure(run("account", "create", "Shop", "--plan", "gold"))
    assert unknown == "There is no plan 'gold'; the plans are free, hobby, pro, scale."
    assert "must not be empty" in failure(run("account", "create", " "))


def test_application(store: AccountStore, made: Callable[..., Any]) -> None:
    document = made("app", "create", "checkout", "--account", "News")
    assert set(document) == {"id", "write_key", "read_key"}
    for name, access in (
        ("write_key", ApplicationAccess.WRITE),
        ("read_key", ApplicationAccess.READ),
    ):
        assert len(document[name]) % 4 == 0
        grant = store.find_application(document["id"], key_digest(document[name]))
        assert grant is not None
        assert (grant.access, grant.application.name) == (access, "checkout")


def test_workspace(store: AccountStore, made: Callable[..., Any], tmp_path: Path) -> None:
    document = made("workspace", "create", "Support", "--account", "News")
    assert set(document) == {"id", "api_key"}
    with sqlite3.connect(tmp_path / "footfall-data" / "accounts.sqlite") as database:
        rows = database.execute("SELECT id, name, key_digest FROM workspaces").fetchall()
    assert rows == [(document["id"], "Support", key_digest(document["api_key"]))]


def test_people_get_what_programs_get(store: AccountStore, run: Callable[..., Result]) -> None:
    result = run("app", "create", "checkout", "--account", "News")
    words = result.stdout.split()
    write_key = words[words.index("write") + 2]
    id_ = words[words.index("id") + 1]
    grant = store.find_application(id_, key_digest(write_key))
    assert grant is not None
    assert grant.access is ApplicationAccess.WRITE


def test_data_directory(
    run: Callable[..., Result],
    made: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made("account", "create", "Here", "--data", str(tmp_path / "100%41?a#b ä"))
    monkeypatch.setenv("FOOTFALL_DATA", str(tmp_path / "from environment"))
    made("account", "create", "There")
    monkeypatch.setenv("FOOTFALL_ACCOUNTS_URL", f"sqlite:///{tmp_path}/url.sqlite")
    made("account", "create", "Elsewhere")
    assert "no account 'There'" in failure(run("key", "list", "--account", "There"))
    for path, name in (
        ("100%41?a#b ä/accounts.sqlite", "Here"),
        ("from environment/accounts.sqlite", "There"),
        ("url.sqlite", "Elsewhere"),
    ):
        with sqlite3.connect(tmp_path / path) as database:
            assert database.execute("SELECT name FROM accounts").fetchall() == [(name,)]


def test_mistyped_directory_is_not_made(run: Callable[..., Result], tmp_path: Path) -> None:
    wrong = tmp_path / "footfal-data"
    message = failure(run("key", "list", "--account", "News", "--data", str(wrong)))
    assert "There are no accounts in" in message
    assert "footfal-data" in message
    assert not wrong.exists()


COMMANDS = [
    ("account", "create"),
    ("account", "set-plan"),
    ("user", "create"),
    ("user", "list"),
    ("user", "set-role"),
    ("user", "set-password"),
    ("user", "remove"),
    ("site", "create"),
    ("site", "list"),
    ("site", "update"),
    ("key", "create"),
    ("key", "list"),
    ("key", "rotate"),
    ("key", "revoke"),
    ("app", "create"),
    ("workspace", "create"),
    ("plan", "set"),
]
#: These need no argument.
LISTS = [("account", "list"), ("plan", "list")]


@pytest.mark.parametrize("command", COMMANDS + LISTS, ids=" ".join)
def test_help_has_an_example(run: Callable[..., Result], command: tuple[str, str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"Example: footfall {' '.join(command)}" in " ".join(result.stdout.split())
    for option in ("--data", "--json"):
        assert option in result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_usage_error_as_json(run: Callable[..., Result], command: tuple[str, str]) -> None:
    result = run(*command, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "usage"
    assert error["message"].startswith("Missing ")


def test_error_as_json(store: AccountStore, run: Callable[..., Result]) -> None:
    result = run("key", "list", "--account", "Shöp", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert json.loads(result.stderr) == {
        "error": {"code": "not_found", "message": "There is no account 'Shöp'."}
    }


def test_store_that_cannot_be_opened_is_one_line(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "accounts.sqlite").write_bytes(b"no database" * 1000)
    message = failure(run("key", "list", "--account", "News", "--data", str(tmp_path)))
    assert message == "The accounts database is not an SQLite file."


def test_processes_side_by_side(tmp_path: Path) -> None:
    """The first commands on an empty directory, all at once, as scripts do."""
    processes = [
        subprocess.Popen(
            [*FOOTFALL, "account", "create", f"A {n}", "--json", "--data", str(tmp_path / "new")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for n in range(4)
    ]
    ids = set()
    for process in processes:
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
        ids.add(json.loads(out)["id"])
    store = open_account_store(f"sqlite:///{tmp_path}/new/accounts.sqlite")
    assert {store.get_account(f"A {n}").id for n in range(4)} == ids
    store.close()


def test_arguments_that_are_not_text(tmp_path: Path) -> None:
    done = subprocess.run(
        [*FOOTFALL, "account", "create", b"\xff\xfe", "--data", str(tmp_path)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"Error: Invalid name: must not contain control characters.\n"
