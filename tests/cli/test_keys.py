"""`footfall key`, on a real store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from footfall.accounts.keys import key_digest, key_kind
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.ports import AccountStore
from tests.cli.conftest import failure


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


def test_key_that_manages_needs_no_site(store: AccountStore, made: Callable[..., Any]) -> None:
    document = made("key", "create", "--account", "News", "--scope", "Admin")
    key = store.find_key(key_digest(document["key"]))
    assert key is not None
    assert (key.kind, key.site_ids, key.scopes) == (KeyKind.NM, frozenset(), {Scope.ADMIN})


def test_key_reads_unless_it_is_told_otherwise(
    store: AccountStore, made: Callable[..., Any]
) -> None:
    site = store.create_site("News", "a.example", "UTC", public=False)
    before = time.time()
    document = made(
        "key", "create", "--account", "News", "--site", site.id, "--expires-in-days", "30"
    )
    key = store.find_key(key_digest(document["key"]))
    assert key is not None
    assert (key.site_ids, key.scopes) == ({site.id}, {Scope.READ})
    assert key.expires_at is not None
    assert before - 1 <= key.expires_at - 30 * 86_400 <= time.time() + 1


def test_key_that_is_refused(store: AccountStore, run: Callable[..., Result]) -> None:
    create = ("key", "create", "--account", "News")
    assert "has no site 'nope'" in failure(run(*create, "--site", "nope"))
    assert "at least one scope" in failure(run(*create, "--scope", ","))
    assert "name at least one site" in failure(run(*create))
    unknown = failure(run(*create, "--scope", "read,wrte"))
    assert unknown == "Invalid scopes: 'wrte' is not one of read, write, admin."
    assert "from 1 to 3650" in failure(run(*create, "--expires-in-days", "0"))
    assert store.list_keys("News") == []


def test_keys_are_listed_and_revoked(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    assert made("key", "list", "--account", "News") == {"keys": []}
    assert run("key", "list", "--account", "News").stdout == "The account has no API keys.\n"
    site = made("site", "create", "a.example", "--account", "News")["id"]
    first = made("key", "create", "--account", "News", "--site", site, "--scope", "admin,read")
    second = made("key", "create", "--account", "News", "--kind", "dbdy", "--site", site)
    revoked = made("key", "revoke", second["id"])
    assert revoked["id"] == second["id"]
    assert made("key", "revoke", second["id"]) == revoked
    listed = made("key", "list", "--account", "News")["keys"]
    by_id = {item["id"]: item for item in listed}
    assert set(by_id) == {first["id"], second["id"]}
    store.note_key_use({second["id"]: 1_795_249_380.0})
    assert by_id[first["id"]] == {
        "id": first["id"],
        "kind": "nm",
        "hint": first["key"][:7],
        "sites": [site],
        "scopes": ["read", "admin"],
        "created_at": by_id[first["id"]]["created_at"],
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
    }
    assert by_id[second["id"]]["revoked_at"] == revoked["revoked_at"]
    table = run("key", "list", "--account", "News").stdout
    for item in listed:
        assert item["id"] in table
        assert item["hint"] in table
    assert site in table
    assert "revoked" in table
    assert "never" in table
    assert "2026-11-21" in table
    used = {item["id"]: item for item in made("key", "list", "--account", "News")["keys"]}
    assert used[second["id"]]["last_used_at"] == "2026-11-21T08:23:00+00:00"
    for made_key in (first, second):
        assert made_key["key"] not in table
    assert "There is no key 'nope'." in failure(run("key", "revoke", "nope"))


def test_key_is_rotated(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    first = made("key", "create", "--account", "News", "--scope", "admin", "--kind", "dbdy")
    second = made("key", "rotate", first["id"])
    assert set(second) == {"id", "key"}
    assert second["id"] == first["id"]
    assert key_kind(second["key"]) is KeyKind.DBDY
    # A day's overlap is what there is unless one is given.
    found = store.find_key(key_digest(first["key"]))
    assert found == store.find_key(key_digest(second["key"])) == store.get_key(first["id"])
    third = made("key", "rotate", first["id"], "--overlap", "12h")
    assert store.find_key(key_digest(first["key"])) is None
    fourth = made("key", "rotate", first["id"], "--overlap", "0")
    secrets = (first, second, third, fourth)
    in_force = [store.find_key(key_digest(item["key"])) is not None for item in secrets]
    assert in_force == [False, False, False, True]
    for text in (
        run("key", "list", "--account", "News").stdout,
        repr(made("key", "list", "--account", "News")),
    ):
        assert all(item["key"] not in text for item in secrets)


@pytest.mark.parametrize(
    ("overlap", "status", "fault"),
    [
        ("8d", 1, "from 0 to 604800, but is 691200"),
        ("604801", 1, "from 0 to 604800"),
        ("1w", 2, "'1w' is not a time"),
        ("-1", 2, "is not a time"),
        ("1.5d", 2, "is not a time"),
        ("", 2, "is not a time"),
        ("９", 2, "is not a time"),
    ],
)
def test_overlap_that_is_refused(
    store: AccountStore,
    run: Callable[..., Result],
    made: Callable[..., Any],
    overlap: str,
    status: int,
    fault: str,
) -> None:
    key = made("key", "create", "--account", "News", "--scope", "admin")
    result = run("key", "rotate", key["id"], f"--overlap={overlap}")
    assert result.exit_code == status
    assert fault in result.stderr
    assert store.find_key(key_digest(key["key"])) is not None


def test_key_that_cannot_be_rotated(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    key = made("key", "create", "--account", "News", "--scope", "admin")
    made("key", "revoke", key["id"])
    revoked = failure(run("key", "rotate", key["id"]))
    assert revoked == f"The key {key['id']!r} has been revoked; create another one."
    assert failure(run("key", "rotate", "nope")) == "There is no key 'nope'."
