"""A tenant of each family in a service's accounts store, with as large an allowance as there is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from footfall.accounts.model import KeyKind, Scope
from tests.e2e.conftest import Application, Site
from tests.e2e.test_realtime import zone_where_it_is_noon
from tests.faults.tenants import managing

_serial = count()
_PLAN = "unbounded"


@dataclass(frozen=True)
class Tenants:
    """One of each, of one account."""

    site: Site
    #: A second site, on which less happens.
    quiet: Site
    application: Application
    workspace_key: str


def make_tenants(accounts_url: str) -> Tenants:
    """Make them beside whatever uses the store."""
    with managing(accounts_url, _PLAN) as manager:
        number = next(_serial)
        account = manager.create_account(f"faults-{number}", _PLAN).id

        def make_site(name: str) -> Site:
            host = f"{name}-{number}.example"
            site = manager.create_site(account, host, zone_where_it_is_noon(), public=False)
            key = manager.create_key(
                account,
                kind=KeyKind.NM,
                site_ids=[site.id],
                scopes=[Scope.READ, Scope.WRITE],
            )
            return Site(site.id, host, key.text)

        made = manager.create_application(account, "faults")
        return Tenants(
            make_site("busy"),
            make_site("quiet"),
            Application(made.application.id, made.write_key, made.read_key),
            manager.create_workspace(account, "faults").api_key,
        )
