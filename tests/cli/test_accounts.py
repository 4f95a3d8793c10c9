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
from click.testing import CliRunner, Result

from footfall.accounts.keys import key_digest, key_kind
from footfall.accounts.model import ApplicationAccess, KeyKind, Scope
from footfall.accounts.passwords import verify_password
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.cli import main

FOOTFALL = [sys.executable, "-c", "from footfall.cli import main; main(prog_name='footfall')"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in an empty directory with nothing configured."""
    for name in ("FOOTFALL_DATA", "FOOTFALL_ACCOUNTS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(main, arguments, input=stdin, prog_name="footfall")

    return run


@pytest.fixture
def made(run: Callable[..., Result]) -> Callable[..., Any]:
    """Runs a command with --json and returns what it prints."""

    def made(*arguments: str, stdin: str = "") -> Any:
        result = run(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    return made


@pytest.fixture
def store(tmp_path: Path, made: Callable[..., Any]) -> AccountStore:
    """The store that the commands work on, with an account named News in it."""
    made("account", "create", "News")
    return open_account_store(f"sqlite:///{tmp_path}/footfall-data/accounts.sqlite")


def failure(result: Result, status: int = 1) -> str:
    """Return the one line of a failed command's standard error, without its `Error: `."""
    assert result.exit_code == status
    assert result.stdout == ""
    line, end = result.stderr[:-1], result.stderr[-1]
    assert end == "\n"
    assert "\n" not in line
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


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


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        ("correct horse", "correct horse"),
        ("correct horse\n", "correct horse"),
        ("correct horse\r\n", "correct horse"),
        (" pass wörd 日本 ", " pass wörd 日本 "),
        ("two\nlines of it\n", "two\nlines of it"),
    ],
)
def test_user(
    store: AccountStore, made: Callable[..., Any], tmp_path: Path, stdin: str, password: str
) -> None:
    document = made(
        *("user", "create", "Ada@Example.com", "--account", "News", "--role", "admin"), stdin=stdin
    )
    with sqlite3.connect(tmp_path / "footfall-data" / "accounts.sqlite") as database:
        rows = database.execute("SELECT id, email, role, password_hash FROM users").fetchall()
    assert [row[:3] for row in rows] == [(document["id"], "ada@example.com", "admin")]
    assert verify_password(password, rows[0][3])


@pytest.mark.parametrize(
    ("arguments", "stdin", "fault"),
    [
        (("ada@example.com", "--account", "News"), "", "but has 0"),
        (("ada@example.com", "--account", "News"), "1234567\n", "but has 7"),
        (("ada@example.com", "--account", "News"), "x" * 1_000_000, "from 8 to 1024"),
        (("ada@example.com", "--account", "News"), b"\xff\xfe12345678", "not UTF-8"),
        (("ada", "--account", "News"), "correct horse", "'ada' is not an e-mail address"),
        (("ada@example.com", "--account", "Shop"), "correct horse", "no account 'Shop'"),
    ],
)
def test_user_that_is_refused(
    store: AccountStore,
    run: Callable[..., Result],
    arguments: tuple[str, ...],
    stdin: str | bytes,
    fault: str,
) -> None:
    assert fault in failure(run("user", "create", *arguments, stdin=stdin))


def test_site(store: AccountStore, made: Callable[..., Any]) -> None:
    document = made(
        *("site", "create", "https://News.Example.com/", "--account", "News"),
        *("--timezone", "europe/zurich", "--public"),
    )
    assert document == {
        "id": document["id"],
        "host": "news.example.com",
        "timezone": "Europe/Zurich",
    }
    site = store.get_site(document["id"])
    assert site is not None
    assert (site.host, site.timezone, site.public) == ("news.example.com", "Europe/Zurich", True)
    second = made("site", "create", "b.example", "--account", store.get_account("News").id)
    found = store.get_site(second["id"])
    assert found is not None
    assert (found.timezone, found.public, found.account_id) == ("UTC", False, site.account_id)


