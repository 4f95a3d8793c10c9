"""`footfall site`, on a real store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from click.testing import Result

from footfall.accounts.ports import AccountStore
from tests.cli.conftest import failure


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


def test_sites_are_listed_by_host(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    assert run("site", "list", "--account", "News").stdout == "There are no sites.\n"
    sites = [
        store.create_site("News", host, zone, public=public)
        for host, zone, public in (
            ("b.example", "UTC", False),
            ("a.example", "America/Argentina/ComodRivadavia", True),
        )
    ]
    assert made("site", "list", "--account", "News") == {
        "sites": [
            {
                "id": sites[1].id,
                "host": "a.example",
                "timezone": "America/Argentina/ComodRivadavia",
                "public": True,
                "retention_days": None,
            },
            {
                "id": sites[0].id,
                "host": "b.example",
                "timezone": "UTC",
                "public": False,
                "retention_days": None,
            },
        ]
    }
    table = [line.split() for line in run("site", "list", "--account", "News").stdout.splitlines()]
    assert table == [
        ["Id", "Host", "Timezone", "Public", "Kept"],
        [sites[1].id, "a.example", "America/Argentina/ComodRivadavia", "yes", "all"],
        [sites[0].id, "b.example", "UTC", "no", "all"],
    ]


def test_site_opens_and_closes(
    store: AccountStore, run: Callable[..., Result], made: Callable[..., Any]
) -> None:
    site = store.create_site("News", "a.example", "UTC", public=False)
    for option, public in (("--public", True), ("--public", True), ("--private", False)):
        document = made("site", "update", site.id, option)
        assert document == {
            "id": site.id,
            "host": "a.example",
            "timezone": "UTC",
            "public": public,
            "retention_days": None,
        }
        found = store.get_site(site.id)
        assert found is not None
        assert found.public is public
    assert failure(run("site", "update", "nope", "--public")) == "There is no site 'nope'."
    neither = run("site", "update", site.id)
    assert neither.exit_code == 2
    assert "--public" in neither.stderr
