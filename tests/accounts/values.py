"""Values for tests that need no store."""

from __future__ import annotations

from footfall.accounts.model import ApiKey, KeyKind, Scope


def api_key(*scopes: Scope) -> ApiKey:
    """Return a key of no site with these scopes."""
    return ApiKey(
        id="a" * 16,
        account_id="b" * 16,
        kind=KeyKind.NM,
        site_ids=frozenset(),
        scopes=frozenset(scopes),
        created_at=0.0,
    )
