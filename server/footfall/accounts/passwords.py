"""Password hashes.

scrypt of the standard library, not Argon2: it is memory-hard as well, OWASP lists both, and it
brings no dependency that has to be compiled and kept up to date. The cost is in the stored text,
so that it can rise later without a migration.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata

#: OWASP's parameters of 32 MiB: N = 2^15, r = 8, p = 3.
_LOG2_N = 15
_R = 8
_P = 3
_SALT_BYTES = 16
_HASH_BYTES = 32
_STORED = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)"
)

PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 1024


def hash_password(password: str) -> str:
    """Return the text to store for a password; takes about 0.2 s and 32 MiB."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return _stored(salt, _scrypt(password, salt, _LOG2_N, _R, _P))


def unmatched_hash() -> str:
    """Return a stored text like those of `hash_password`, at no cost, which no password matches."""
    return _stored(secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_HASH_BYTES))


def verify_password(password: str, stored: str) -> bool:
    """Return whether `password` is the one that `stored` was made from, in constant time; False
    if `stored` is not a text that `hash_password` made.
    """
    match = _STORED.fullmatch(stored)
    if match is None:
        return False
    try:
        salt = base64.b64decode(match[4], validate=True)
        expected = base64.b64decode(match[5], validate=True)
    except binascii.Error:
        return False
    actual = _scrypt(password, salt, int(match[1]), int(match[2]), int(match[3]))
    return hmac.compare_digest(actual, expected)


def _scrypt(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        # Keyboards and systems differ in how they compose a character.
        unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << log2_n,
        r=r,
        p=p,
        # OpenSSL's own limit is just below what these parameters need.
        maxmem=128 * r * ((1 << log2_n) + p + 2) + (1 << 20),
        dklen=_HASH_BYTES,
    )


def _stored(salt: bytes, digest: bytes) -> str:
    return f"$scrypt$ln={_LOG2_N},r={_R},p={_P}${_base64(salt)}${_base64(digest)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
