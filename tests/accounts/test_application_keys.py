"""Temporary keys of applications, on every engine."""

from __future__ import annotations

import time

import pytest

from footfall.accounts.model import ApplicationAccess, ApplicationGrant
from footfall.accounts.ports import AccountStore
from footfall.errors import NotFoundError

WRITE, READ = ApplicationAccess.WRITE, ApplicationAccess.READ


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def test_holds_for_its_application_until_it_is_deleted(store: AccountStore) -> None:
    store.create_account("News", "free")
    first = store.create_application("News", "one", digest(1), digest(2))
    second = store.create_application("News", "two", digest(3), digest(4))
    store.create_application_key(first.id, digest(5), WRITE, time.time() + 3600)
    store.create_application_key(first.id, digest(6), READ, time.time() + 3600)
    assert store.find_application(first.id, digest(5)) == ApplicationGrant(first, WRITE)
    assert store.find_application(first.id, digest(6)) == ApplicationGrant(first, READ)
    assert store.find_application(second.id, digest(5)) is None
    assert store.find_application(first.id, digest(1)) == ApplicationGrant(first, WRITE)
    store.delete_application_key(digest(5))
    store.delete_application_key(digest(5))
    assert store.find_application(first.id, digest(5)) is None
    assert store.find_application(first.id, digest(6)) == ApplicationGrant(first, READ)


def test_does_not_hold_when_it_has_expired(store: AccountStore) -> None:
    store.create_account("News", "free")
    application = store.create_application("News", "one", digest(1), digest(2))
    store.create_application_key(application.id, digest(5), WRITE, time.time() - 0.001)
    assert store.find_application(application.id, digest(5)) is None
    # Nor is it kept: the next one finds its place free.
    store.create_application_key(application.id, digest(5), READ, time.time() + 3600)
    assert store.find_application(application.id, digest(5)) == ApplicationGrant(application, READ)


@pytest.mark.parametrize("application_id", ["aaaaaaaaaaaaaaaa", "", "a\0", "\ud800"])
def test_needs_an_application(store: AccountStore, application_id: str) -> None:
    with pytest.raises(NotFoundError):
        store.create_application_key(application_id, digest(5), WRITE, time.time() + 3600)
