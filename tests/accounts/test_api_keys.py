"""The contract of AccountStore about rotated and used API keys, on every engine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from footfall.accounts.model import ApiKey, KeyKind, Scope
from footfall.accounts.ports import AccountStore
from footfall.errors import ConflictError, NotFoundError

UNKNOWN = ["", "aaaaaaaaaaaaaaaa", "a\0b", "\udc80", "日本"]


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def make_key(
    store: AccountStore, number: int, account: str = "News", expires_at: float | None = None
) -> ApiKey:
    return store.create_key(
        account,
        digest(number),
        kind=KeyKind.DBDY,
        site_ids=[site.id for site in store.account_sites(account)],
        scopes=[Scope.READ, Scope.WRITE],
        hint="dbdy_aaaa",
        expires_at=expires_at,
    )


@pytest.fixture(autouse=True)
def accounts(store: AccountStore) -> None:
    for name in ("News", "Shop"):
        store.create_account(name, "free")
        for host in ("a.example", "b.example"):
            store.create_site(name, host, "UTC", public=False)


def test_key_by_id(store: AccountStore) -> None:
    key = make_key(store, 1)
    assert store.get_key(key.id) == store.get_key(key.id, "News") == key
    assert store.get_key(key.id, key.account_id) == key
    for wrong in UNKNOWN:
        with pytest.raises(NotFoundError, match="There is no key"):
            store.get_key(wrong)


def test_rotated_key_keeps_all_but_its_secret(store: AccountStore) -> None:
    key = make_key(store, 1)
    other = make_key(store, 9)
    rotated = store.rotate_key(
        "News", key.id, digest(2), hint="dbdy_bbbb", overlap_until=time.time() + 3600
    )
    assert rotated == replace(key, hint="dbdy_bbbb")
    assert len(rotated.site_ids) == 2
    assert store.find_key(digest(2)) == store.find_key(digest(1)) == rotated
    assert store.find_key(digest(9)) == other
    assert set(store.list_keys("News")) == {rotated, other}


def test_secret_before_stops_when_the_overlap_ends(store: AccountStore) -> None:
    key = make_key(store, 1)
    until = time.time() + 0.3
    rotated = store.rotate_key("News", key.id, digest(2), hint="h", overlap_until=until)
    while (found := store.find_key(digest(1))) is not None:
        assert found == rotated
        assert time.time() < until + 1
        time.sleep(0.02)
    assert time.time() >= until - 0.001
    assert store.find_key(digest(2)) == rotated


def test_without_an_overlap_the_secret_before_stops_at_once(store: AccountStore) -> None:
    key = make_key(store, 1)
    for number, until in ((2, time.time()), (3, time.time() - 3600), (4, 0.0)):
        rotated = store.rotate_key("News", key.id, digest(number), hint="h", overlap_until=until)
        assert store.find_key(digest(number - 1)) is None
        assert store.find_key(digest(number)) == rotated


def test_rotating_twice_stops_the_oldest(store: AccountStore) -> None:
    key = make_key(store, 1)
    for number in (2, 3):
        store.rotate_key("News", key.id, digest(number), hint="h", overlap_until=time.time() + 3600)
    assert store.find_key(digest(1)) is None
    assert store.find_key(digest(2)) == store.find_key(digest(3)) == store.get_key(key.id)


def test_revocation_stops_both_secrets(store: AccountStore) -> None:
    key = make_key(store, 1)
    store.rotate_key("News", key.id, digest(2), hint="h", overlap_until=time.time() + 3600)
    revoked = store.revoke_key(key.id)
    assert revoked.revoked_at is not None
    assert store.find_key(digest(1)) == store.find_key(digest(2)) == revoked


def test_key_that_is_not_in_force_is_not_rotated(store: AccountStore) -> None:
    revoked, expired = make_key(store, 1), make_key(store, 2, expires_at=time.time() - 1)
    store.revoke_key(revoked.id)
    for key, fault in ((revoked, "has been revoked"), (expired, "has expired")):
        with pytest.raises(ConflictError, match=fault) as caught:
            store.rotate_key("News", key.id, digest(3), hint="h", overlap_until=0)
        assert caught.value.reason == "KEY_REVOKED"
    assert store.find_key(digest(3)) is None
    assert store.find_key(digest(2)) == expired


def test_another_accounts_key_is_like_none(store: AccountStore) -> None:
    foreign = make_key(store, 1, "Shop")
    for wrong in [foreign.id, *UNKNOWN]:
        for call in (
            lambda wrong=wrong: store.rotate_key(
                "News", wrong, digest(2), hint="", overlap_until=0
            ),
            lambda wrong=wrong: store.revoke_key(wrong, "News"),
            lambda wrong=wrong: store.get_key(wrong, "News"),
        ):
            with pytest.raises(NotFoundError) as caught:
                call()
            assert caught.value.message == f"There is no key {wrong!r}."
    assert store.find_key(digest(1)) == foreign
    assert store.revoke_key(foreign.id, "Shop").revoked_at is not None


def test_rotations_at_once_lose_no_secret_that_was_given_out(store: AccountStore) -> None:
    at_once = 4
    barrier = threading.Barrier(at_once)

    def rotate(key_id: str, number: int) -> None:
        barrier.wait(30)
        store.rotate_key("News", key_id, digest(number), hint="h", overlap_until=time.time() + 60)

    with ThreadPoolExecutor(at_once) as executor:
        for first in range(0, 100, 10):
            key = make_key(store, first)
            numbers = range(first + 1, first + 1 + at_once)
            list(executor.map(rotate, [key.id] * at_once, numbers))
            # The last two are in force, whichever they are, and the first secret is none of them.
            assert store.find_key(digest(first)) is None
            assert sum(store.find_key(digest(number)) is not None for number in numbers) == 2


def test_last_use_only_goes_forward(store: AccountStore) -> None:
    first, second, third = (make_key(store, number) for number in (1, 2, 3))
    assert first.last_used_at is None
    store.note_key_use({})
    store.note_key_use({first.id: 1000.0, second.id: 2000.25, "gone": 1.0})
    store.note_key_use({first.id: 999.0, second.id: 2060.0})
    found = {key.id: key.last_used_at for key in store.list_keys("News")}
    assert found == {first.id: 1000.0, second.id: 2060.0, third.id: None}
    assert store.find_key(digest(1)) == replace(first, last_used_at=1000.0)


def test_servers_that_note_the_same_keys_do_not_wait_for_each_other(store: AccountStore) -> None:
    ids = [make_key(store, number).id for number in range(1, 21)]

    def note(turn: int) -> None:
        order = ids if turn % 2 else ids[::-1]
        store.note_key_use(dict.fromkeys(order, 60.0 * turn))

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(note, range(1, 41)))
    assert {key.last_used_at for key in store.list_keys("News")} == {2400.0}
