"""Sites that are deleted, orders to remove events, and what is left in SQLite's file of either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, RemovalOrder, Scope
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.errors import InvalidInputError, NotFoundError

UNKNOWN = ["", "aaaaaaaaaaaaaaaa", "a\0b", "\udc80", "日本"]
DAY = 20_000


def test_a_deleted_site_is_gone_and_an_order_is_there(store: AccountStore) -> None:
    account = store.create_account("News", "free")
    gone = store.create_site("News", "a.example", "UTC", public=True)
    stays = store.create_site("News", "b.example", "UTC", public=True)
    key = store.create_key(
        "News",
        b"1" * 32,
        kind=KeyKind.NM,
        site_ids=[gone.id, stays.id],
        scopes=[Scope.READ],
        hint="",
    )
    order = store.delete_site("News", gone.id)
    assert (order.site_id, order.visitor_id, order.is_done) == (gone.id, None, False)
    assert store.removal_orders() == [order]
    assert store.get_site(gone.id) is None
    assert store.account_sites("News") == store.list_sites() == [stays]
    assert store.get_key(key.id).site_ids == {stays.id}
    for again in (gone.id, *UNKNOWN):
        with pytest.raises(NotFoundError):
            store.delete_site("News", again)
    # The host is free again, for a site that is another one.
    anew = store.create_site(account.id, "a.example", "UTC", public=False)
    assert anew.id != gone.id


def test_another_accounts_site_is_not_found(store: AccountStore) -> None:
    store.create_account("News", "free")
    store.create_account("Other", "free")
    site = store.create_site("News", "a.example", "UTC", public=False)
    with pytest.raises(NotFoundError):
        store.delete_site("Other", site.id)
    with pytest.raises(NotFoundError):
        store.order_removal("Other", site.id, "visitor")
    assert store.removal_orders() == []
    assert store.get_site(site.id) == site


def test_orders_are_kept_until_they_are_done(store: AccountStore) -> None:
    store.create_account("News", "free")
    site = store.create_site("News", "a.example", "UTC", public=False)
    orders = [store.order_removal("News", site.id, f"v{n} 日本'") for n in range(3)]
    assert sorted(store.removal_orders(), key=lambda order: order.id) == sorted(
        orders, key=lambda order: order.id
    )
    store.finish_removal(orders[0].id)
    assert {order.id for order in store.removal_orders()} == {orders[1].id, orders[2].id}
    # Kept for other servers to see.
    store.finish_removal(orders[1].id, keep_s=60)
    kept = {order.id: order.is_done for order in store.removal_orders()}
    assert kept == {orders[1].id: True, orders[2].id: False}
    store.finish_removal(orders[2].id)
    assert store.removal_orders() == []
    store.finish_removal("nobody's")


@pytest.mark.parametrize("visitor_id", ["", "x" * 129])
def test_visitor_ids_that_no_event_can_have(store: AccountStore, visitor_id: str) -> None:
    store.create_account("News", "free")
    site = store.create_site("News", "a.example", "UTC", public=False)
    manager = AccountManager(store)
    with pytest.raises(InvalidInputError, match="visitor_id"):
        manager.delete_visitor("News", site.id, visitor_id)
    assert manager.delete_visitor("News", site.id, "x" * 128) in store.removal_orders()


def test_retention(store: AccountStore) -> None:
    store.create_account("News", "free")
    site = store.create_site("News", "a.example", "UTC", public=False)
    assert site.retention_days is None
    assert store.sites_with_retention() == []
    manager = AccountManager(store)
    changed = manager.update_site("News", site.id, retention_days=400)
    assert changed.retention_days == 400
    assert manager.update_site("News", site.id, public=True).retention_days == 400
    assert [found.id for found in store.sites_with_retention()] == [site.id]
    found = store.get_site(site.id)
    assert found is not None
    assert found.retention_days == 400
    for wrong in (-1, 36_501):
        with pytest.raises(InvalidInputError, match="retention_days"):
            manager.update_site("News", site.id, retention_days=wrong)
    assert manager.update_site("News", site.id, retention_days=0).retention_days is None
    assert store.sites_with_retention() == []


def test_salts_are_forgotten_although_nobody_asks_for_another(store: AccountStore) -> None:
    salts = {day: store.salt(day, DAY) for day in (DAY - 1, DAY, DAY + 1)}
    store.forget_salts(DAY)
    assert store.salt(DAY - 1, DAY) == salts[DAY - 1]
    store.forget_salts(DAY + 1)
    assert store.salt(DAY, DAY + 1) == salts[DAY]
    assert store.salt(DAY - 1, DAY) != salts[DAY - 1]
    store.forget_salts(DAY + 9)
    assert store.salt(DAY + 1, DAY + 1) != salts[DAY + 1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts.sqlite"


@pytest.fixture
def sqlite(file: Path) -> Iterator[AccountStore]:
    store = open_account_store(f"sqlite:///{file}")
    yield store
    store.close()


def occurrences(file: Path, wanted: bytes) -> int:
    """Return how often bytes are in SQLite's files."""
    return sum(part.read_bytes().count(wanted) for part in file.parent.glob(f"{file.name}*"))


def test_a_forgotten_salt_is_not_in_sqlites_files(sqlite: AccountStore, file: Path) -> None:
    other = open_account_store(f"sqlite:///{file}")
    salts = {day: sqlite.salt(day, DAY) for day in (DAY - 1, DAY, DAY + 1)}
    assert other.salt(DAY, DAY) == salts[DAY]
    assert all(occurrences(file, salt) for salt in salts.values())
    # Used again, the log's beginning would be overwritten by chance.
    for number in range(20):
        other.create_account(f"account {number}", "free")
    sqlite.forget_salts(DAY + 1)
    assert [occurrences(file, salts[day]) > 0 for day in sorted(salts)] == [False, True, True]
    sqlite.forget_salts(DAY + 2)
    assert [occurrences(file, salts[day]) > 0 for day in sorted(salts)] == [False, False, True]
    other.close()


def test_a_deleted_site_and_a_done_order_are_not_in_sqlites_files(
    sqlite: AccountStore, file: Path
) -> None:
    sqlite.create_account("News", "free")
    sites = [
        sqlite.create_site("News", f"kanarienvogel-{n}.example", "UTC", public=False)
        for n in range(200)
    ]
    sqlite.create_key(
        *("News", b"1" * 32),
        kind=KeyKind.NM,
        site_ids=[site.id for site in sites],
        scopes=[Scope.READ],
        hint="",
    )
    orders: list[RemovalOrder] = []
    for site in sites[::2]:
        orders.append(sqlite.order_removal("News", site.id, f"visitor-{site.id}"))
        orders.append(sqlite.delete_site("News", site.id))
    assert occurrences(file, sites[0].id.encode())
    for order in orders:
        sqlite.finish_removal(order.id)
    for number, site in enumerate(sites):
        texts = (site.id.encode(), site.host.encode() + b"UTC")
        assert [occurrences(file, text) > 0 for text in texts] == [number % 2 == 1] * 2
    assert occurrences(file, b"visitor-") == 0
