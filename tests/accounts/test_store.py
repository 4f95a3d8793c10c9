"""The contract of AccountStore, on every engine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from footfall.accounts.keys import is_id
from footfall.accounts.model import (
    Account,
    ApplicationAccess,
    ApplicationGrant,
    KeyKind,
    Plan,
    Role,
    Scope,
)
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.errors import InvalidInputError, NotFoundError

UNSTORABLE = ["", "nobody", "a\0b", "\udc80", "x" * 10_000, "'; DROP TABLE sites; --", "日本"]
PLANS = {
    "free": (50, 300),
    "hobby": (100, 600),
    "pro": (200, 1200),
    "scale": (500, 3000),
}


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def key_of(store: AccountStore, account: str, number: int, *site_ids: str) -> str:
    return store.create_key(
        account,
        digest(number),
        kind=KeyKind.NM,
        site_ids=site_ids,
        scopes=[Scope.READ],
        hint="nm_abcd",
    ).id


@pytest.mark.parametrize("plan", PLANS)
def test_plans_are_seeded(store: AccountStore, plan: str) -> None:
    account = store.create_account("News", plan)
    assert account.plan == plan
    site = store.create_site(account.id, "a.example", "UTC", public=False)
    assert site.plan == Plan(
        plan, 10, 1000, *PLANS[plan], workspace_requests_per_second=5, custom_sql_per_minute=30
    )
    assert store.create_application(account.id, "api", digest(1), digest(2)).plan == site.plan


@pytest.mark.parametrize("name", ["News", "O'Brien & Söhne", "日本経済", "100%", 'a"b', "🦆", "12"])
def test_account_is_found_by_id_and_by_name(store: AccountStore, name: str) -> None:
    account = store.create_account(name, "free")
    assert is_id(account.id)
    assert account == Account(account.id, name, "free")
    assert store.get_account(account.id) == store.get_account(name) == account


def test_account_names_are_unique_and_case_matters(store: AccountStore) -> None:
    first = store.create_account("News", "free")
    with pytest.raises(InvalidInputError, match="already an account named 'News'") as caught:
        store.create_account("News", "pro")
    assert [violation.field for violation in caught.value.violations] == ["name"]
    second = store.create_account("news", "pro")
    assert store.get_account("News") == first
    assert store.get_account("news") == second


def test_account_name_cannot_be_another_accounts_id(store: AccountStore) -> None:
    first = store.create_account("News", "free")
    with pytest.raises(InvalidInputError, match="already"):
        store.create_account(first.id, "free")


def test_unknown_plan_is_refused_with_the_known_ones(store: AccountStore) -> None:
    with pytest.raises(InvalidInputError, match="free, hobby, pro, scale"):
        store.create_account("News", "gold")
    with pytest.raises(NotFoundError):
        store.get_account("News")


@pytest.mark.parametrize("account", UNSTORABLE)
def test_unknown_accounts(store: AccountStore, account: str) -> None:
    store.create_account("News", "free")
    calls = [
        lambda: store.get_account(account),
        lambda: store.list_keys(account),
        lambda: store.create_user(account, "a@b.example", "hash", Role.ADMIN),
        lambda: store.create_site(account, "a.example", "UTC", public=False),
        lambda: store.create_application(account, "api", digest(1), digest(2)),
        lambda: store.create_workspace(account, "desk", digest(3)),
        lambda: key_of(store, account, 4),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            call()


def test_user_emails_are_unique_over_all_accounts(store: AccountStore) -> None:
    news = store.create_account("News", "free")
    store.create_account("Shop", "free")
    user = store.create_user("News", "ada@b.example", "hash", Role.ADMIN)
    assert (user.account_id, user.email, user.role) == (news.id, "ada@b.example", Role.ADMIN)
    with pytest.raises(InvalidInputError, match=r"ada@b\.example"):
        store.create_user("Shop", "ada@b.example", "hash", Role.MEMBER)
    assert store.create_user("Shop", "bob@b.example", "hash", Role.MEMBER).role is Role.MEMBER


def test_hosts_are_unique_within_an_account(store: AccountStore) -> None:
    for name in ("News", "Shop"):
        store.create_account(name, "free")
    first = store.create_site("News", "a.example", "Asia/Kathmandu", public=True)
    second = store.create_site("Shop", "a.example", "UTC", public=False)
    with pytest.raises(InvalidInputError, match=r"a\.example") as caught:
        store.create_site("News", "a.example", "UTC", public=False)
    assert [violation.field for violation in caught.value.violations] == ["host"]
    assert store.get_site(first.id) == first
    assert (first.timezone, first.public) == ("Asia/Kathmandu", True)
    assert (second.timezone, second.public) == ("UTC", False)
    assert {site.id: site for site in store.list_sites()} == {first.id: first, second.id: second}


@pytest.mark.parametrize("id_", UNSTORABLE)
def test_unknown_ids_find_nothing(store: AccountStore, id_: str) -> None:
    store.create_account("News", "free")
    store.create_site("News", "a.example", "UTC", public=False)
    store.create_application("News", "api", digest(1), digest(2))
    assert store.get_site(id_) is None
    assert store.get_application(id_) is None
    assert store.find_application(id_, digest(1)) is None
    with pytest.raises(NotFoundError):
        store.revoke_key(id_)
    with pytest.raises(NotFoundError):
        key_of(store, "News", 3, id_)


def test_application_is_found_by_either_key_and_no_other(store: AccountStore) -> None:
    store.create_account("News", "pro")
    first = store.create_application("News", "api", digest(1), digest(2))
    second = store.create_application("News", "api", digest(3), digest(4))
    assert store.get_application(first.id) == first
    write, read = ApplicationAccess.WRITE, ApplicationAccess.READ
    assert store.find_application(first.id, digest(1)) == ApplicationGrant(first, write)
    assert store.find_application(first.id, digest(2)) == ApplicationGrant(first, read)
    assert store.find_application(second.id, digest(4)) == ApplicationGrant(second, read)
    for wrong in (digest(3), digest(5), b"", digest(1)[:-1]):
        assert store.find_application(first.id, wrong) is None


def test_workspace(store: AccountStore) -> None:
    account = store.create_account("News", "free")
    workspace = store.create_workspace("News", "Support Desk", digest(1))
    assert (workspace.account_id, workspace.name) == (account.id, "Support Desk")
    assert is_id(workspace.id)
    store.create_workspace("News", "Other Desk", digest(2))
    assert store.find_workspace(digest(1)) == workspace
    assert workspace.plan in store.list_plans()
    for wrong in (digest(3), b"", digest(1)[:-1]):
        assert store.find_workspace(wrong) is None


def test_key_keeps_what_it_was_created_with(store: AccountStore) -> None:
    account = store.create_account("News", "free")
    sites = [store.create_site("News", f"{n}.example", "UTC", public=False).id for n in range(3)]
    before = time.time()
    key = store.create_key(
        "News",
        digest(7),
        kind=KeyKind.DBDY,
        site_ids=[sites[2], sites[0], sites[2]],
        scopes=[Scope.WRITE, Scope.ADMIN],
        hint="dbdy_wxyz",
        expires_at=4_102_444_800.25,
    )
    assert store.find_key(digest(7)) == key
    assert store.list_keys("News") == [key]
    assert (key.account_id, key.kind, key.hint) == (account.id, KeyKind.DBDY, "dbdy_wxyz")
    assert key.site_ids == {sites[0], sites[2]}
    assert key.scopes == {Scope.WRITE, Scope.ADMIN}
    assert key.expires_at == 4_102_444_800.25
    assert key.revoked_at is None
    assert before - 0.001 <= key.created_at <= time.time()


def test_key_without_sites_is_bound_to_none(store: AccountStore) -> None:
    store.create_account("News", "free")
    store.create_site("News", "a.example", "UTC", public=False)
    key_of(store, "News", 1)
    key = store.find_key(digest(1))
    assert key is not None
    assert key.site_ids == frozenset()


def test_key_for_another_accounts_site_is_refused_whole(store: AccountStore) -> None:
    for name in ("News", "Shop"):
        store.create_account(name, "free")
    own = store.create_site("News", "a.example", "UTC", public=False)
    foreign = store.create_site("Shop", "b.example", "UTC", public=True)
    with pytest.raises(NotFoundError, match=foreign.id):
        key_of(store, "News", 1, own.id, foreign.id)
    assert store.find_key(digest(1)) is None
    assert store.list_keys("News") == []


def test_keys_are_listed_for_their_account_only(store: AccountStore) -> None:
    for name in ("News", "Shop"):
        store.create_account(name, "free")
    ids = {key_of(store, "News", number) for number in range(5)}
    other = key_of(store, "Shop", 9)
    assert {key.id for key in store.list_keys("News")} == ids
    assert [key.id for key in store.list_keys("Shop")] == [other]
    order = [(-key.created_at, key.id) for key in store.list_keys("News")]
    assert order == sorted(order)


def test_revoked_key_stays_known_and_revoked_since_the_first_time(store: AccountStore) -> None:
    store.create_account("News", "free")
    kept, gone = key_of(store, "News", 1), key_of(store, "News", 2)
    first = store.revoke_key(gone)
    assert first.revoked_at is not None
    time.sleep(0.005)
    assert store.revoke_key(gone) == first
    assert store.find_key(digest(2)) == first
    remaining = {key.id: key.revoked_at for key in store.list_keys("News")}
    assert remaining == {kept: None, gone: first.revoked_at}


def test_unknown_digest_finds_nothing(store: AccountStore) -> None:
    assert store.find_key(digest(1)) is None
    assert store.find_key(b"") is None


def test_salts_are_random_stable_and_forgotten(store: AccountStore, url: str) -> None:
    day = 20_000
    salts = {d: store.salt(d, day) for d in (day - 1, day, day + 1)}
    assert len(set(salts.values())) == 3
    assert {len(salt) for salt in salts.values()} == {32}
    other = open_account_store(url)
    try:
        assert {d: other.salt(d, day) for d in salts} == salts
        # Two days on, the first two are out of reach, and asking makes the store forget them.
        assert other.salt(day + 1, day + 2) == salts[day + 1]
        assert store.salt(day, day) != salts[day]
    finally:
        other.close()


@pytest.mark.parametrize("day", [19_998, 20_002, 0, -1, 10**9])
def test_salts_of_other_days_are_not_kept(store: AccountStore, day: int) -> None:
    with pytest.raises(ValueError, match="20000"):
        store.salt(day, 20_000)


def test_concurrent_writers_and_readers(store: AccountStore, url: str) -> None:
    """Two stores (as two processes have), many threads: one name is taken once, every salt is the
    same, and nobody is told that the database is locked.
    """
    other = open_account_store(url)
    store.create_account("News", "free")

    def work(number: int) -> tuple[bool, bytes]:
        mine = (store, other)[number % 2]
        mine.create_site("News", f"{number}.example", "UTC", public=False)
        salt = mine.salt(20_000, 20_000)
        try:
            mine.create_account("Contested", "free")
        except InvalidInputError:
            return False, salt
        return True, salt

    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, range(24)))
    finally:
        other.close()
    assert [won for won, _ in results].count(True) == 1
    assert len({salt for _, salt in results}) == 1
    assert {site.host for site in store.list_sites()} == {f"{n}.example" for n in range(24)}


def test_ping(store: AccountStore) -> None:
    store.ping()