def test_site_that_is_refused(store: AccountStore, run: Callable[..., Result]) -> None:
    create = ("site", "create")
    wrong_zone = failure(run(*create, "a.example", "--account", "News", "--timezone", "Zurich"))
    assert wrong_zone.endswith("did you mean Europe/Zurich?")
    path = failure(run(*create, "a.example/blog", "--account", "News"))
    assert path.endswith("a site is a whole host, such as a.example.")
    assert run(*create, "a.example", "--account", "News").exit_code == 0
    assert "already has a site" in failure(run(*create, "A.example", "--account", "News"))


@pytest.mark.parametrize("kind", KeyKind)
def test_key(store: AccountStore, made: Callable[..., Any], kind: KeyKind) -> None:
    sites = [made("site", "create", f"{n}.example", "--account", "News")["id"] for n in range(4)]
    document = made(
        *("key", "create", "--account", "News", "--kind", kind.value),
        *("--site", f"{sites[0]}, {sites[1]}", "--site", sites[2], "--scope", "read,write"),
    )
    assert set(document) == {"id", "key"}
    assert key_kind(document["key"]) is kind
    key = store.find_key(key_digest(document["key"]))
    assert key is not None
    assert (key.id, key.kind) == (document["id"], kind)
    assert key.site_ids == set(sites[:3])
    assert key.scopes == {Scope.READ, Scope.WRITE}


def test_key_without_options_reads_no_site(store: AccountStore, made: Callable[..., Any]) -> None:
    document = made("key", "create", "--account", "News")
    key = store.find_key(key_digest(document["key"]))
    assert key is not None
    assert (key.kind, key.site_ids, key.scopes) == (KeyKind.NM, frozenset(), {Scope.READ})


def test_key_that_is_refused(store: AccountStore, run: Callable[..., Result]) -> None:
    create = ("key", "create", "--account", "News")
    assert "has no site 'nope'" in failure(run(*create, "--site", "nope"))
    assert "at least one scope" in failure(run(*create, "--scope", ","))
    unknown = run(*create, "--scope", "read,wrte")
    assert unknown.exit_code == 2
    assert "'wrte' is not one of read, write, admin." in unknown.stderr
    assert store.list_keys("News") == []


def test_keys_are_listed_and_revoked(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    assert made("key", "list", "--account", "News") == {"keys": []}
    assert run("key", "list", "--account", "News").stdout == "The account has no API keys.\n"
    site = made("site", "create", "a.example", "--account", "News")["id"]
    first = made("key", "create", "--account", "News", "--site", site, "--scope", "admin,read")
    second = made("key", "create", "--account", "News", "--kind", "dbdy")
    revoked = made("key", "revoke", second["id"])
    assert revoked["id"] == second["id"]
    assert made("key", "revoke", second["id"]) == revoked
    listed = made("key", "list", "--account", "News")["keys"]
    by_id = {item["id"]: item for item in listed}
    assert set(by_id) == {first["id"], second["id"]}
    assert by_id[first["id"]] == {
        "id": first["id"],
        "kind": "nm",
        "hint": first["key"][:7],
        "sites": [site],
        "scopes": ["read", "admin"],
        "created_at": by_id[first["id"]]["created_at"],
        "expires_at": None,
        "revoked_at": None,
    }
    assert by_id[second["id"]]["revoked_at"] == revoked["revoked_at"]
    table = run("key", "list", "--account", "News").stdout
    for item in listed:
        assert item["id"] in table
        assert item["hint"] in table
    assert site in table
    for made_key in (first, second):
        assert made_key["key"] not in table
    assert "There is no key 'nope'." in failure(run("key", "revoke", "nope"))


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
    ("user", "create"),
    ("site", "create"),
    ("key", "create"),
    ("key", "list"),
    ("key", "revoke"),
    ("app", "create"),
    ("workspace", "create"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
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
