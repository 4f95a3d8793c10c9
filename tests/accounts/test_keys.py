"""Keys, ids and passwords."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from footfall.accounts.keys import (
    is_application_key,
    is_id,
    key_digest,
    key_hint,
    key_kind,
    make_application_key,
    make_id,
    make_key,
    make_workspace_key,
)
from footfall.accounts.model import KeyKind
from footfall.accounts.passwords import hash_password, verify_password


@pytest.mark.parametrize("kind", KeyKind)
def test_api_key(kind: KeyKind) -> None:
    keys = {make_key(kind) for _ in range(500)}
    assert len(keys) == 500
    for key in keys:
        assert key.startswith(f"{kind.value}_")
        assert len(base64.urlsafe_b64decode(key.removeprefix(f"{kind.value}_"))) * 8 >= 128
        assert key_kind(key) is kind
        # A secret may itself hold underscores.
        assert key_hint(key) == key[: len(kind.value) + 5]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nm_",
        "nm_short",
        "NM_" + "a" * 32,
        "xx_" + "a" * 32,
        "nm" + "a" * 32,
        " nm_" + "a" * 32,
        "nm_" + "a" * 32 + "\n",
        "nm_" + "a" * 31 + "ä",
        "nm_" + "a" * 31 + "/",
        "nm_" + "a" * 100_000,
    ],
)
def test_what_is_no_api_key(text: str) -> None:
    assert key_kind(text) is None


def test_application_key_is_base64_in_whole_groups() -> None:
    keys = {make_application_key() for _ in range(500)}
    assert len(keys) == 500
    for key in keys:
        assert len(key) % 4 == 0
        assert len(base64.b64decode(key, validate=True)) == 24
        assert is_application_key(key)


@pytest.mark.parametrize(
    "text", ["", "abc", "a" * 15, "a" * 16 + "\n", "a" * 31 + "-", "a" * 4096, "=" * 16]
)
def test_what_is_no_application_key(text: str) -> None:
    assert not is_application_key(text)


def test_ids_and_workspace_keys_are_unique() -> None:
    ids = {make_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(re.fullmatch(r"[a-z2-7]{16}", id_) and is_id(id_) for id_ in ids)
    keys = {make_workspace_key() for _ in range(500)}
    assert len(keys) == 500
    assert {len(base64.urlsafe_b64decode(key)) for key in keys} == {24}


@pytest.mark.parametrize(
    "text", ["", "a" * 11, "a" * 33, "A" * 16, "a" * 15 + "1", "a" * 16 + "\n"]
)
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)


def test_digest_is_sha256() -> None:
    assert key_digest("nm_ä") == hashlib.sha256("nm_ä".encode()).digest()
    assert len(key_digest("\udc80")) == 32


def test_password() -> None:
    stored = hash_password("correct horse")
    assert verify_password("correct horse", stored)
    assert not verify_password("correct horsf", stored)
    assert not verify_password("", stored)
    assert "correct" not in stored
    assert hash_password("correct horse") != stored


def test_password_does_not_depend_on_how_a_keyboard_composes() -> None:
    assert verify_password("caf\N{LATIN SMALL LETTER E WITH ACUTE}!", hash_password("cafe\u0301!"))


def test_password_of_an_earlier_cost_is_still_verified() -> None:
    digest = hashlib.scrypt(b"old one", salt=b"0123456789abcdef", n=16, r=8, p=1, dklen=32)
    parts = [base64.b64encode(part).decode() for part in (b"0123456789abcdef", digest)]
    stored = f"$scrypt$ln=4,r=8,p=1${parts[0]}${parts[1]}"
    assert verify_password("old one", stored)
    assert not verify_password("new one", stored)


@pytest.mark.parametrize(
    "stored", ["", "x", "$scrypt$ln=4,r=8,p=1$=$=", "$argon2id$v=19$m=1,t=1,p=1$YQ$YQ"]
)
def test_text_that_is_no_password_hash_verifies_nothing(stored: str) -> None:
    assert not verify_password("", stored)
