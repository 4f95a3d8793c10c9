"""Secrets and ids: making them, recognising them, and what is stored instead of them.

Keys are random, of at least 128 bits, so a plain SHA-256 of one is as hard to invert as the key is
to guess, and it can be looked up by an index; a slow hash would cost every request and protect
nothing. Passwords are chosen by people and get a slow hash: `passwords`.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from footfall.accounts.model import KeyKind

_KEY_BYTES = 24
_HINT_CHARACTERS = 4
_KEY = re.compile(r"(nm|dbdy)_[A-Za-z0-9_-]{22,128}", re.ASCII)
_WORKSPACE_KEY = re.compile(r"[A-Za-z0-9_-]{22,128}", re.ASCII)
_APPLICATION_KEY = re.compile(r"[A-Za-z0-9+/]{14,126}={0,2}", re.ASCII)
_ID = re.compile(r"[a-z2-7]{12,32}", re.ASCII)


def make_id() -> str:
    """Return a new random id: 16 lower-case base32 characters (80 bits), which holds no secret."""
    return base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower()


def is_id(text: str) -> bool:
    """Return whether `text` has the form of an id, so that anything else needs no look-up."""
    return _ID.fullmatch(text) is not None


def make_key(kind: KeyKind) -> str:
    """Return a new API key: its kind, an underscore and 192 random bits in URL-safe base64."""
    return f"{kind}_{secrets.token_urlsafe(_KEY_BYTES)}"


def make_application_key() -> str:
    """Return a new write or read key of an application: 192 random bits in standard base64,
    32 characters.
    """
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode("ascii")


def make_workspace_key() -> str:
    """Return a new API key of a workspace: 192 random bits in URL-safe base64, 32 characters."""
    return secrets.token_urlsafe(_KEY_BYTES)


def key_kind(text: str) -> KeyKind | None:
    """Return the kind of an API key, or None if `text` does not have the form of one."""
    match = _KEY.fullmatch(text)
    return KeyKind(match[1]) if match else None


def is_application_key(text: str) -> bool:
    """Return whether `text` has the form of an application's key: base64 in whole groups of
    four characters.
    """
    return len(text) % 4 == 0 and _APPLICATION_KEY.fullmatch(text) is not None


def is_workspace_key(text: str) -> bool:
    """Return whether `text` has the form of a workspace's key."""
    return _WORKSPACE_KEY.fullmatch(text) is not None


def key_hint(text: str) -> str:
    """Return the kind and the first characters of an API key's secret: enough for people to tell
    keys apart, too little to help a guess (168 of 192 bits stay unknown).
    """
    kind, _, secret = text.partition("_")
    return f"{kind}_{secret[:_HINT_CHARACTERS]}"


def key_digest(text: str) -> bytes:
    """Return what is stored of a key: the 32 bytes of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
