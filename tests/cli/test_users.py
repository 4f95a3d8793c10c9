"""`footfall user`, on a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from footfall.accounts.model import Role, User
from footfall.accounts.passwords import verify_password
from footfall.accounts.ports import AccountStore
from tests.accounts.values import cheap_hash
from tests.cli.conftest import failure

PASSWORD = "correct horse"


@pytest.fixture
def users(store: AccountStore) -> dict[str, User]:
    """An account's only admin and two members, and a stranger."""
    store.create_account("Shop", "free")
    return {
        name: store.create_user(account, f"{name}@example.com", cheap_hash(PASSWORD), role)
        for account, name, role in (
            ("News", "zoe", Role.ADMIN),
            ("News", "mia", Role.MEMBER),
            ("News", "ada", Role.MEMBER),
            ("Shop", "bob", Role.ADMIN),
        )
    }


def document(user: User, role: str) -> dict[str, str]:
    return {"id": user.id, "email": user.email, "role": role}


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


def test_users_are_listed_by_address(
    store: AccountStore,
    users: dict[str, User],
    run: Callable[..., Result],
    made: Callable[..., Any],
) -> None:
    listed = [
        document(users["ada"], "member"),
        document(users["mia"], "member"),
        document(users["zoe"], "admin"),
    ]
    assert made("user", "list", "--account", "News") == {"users": listed}
    lines = run("user", "list", "--account", users["ada"].account_id).stdout.splitlines()
    assert lines[0].split() == ["Id", "Email", "Role"]
    assert [line.split() for line in lines[1:]] == [list(item.values()) for item in listed]
    store.create_account("Empty", "free")
    assert made("user", "list", "--account", "Empty") == {"users": []}
    assert run("user", "list", "--account", "Empty").stdout == "There are no users.\n"
    assert "no account 'Nobody'" in failure(run("user", "list", "--account", "Nobody"))


def test_roles_change(
    store: AccountStore,
    users: dict[str, User],
    run: Callable[..., Result],
    made: Callable[..., Any],
) -> None:
    zoe, ada = users["zoe"], users["ada"]
    last = failure(run("user", "set-role", zoe.email, "member"))
    assert last == "zoe@example.com is the account's only admin; make another user an admin first."
    # By address, whatever the case of its letters, or by id.
    assert made("user", "set-role", "ADA@Example.com", "admin") == document(ada, "admin")
    assert made("user", "set-role", zoe.id, "member") == document(zoe, "member")
    assert [user.role.value for user in store.list_users("News")] == ["admin", "member", "member"]
    unknown = run("user", "set-role", ada.email, "owner")
    assert unknown.exit_code == 2
    assert "'admin', 'member'" in unknown.stderr


def test_password_changes(
    store: AccountStore,
    users: dict[str, User],
    run: Callable[..., Result],
    made: Callable[..., Any],
) -> None:
    mia = users["mia"]
    changed = made("user", "set-password", mia.email, stdin="battery staple\n")
    assert changed == document(mia, "member")
    login = store.get_login(mia.id)
    assert login is not None
    assert verify_password("battery staple", login.password_hash)
    assert "but has 5" in failure(run("user", "set-password", mia.email, stdin="short\n"))
    assert store.get_login(mia.id) == login


def test_users_are_removed(
    store: AccountStore,
    users: dict[str, User],
    run: Callable[..., Result],
    made: Callable[..., Any],
) -> None:
    assert made("user", "remove", users["mia"].email) == document(users["mia"], "member")
    assert made("user", "remove", users["ada"].id) == document(users["ada"], "member")
    assert store.list_users("News") == [users["zoe"]]
    assert "only admin" in failure(run("user", "remove", users["zoe"].email))
    assert store.list_users("News") == [users["zoe"]]


@pytest.mark.parametrize("command", ["set-role", "set-password", "remove"])
@pytest.mark.parametrize(
    ("user", "fault"),
    [
        ("eve@example.com", "There is no user 'eve@example.com'."),
        ("aaaaaaaaaaaaaaaa", "There is no user 'aaaaaaaaaaaaaaaa'."),
        ("", "There is no user ''."),
        ("@", "is not an e-mail address"),
    ],
)
def test_user_that_does_not_exist(
    store: AccountStore, run: Callable[..., Result], command: str, user: str, fault: str
) -> None:
    arguments = ["member"] if command == "set-role" else []
    assert fault in failure(run("user", command, user, *arguments, stdin=PASSWORD))
