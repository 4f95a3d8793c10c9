"""`footfall plan`, on a real store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from click.testing import Result

from footfall.accounts.management import ALLOWANCES
from footfall.accounts.ports import AccountStore
from footfall.cli.plans import ALLOWANCE_HELP
from tests.cli.conftest import failure

FREE = {
    "name": "free",
    "site_requests_per_minute": 10,
    "application_reads_per_10s": 1000,
    "account_requests_per_10s": 50,
    "account_requests_per_minute": 300,
    "workspace_requests_per_second": 5,
    "custom_sql_per_minute": 30,
}


def test_every_number_of_a_plan_has_an_option() -> None:
    assert set(ALLOWANCE_HELP) == set(ALLOWANCES)


def test_plans_are_listed(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    plans = made("plan", "list")["plans"]
    assert [plan["name"] for plan in plans] == ["free", "hobby", "pro", "scale"]
    assert plans[0] == FREE
    table = [line.split() for line in run("plan", "list").stdout.splitlines()]
    assert table[0] == ["free", "hobby", "pro", "scale"]
    assert ["account", "requests", "per", "minute", "300", "600", "1200", "3000"] in table


def test_plan_changes_where_it_is_told_to(store: AccountStore, made: Callable[..., Any]) -> None:
    site = store.create_site("News", "a.example", "UTC", public=False)
    document = made("plan", "set", "free", "--site-requests-per-minute", "600")
    assert document == FREE | {"site_requests_per_minute": 600}
    found = store.get_site(site.id)
    assert found is not None
    assert asdict(found.plan) == document
    every = {name: number for number, name in enumerate(ALLOWANCES, 11)}
    options = [
        word
        for name, number in every.items()
        for word in (f"--{name.replace('_', '-')}", str(number))
    ]
    assert made("plan", "set", "free", *options) == {"name": "free"} | every


def test_plan_is_made_like_another(store: AccountStore, made: Callable[..., Any]) -> None:
    document = made(
        "plan", "set", "Press", "--like", "scale", "--workspace-requests-per-second", "50"
    )
    assert (document["name"], document["account_requests_per_minute"]) == ("Press", 3000)
    assert document["workspace_requests_per_second"] == 50
    account = store.get_account("News")
    assert made("account", "set-plan", "News", "Press") == {"id": account.id, "plan": "Press"}
    assert store.get_account("News").plan == "Press"


@pytest.mark.parametrize(
    ("arguments", "status", "fault"),
    [
        (("free",), 2, "at least one number"),
        (("free", "--site-requests-per-minute", "0"), 2, "1<=x<=1000000"),
        (("free", "--site-requests-per-minute", "1000001"), 2, "1<=x<=1000000"),
        (("free", "--site-requests-per-minute", "many"), 2, "not a valid integer"),
        (("gold", "--site-requests-per-minute", "1"), 1, "There is no plan 'gold'; the plans are"),
        (("gold", "--like", "silver"), 1, "There is no plan 'silver'; the plans are"),
        ((" ", "--like", "free"), 1, "must not be empty"),
    ],
)
def test_plan_that_is_refused(
    store: AccountStore,
    run: Callable[..., Result],
    arguments: tuple[str, ...],
    status: int,
    fault: str,
) -> None:
    before = store.list_plans()
    result = run("plan", "set", *arguments)
    assert result.exit_code == status
    assert fault in result.stderr
    assert store.list_plans() == before


def test_accounts_are_listed_by_name(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    shop = store.create_account("[b]Shop[/b] 日本", "pro")
    news = store.get_account("News")
    assert made("account", "list") == {
        "accounts": [
            {"id": news.id, "name": "News", "plan": "free"},
            {"id": shop.id, "name": "[b]Shop[/b] 日本", "plan": "pro"},
        ]
    }
    table = [line.split() for line in run("account", "list").stdout.splitlines()]
    assert table == [
        ["Id", "Name", "Plan"],
        [news.id, "News", "free"],
        [shop.id, "[b]Shop[/b]", "日本", "pro"],
    ]
    unknown = failure(run("account", "set-plan", "News", "gold"))
    assert unknown == "There is no plan 'gold'; the plans are free, hobby, pro, scale."
