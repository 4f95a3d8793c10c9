"""Who is calling, on a real store that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from footfall.accounts.management import AccountManager, NewApplication, NewKey
from footfall.accounts.model import ApplicationAccess, KeyKind, Scope, Site
from footfall.accounts.ports import AccountStore
from footfall.accounts.service import Authenticator, require_scope
from footfall.accounts.sql import open_account_store
from footfall.errors import (
    FootfallError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from tests.accounts.values import api_key


class Counting:
    """A store that counts the calls of each method, and fails while it is told to."""

    def __init__(self, store: AccountStore) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.down = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            if self.down:
                raise UnavailableError("The accounts store does not answer.")
            return method(*args, **kwargs)

        return call


@dataclass
class World:
    store: Counting
    manager: AccountManager
    site: Site
    other_site: Site
    key: NewKey
    application: NewApplication
    authenticator: Authenticator
    #: What the clocks show, in seconds.
    now: list[float] = field(default_factory=lambda: [1000.0])

    def later(self, seconds: float) -> None:
        self.now[0] += seconds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    store = open_account_store(f"sqlite:///{tmp_path}/accounts.sqlite")
    yield Counting(store)
    store.close()


@pytest.fixture
async def world(store: Counting) -> AsyncIterator[World]:
    manager = AccountManager(store)
    manager.create_account("News", "free")
    site = manager.create_site("News", "a.example", "UTC", public=False)
    other = manager.create_site("News", "b.example", "UTC", public=True)
    key = manager.create_key("News", kind=KeyKind.NM, site_ids=[site.id], scopes=[Scope.READ])
    application = manager.create_application("News", "api")
    now = [1000.0]
    authenticator = Authenticator(store, ttl_s=0.5, clock=lambda: now[0], wall_clock=lambda: now[0])
    store.calls.clear()
    yield World(store, manager, site, other, key, application, authenticator, now)
    authenticator.close()


async def refusal(awaitable: Any) -> FootfallError:
    with pytest.raises(FootfallError) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER   {} ", "\tBearer {}"])
async def test_bearer(world: World, header: str) -> None:
    found = await world.authenticator.authenticate_bearer(header.format(world.key.text))
    assert found == world.key.key


@pytest.mark.parametrize("header", [None, "", "  "])
async def test_missing_token(world: World, header: str | None) -> None:
    error = await refusal(world.authenticator.authenticate_bearer(header))
    assert isinstance(error, UnauthenticatedError)
    assert (error.reason, error.message) == (
        "MISSING_TOKEN",
        "The Authorization header is missing.",
    )
    assert not world.store.calls


@pytest.mark.parametrize(
    ("header", "lookups"),
    [
        ("Bearer", 0),
        ("Bearer ", 0),
        ("Bearer nm_", 0),
        ("Bearer nm_YOUR_KEY", 0),
        ("Basic bm1fOng=", 0),
        ("{key}", 0),
        ("Basic {key}", 0),
        ("Bearer {key} {key}", 0),
        ("Bearer {key}\0", 0),
        ("Bearer \udc80", 0),
        ("Bearer " + "x" * 100_000, 0),
        ("Bearer {key}x", 1),
        ("Bearer nm_" + "A" * 32, 1),
        ("Bearer dbdy_" + "A" * 32, 1),
    ],
)
async def test_invalid_token(world: World, header: str, lookups: int) -> None:
    header = header.replace("{key}", world.key.text)
    error = await refusal(world.authenticator.authenticate_bearer(header))
    assert isinstance(error, UnauthenticatedError)
    assert (error.reason, error.message) == (
        "INVALID_TOKEN",
        "Bearer token is invalid or revoked.",
    )
    assert world.store.calls["find_key"] == lookups


async def test_revocation_holds_when_the_remembered_answer_ends(world: World) -> None:
    bearer = f"Bearer {world.key.text}"
    await world.authenticator.authenticate_bearer(bearer)
    world.manager._store.revoke_key(world.key.key.id)
    world.later(0.49)
    await world.authenticator.authenticate_bearer(bearer)
    world.later(0.01)
    error = await refusal(world.authenticator.authenticate_bearer(bearer))
    assert error.reason == "INVALID_TOKEN"


async def test_revocation_holds_within_a_second_by_the_real_clock(store: Counting) -> None:
    manager = AccountManager(store)
    manager.create_account("News", "free")
    key = manager.create_key("News", kind=KeyKind.NM, site_ids=[], scopes=[Scope.ADMIN])
    authenticator = Authenticator(store)
    await authenticator.authenticate_bearer(f"Bearer {key.text}")
    store.revoke_key(key.key.id)
    await asyncio.sleep(1)
    error = await refusal(authenticator.authenticate_bearer(f"Bearer {key.text}"))
    assert error.reason == "INVALID_TOKEN"
    authenticator.close()


async def test_expiry_holds_at_once(world: World) -> None:
    made = world.manager.create_key(
        "News", kind=KeyKind.NM, site_ids=[], scopes=[Scope.ADMIN], expires_at=1000.25
    )
    await world.authenticator.authenticate_bearer(f"Bearer {made.text}")
    world.later(0.25)
    error = await refusal(world.authenticator.authenticate_bearer(f"Bearer {made.text}"))
    assert error.reason == "INVALID_TOKEN"
    assert world.store.calls["find_key"] == 1


async def test_authorized_site(world: World) -> None:
    authorize = world.authenticator.authorize_site
    assert await authorize(world.key.key, world.site.id, Scope.READ) == world.site


@pytest.mark.parametrize("site", ["other", "no_such_site_id", "aaaaaaaaaaaaaaaa", "a\0", "*"])
async def test_site_not_authorized_says_the_same_whether_it_exists(world: World, site: str) -> None:
    site_id = world.other_site.id if site == "other" else site
    error = await refusal(world.authenticator.authorize_site(world.key.key, site_id, Scope.READ))
    assert isinstance(error, ForbiddenError)
    assert (error.reason, error.message, error.metadata) == (
        "SITE_NOT_AUTHORIZED",
        "The API key has no access to this site.",
        {},
    )
    assert not world.store.calls


async def test_key_of_no_site_may_read_none(world: World) -> None:
    made = world.manager.create_key("News", kind=KeyKind.NM, site_ids=[], scopes=[Scope.ADMIN])
    authorize = world.authenticator.authorize_site
    for site in (world.site, world.other_site):
        assert (await refusal(authorize(made.key, site.id, Scope.ADMIN))).reason == (
            "SITE_NOT_AUTHORIZED"
        )


async def test_site_required(world: World) -> None:
    for call in (
        world.authenticator.authorize_site(world.key.key, "", Scope.READ),
        world.authenticator.site_for_browser(""),
    ):
        error = await refusal(call)
        assert isinstance(error, InvalidInputError)
        assert (error.reason, error.message) == (
            "SITE_REQUIRED",
            "The site query parameter is missing.",
        )


async def test_scope_required_comes_after_the_site(world: World) -> None:
    authorize = world.authenticator.authorize_site
    error = await refusal(authorize(world.key.key, world.site.id, Scope.WRITE))
    assert isinstance(error, ForbiddenError)
    assert (error.reason, error.metadata) == ("SCOPE_REQUIRED", {"scope": "write"})
    error = await refusal(authorize(world.key.key, world.other_site.id, Scope.WRITE))
    assert error.reason == "SITE_NOT_AUTHORIZED"


def test_admin_scope_is_not_implied() -> None:
    require_scope(api_key(Scope.ADMIN), Scope.ADMIN)
    for scopes in ((), (Scope.READ,), (Scope.READ, Scope.WRITE)):
        with pytest.raises(ForbiddenError, match="admin scope"):
            require_scope(api_key(*scopes), Scope.ADMIN)


async def test_any_site_takes_browser_events(world: World) -> None:
    for site in (world.site, world.other_site):
        assert await world.authenticator.site_for_browser(site.id) == site


@pytest.mark.parametrize("site_id", ["a" * 16, "A", "\0", "x" * 10_000])
async def test_browser_events_of_an_unknown_site(world: World, site_id: str) -> None:
    error = await refusal(world.authenticator.site_for_browser(site_id))
    assert isinstance(error, NotFoundError)
    assert error.reason == "NOT_FOUND"


async def test_application(world: World) -> None:
    authenticate = world.authenticator.authenticate_application
    made = world.application
    id_ = made.application.id
    read, write = ApplicationAccess.READ, ApplicationAccess.WRITE
    assert await authenticate(id_, made.read_key, read) == made.application
    assert await authenticate(id_, made.write_key, write) == made.application
    error = await refusal(authenticate(id_, made.read_key, write))
    assert isinstance(error, ForbiddenError)
    assert error.reason == "WRITE_KEY_REQUIRED"
    error = await refusal(authenticate(id_, made.write_key, read))
    assert isinstance(error, ForbiddenError)
    assert error.reason == "READ_KEY_REQUIRED"


async def test_application_with_missing_or_wrong_credentials(world: World) -> None:
    authenticate = world.authenticator.authenticate_application
    made = world.application
    other = world.manager.create_application("News", "other")
    id_, key = made.application.id, made.read_key
    for missing in ((None, None), (id_, None), (None, key), (id_, ""), ("", key)):
        error = await refusal(authenticate(*missing, ApplicationAccess.READ))
        assert isinstance(error, UnauthenticatedError)
        assert error.reason == "MISSING_CREDENTIALS"
    texts = set()
    for wrong in (
        (id_, "x"),
        (id_, key[:-1]),
        (id_, other.read_key),
        (other.application.id, key),
        ("a" * 16, key),
        ("\0", key),
        (id_.upper(), key),
    ):
        error = await refusal(authenticate(*wrong, ApplicationAccess.READ))
        assert isinstance(error, UnauthenticatedError)
        assert error.reason == "INVALID_CREDENTIALS"
        texts.add(error.message)
    assert len(texts) == 1


async def test_workspace(world: World) -> None:
    made = world.manager.create_workspace("News", "desk")
    for header in (made.api_key, f" {made.api_key}\t"):
        assert await world.authenticator.authenticate_workspace(header) == made.workspace
    assert world.store.calls["find_workspace"] == 1
    # A plan that is changed holds as soon as the remembered answer ends.
    plan = world.store.update_plan("free", {"workspace_requests_per_second": 50})
    world.later(0.5)
    found = await world.authenticator.authenticate_workspace(made.api_key)
    assert found.plan == plan


@pytest.mark.parametrize("header", [None, "", " \t"])
async def test_workspace_without_a_key(world: World, header: str | None) -> None:
    error = await refusal(world.authenticator.authenticate_workspace(header))
    assert isinstance(error, UnauthenticatedError)
    assert (error.reason, error.message) == ("MISSING_API_KEY", "The X-API-Key header is missing.")


@pytest.mark.parametrize(
    ("header", "lookups"),
    [
        ("x", 0),
        ("Bearer {key}", 0),
        ("{key}/", 0),
        ("{key}\0", 0),
        ("\udc80" * 32, 0),
        ("x" * 100_000, 0),
        ("{key}x", 1),
        ("A" * 32, 1),
        ("{bearer}", 1),
    ],
)
async def test_workspace_with_a_wrong_key(world: World, header: str, lookups: int) -> None:
    made = world.manager.create_workspace("News", "desk")
    header = header.format(key=made.api_key, bearer=world.key.text)
    error = await refusal(world.authenticator.authenticate_workspace(header))
    assert isinstance(error, UnauthenticatedError)
    assert (error.reason, error.message) == ("INVALID_API_KEY", "The API key is invalid.")
    assert world.store.calls["find_workspace"] == lookups


async def test_calls_share_a_lookup_and_remember_it(world: World) -> None:
    calls = world.store.calls
    made = world.application
    bearer = f"Bearer {world.key.text}"

    async def call() -> None:
        await world.authenticator.authenticate_bearer(bearer)
        await world.authenticator.authorize_site(world.key.key, world.site.id, Scope.READ)
        await world.authenticator.authenticate_application(
            made.application.id, made.read_key, ApplicationAccess.READ
        )

    await asyncio.gather(*(call() for _ in range(64)))
    await call()
    assert calls == {"find_key": 1, "get_site": 1, "find_application": 1}
    world.later(0.5)
    await call()
    assert calls == {"find_key": 2, "get_site": 2, "find_application": 2}


async def test_remembered_answer_suspends_nobody(world: World) -> None:
    bearer = f"Bearer {world.key.text}"
    await world.authenticator.authenticate_bearer(bearer)
    coroutine = world.authenticator.authenticate_bearer(bearer)
    # The first step is the last.
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    assert caught.value.value == world.key.key


async def test_unavailable_store_is_said_and_not_remembered(world: World) -> None:
    bearer = f"Bearer {world.key.text}"
    world.store.down = True
    for _ in range(2):
        error = await refusal(world.authenticator.authenticate_bearer(bearer))
        assert isinstance(error, UnavailableError)
    assert world.store.calls["find_key"] == 2
    world.store.down = False
    assert await world.authenticator.authenticate_bearer(bearer) == world.key.key
