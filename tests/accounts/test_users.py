"""The contract of AccountStore about users, on every engine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from footfall.accounts.model import Login, Role, User
from footfall.accounts.ports import AccountStore
from footfall.errors import ConflictError, NotFoundError

ADMIN, MEMBER = Role.ADMIN, Role.MEMBER
UNKNOWN = ["", "aaaaaaaaaaaaaaaa", "a\0b", "\udc80", "x" * 10_000, "日本"]


@pytest.fixture
def users(store: AccountStore) -> dict[str, User]:
    """An account with two admins and a member, and one with an admin alone."""
    store.create_account("News", "free")
    store.create_account("Shop", "free")
    return {
        name: store.create_user(account, f"{name}@b.example", f"hash of {name}", role)
        for account, name, role in (
            ("News", "zoe", ADMIN),
            ("News", "Ada", ADMIN),
            ("News", "mia", MEMBER),
            ("Shop", "bob", ADMIN),
        )
    }


def test_login_is_found_by_address_and_by_id(store: AccountStore, users: dict[str, User]) -> None:
    for name, user in users.items():
        login = Login(user, f"hash of {name}")
        assert store.find_login(user.email) == store.get_login(user.id) == login
    for unknown in UNKNOWN:
        assert store.find_login(unknown) is None
        assert store.get_login(unknown) is None
    # Addresses come as they were cleaned: nothing here knows of upper and lower case.
    assert store.find_login("ada@b.example") is None


def test_users_of_an_account_in_the_order_of_their_addresses(
    store: AccountStore, users: dict[str, User]
) -> None:
    assert store.list_users("News") == [users["Ada"], users["mia"], users["zoe"]]
    assert store.list_users(users["bob"].account_id) == [users["bob"]]
    with pytest.raises(NotFoundError):
        store.list_users("Nobody")


def test_only_what_is_given_changes(store: AccountStore, users: dict[str, User]) -> None:
    mia = users["mia"]
    assert store.update_user("News", mia.id) == mia
    promoted = store.update_user("News", mia.id, role=ADMIN)
    assert promoted == User(mia.id, mia.account_id, mia.email, ADMIN)
    assert store.get_login(mia.id) == Login(promoted, "hash of mia")
    assert store.update_user("News", mia.id, password_hash="new") == promoted
    assert store.get_login(mia.id) == Login(promoted, "new")
    changed = store.update_user("News", mia.id, role=MEMBER, password_hash="newer")
    assert store.get_login(mia.id) == Login(changed, "newer") == Login(mia, "newer")


def test_removed_user_is_gone_and_the_address_free(
    store: AccountStore, users: dict[str, User]
) -> None:
    mia = users["mia"]
    assert store.delete_user("News", mia.id) == mia
    assert store.get_login(mia.id) is None
    assert store.find_login(mia.email) is None
    assert mia not in store.list_users("News")
    with pytest.raises(NotFoundError):
        store.delete_user("News", mia.id)
    assert store.create_user("Shop", mia.email, "hash", MEMBER).id != mia.id


def test_another_accounts_user_is_like_none(store: AccountStore, users: dict[str, User]) -> None:
    for wrong in [users["bob"].id, *UNKNOWN]:
        for call in (
            lambda wrong=wrong: store.update_user("News", wrong, password_hash="stolen"),
            lambda wrong=wrong: store.delete_user("News", wrong),
        ):
            with pytest.raises(NotFoundError) as caught:
                call()
            assert caught.value.message == f"The account has no user {wrong!r}."
    assert store.get_login(users["bob"].id) == Login(users["bob"], "hash of bob")


def test_last_admin_stays(store: AccountStore, users: dict[str, User]) -> None:
    bob = users["bob"]
    # Members do not count, and nor do other accounts' admins.
    store.create_user("Shop", "eve@b.example", "hash", MEMBER)
    for call in (
        lambda: store.update_user("Shop", bob.id, role=MEMBER, password_hash="new"),
        lambda: store.delete_user("Shop", bob.id),
    ):
        with pytest.raises(ConflictError, match=r"bob@b\.example is the account's only") as caught:
            call()
        assert caught.value.reason == "LAST_ADMIN"
    # Nothing of a refused change is kept.
    assert store.get_login(bob.id) == Login(bob, "hash of bob")
    store.update_user("Shop", bob.id, role=ADMIN, password_hash="new")
    store.delete_user("News", users["zoe"].id)
    with pytest.raises(ConflictError):
        store.update_user("News", users["Ada"].id, role=MEMBER)


def test_account_without_admins_can_lose_its_members(store: AccountStore) -> None:
    store.create_account("News", "free")
    user = store.create_user("News", "mia@b.example", "hash", MEMBER)
    store.update_user("News", user.id, role=MEMBER)
    store.delete_user("News", user.id)
    assert store.list_users("News") == []


def test_admins_who_remove_each_other_at_once_leave_one(store: AccountStore) -> None:
    admins = 4
    barrier = threading.Barrier(admins)

    def attack(user: User, remove: bool) -> bool:
        barrier.wait(30)
        try:
            if remove:
                store.delete_user(user.account_id, user.id)
            else:
                store.update_user(user.account_id, user.id, role=MEMBER)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(admins) as executor:
        for number in range(8):
            account = store.create_account(f"News {number}", "free").id
            users = [
                store.create_user(account, f"{number}.{n}@b.example", "hash", ADMIN)
                for n in range(admins)
            ]
            done = list(executor.map(attack, users, [True, False] * (admins // 2)))
            assert sorted(done) == [False, True, True, True]
            assert [user.role for user in store.list_users(account)].count(ADMIN) == 1
