"""The contract of AccountStore about accounts, their plans and their sites, on every engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from footfall.accounts.model import Subscription
from footfall.accounts.ports import AccountStore
from footfall.errors import InvalidInputError, NotFoundError

UNKNOWN = ["", "aaaaaaaaaaaaaaaa", "a\0b", "\udc80", "日本"]


def test_accounts_in_the_order_of_their_names(store: AccountStore) -> None:
    assert store.list_accounts() == []
    made = {name: store.create_account(name, "free") for name in ("b", "Ä", "B", "a")}
    assert store.list_accounts() == [made[name] for name in ("B", "a", "b", "Ä")]


def test_account_goes_to_another_plan(store: AccountStore) -> None:
    account = store.create_account("News", "free")
    site = store.create_site("News", "a.example", "UTC", public=False)
    assert store.set_account_plan("News", "pro") == replace(account, plan="pro")
    found = store.get_site(site.id)
    assert found is not None
    assert found.plan.account_requests_per_minute == 1200
    subscription = store.get_subscription(account.id)
    assert subscription == Subscription(account.id, found.plan)
    # It is known by its id alone.
    assert [store.get_subscription(other) for other in ("News", *UNKNOWN)] == [None] * 6
    for wrong in UNKNOWN:
        with pytest.raises(InvalidInputError, match="the plans are free, hobby, pro, scale"):
            store.set_account_plan("News", wrong)
        with pytest.raises(NotFoundError):
            store.set_account_plan(wrong, "pro")
    assert store.get_account("News").plan == "pro"


def test_changed_plan_holds_for_all_that_is_on_it(store: AccountStore) -> None:
    plans = {plan.name: plan for plan in store.list_plans()}
    assert list(plans) == ["free", "hobby", "pro", "scale"]
    store.create_account("News", "pro")
    site = store.create_site("News", "a.example", "UTC", public=False)
    application = store.create_application("News", "api", b"1" * 32, b"2" * 32)
    store.create_workspace("News", "desk", b"3" * 32)
    changes = {"site_requests_per_minute": 600, "custom_sql_per_minute": 50}
    changed = store.update_plan("pro", changes)
    assert changed == replace(plans["pro"], **changes)
    assert store.list_plans() == [plans["free"], plans["hobby"], changed, plans["scale"]]
    workspace = store.find_workspace(b"3" * 32)
    assert workspace is not None
    for found in (store.get_site(site.id), store.get_application(application.id), workspace):
        assert found is not None
        assert found.plan == changed


def test_plan_is_made_like_another(store: AccountStore) -> None:
    scale = next(plan for plan in store.list_plans() if plan.name == "scale")
    made = store.update_plan("press", {"site_requests_per_minute": 77}, like="scale")
    assert made == replace(scale, name="press", site_requests_per_minute=77)
    assert made in store.list_plans()
    assert store.create_account("News", "press").plan == "press"
    # For one that exists, there is nothing to copy.
    assert store.update_plan("press", {}, like="free") == made


def test_plan_that_does_not_exist(store: AccountStore) -> None:
    before = store.list_plans()
    for name, like, missing in (("gold", None, "gold"), ("gold", "silver", "silver")):
        with pytest.raises(NotFoundError) as caught:
            store.update_plan(name, {"site_requests_per_minute": 1}, like=like)
        assert caught.value.message == (
            f"There is no plan {missing!r}; the plans are free, hobby, pro, scale."
        )
    assert store.list_plans() == before


def test_sites_of_an_account_in_the_order_of_their_hosts(store: AccountStore) -> None:
    for name in ("News", "Shop"):
        store.create_account(name, "pro")
    hosts = ["b.example", "a-b.example", "a.example", "xn--0.example"]
    sites = {host: store.create_site("News", host, "UTC", public=False) for host in hosts}
    foreign = store.create_site("Shop", "a.example", "UTC", public=False)
    assert store.account_sites("News") == [sites[host] for host in sorted(hosts)]
    assert store.account_sites("Shop") == [foreign]
    with pytest.raises(NotFoundError):
        store.account_sites("Nobody")


def test_site_becomes_public_and_private_again(store: AccountStore) -> None:
    store.create_account("News", "pro")
    site = store.create_site("News", "a.example", "Europe/Zurich", public=False)
    other = store.create_site("News", "b.example", "UTC", public=False)
    assert store.update_site("News", site.id) == site
    assert store.update_site("News", site.id, public=True) == replace(site, public=True)
    assert store.update_site("News", site.id) == store.get_site(site.id)
    assert store.account_sites("News") == [replace(site, public=True), other]
    assert store.update_site("News", site.id, public=False) == site


def test_another_accounts_site_is_like_none(store: AccountStore) -> None:
    for name in ("News", "Shop"):
        store.create_account(name, "free")
    foreign = store.create_site("Shop", "a.example", "UTC", public=False)
    for wrong in [foreign.id, *UNKNOWN]:
        with pytest.raises(NotFoundError) as caught:
            store.update_site("News", wrong, public=True)
        assert caught.value.message == f"The account has no site {wrong!r}."
    assert store.get_site(foreign.id) == foreign
