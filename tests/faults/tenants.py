"""A tenant of the service with whatever a case needs, and what it sends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from footfall.accounts.management import ALLOWANCE_MAX, ALLOWANCES, AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.sql import open_account_store
from tests.e2e.test_realtime import zone_where_it_is_noon

_numbers = count()


@dataclass(frozen=True)
class Tenant:
    """An account with one of each, and their credentials as headers."""

    account: str
    site: str
    host: str
    application: str
    #: The site's key of family A, and the account's of family C.
    bearer: Mapping[str, str]
    queries: Mapping[str, str]
    #: The application's two keys, and the workspace's.
    writes: Mapping[str, str]
    reads: Mapping[str, str]
    workspace: Mapping[str, str]


@contextmanager
def managing(accounts_url: str, plan: str, **limits: int) -> Iterator[AccountManager]:
    """Open the accounts beside a service, with a plan that has no limits but the given ones."""
    with closing(open_account_store(accounts_url)) as store:
        manager = AccountManager(store)
        manager.update_plan(plan, dict.fromkeys(ALLOWANCES, ALLOWANCE_MAX) | limits, like="scale")
        yield manager


def create_tenant(accounts_url: str, **limits: int) -> Tenant:
    """Make a tenant beside whatever uses the store; its plan has no limits but the given ones."""
    name = f"tenant-{next(_numbers)}-{time.time_ns() % 10**9}"
    with managing(accounts_url, name, **limits) as manager:
        account = manager.create_account(name, name).id
        host = f"{name}.example"
        site = manager.create_site(account, host, zone_where_it_is_noon(), public=False).id
        both = [Scope.READ, Scope.WRITE]
        nm = manager.create_key(account, kind=KeyKind.NM, site_ids=[site], scopes=both).text
        dbdy = manager.create_key(account, kind=KeyKind.DBDY, site_ids=[site], scopes=both).text
        application = manager.create_application(account, name)
        ids = application.application.id
        return Tenant(
            account=account,
            site=site,
            host=host,
            application=ids,
            bearer={"authorization": f"Bearer {nm}"},
            queries={"x-api-key": dbdy},
            writes={"x-auth-user": ids, "x-auth-key": application.write_key},
            reads={"x-auth-user": ids, "x-auth-key": application.read_key},
            workspace={"x-api-key": manager.create_workspace(account, name).api_key},
        )


def api_requests(number: int, prefix: str, *, at: float | None = None) -> list[dict[str, Any]]:
    """Return API requests with ids of their own, each a second older than the one before."""
    latest = time.time() if at is None else at
    return [
        {
            "event_id": f"{prefix}-{index}",
            "timestamp": latest - index,
            "consumer_id": f"consumer-{index % 7}",
            "method": "GET",
            "url": f"/items/{index % 100}",
            "function": "items",
            "response_us": 1_000 + 37 * index % 5_000,
            "status_code": 200,
        }
        for index in range(number)
    ]


def page_view(tenant: Tenant, event_id: str, visitor: str, path: str = "/") -> dict[str, Any]:
    """Return a page view of now."""
    return {
        "event_id": event_id,
        "url": f"https://{tenant.host}{path}",
        "visitor_id": visitor,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
    }


def encoded(document: Any) -> bytes:
    """Return a document as JSON."""
    return json.dumps(document, separators=(",", ":")).encode()
