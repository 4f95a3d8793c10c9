"""Values for tests that need no store."""

from __future__ import annotations

from footfall.accounts import passwords
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


def cheap_hash(password: str) -> str:
    """Return what is stored of a password, at a thousandth of its price."""
    salt = b"0123456789abcdef"
    digest = passwords._scrypt(password, salt, 4, 8, 1)
    return f"$scrypt$ln=4,r=8,p=1${passwords._base64(salt)}${passwords._base64(digest)}"
