"""Signing in and out, on a real accounts store and a real Valkey."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import unicodedata
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from footfall.accounts import passwords
from footfall.accounts import sessions as sessions_module
from footfall.accounts.keys import key_digest
from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Role, Scope, User
from footfall.accounts.ports import AccountStore
from footfall.accounts.sessions import NewSession, Session, Sessions, require_admin
from footfall.accounts.sql import open_account_store
from footfall.errors import (
    FootfallError,
    ForbiddenError,
    InvalidInputError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from footfall.live.connection import RedisConnection
from footfall.live.sessions import RedisSessionStore
from tests.accounts.test_service import Counting
from tests.accounts.values import cheap_hash
from tests.live.conftest import Valkey

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="ffv") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    store = open_account_store(f"sqlite:///{tmp_path}/accounts.sqlite")
    yield Counting(store)
    store.close()


@dataclass
class World:
    store: Counting
    sessions: Sessions
    ada: User
    redis: Any
    #: What the clock shows that look-ups are remembered by, in seconds.
    now: list[float] = field(default_factory=lambda: [1000.0])

    async def login(self) -> NewSession:
        return await self.sessions.login("ada@example.com", PASSWORD)

    async def session(self) -> Session:
        return await self.sessions.authenticate((await self.login()).id)


@pytest.fixture
async def world(store: Counting, valkey: Valkey) -> AsyncIterator[World]:
    store.create_account("News", "free")
    ada = store.create_user("News", "ada@example.com", cheap_hash(PASSWORD), Role.ADMIN)
    connection = RedisConnection(valkey.url)
    now = [1000.0]
    sessions = Sessions(
        store,  # type: ignore[arg-type]  # it forwards everything
        RedisSessionStore(connection),
        ttl_s=0.5,
        clock=lambda: now[0],
    )
    with valkey.client() as redis:
        redis.flushall()
        yield World(store, sessions, ada, redis, now)
    sessions.close()
    await connection.aclose()


async def refusal(awaitable: Any) -> FootfallError:
    with pytest.raises(FootfallError) as caught:
        await awaitable
    return caught.value


async def test_a_login_begins_a_session(world: World) -> None:
    made = await world.login()
    assert len(made.id) == 43
    assert made.user == world.ada
    session = await world.sessions.authenticate(made.id)
    assert (session.user, session.site_id) == (world.ada, "")
    again = await world.login()
    assert again.id != made.id
    assert (await world.sessions.authenticate(made.id)).user == world.ada


async def test_neither_ids_nor_passwords_are_stored(world: World) -> None:
    made = await world.login()
    stored = [
        text for key in world.redis.keys("*") for text in (key, *world.redis.hgetall(key).values())
    ]
    assert any(key_digest(made.id).hex().encode() in text for text in stored)
    login = world.store.get_login(world.ada.id)
    secrets = (made.id, PASSWORD, login.password_hash)
    assert not [text for text in stored for secret in secrets if secret.encode() in text]
    # Nor do values show them that may end up in a log.
    session = await world.sessions.authenticate(made.id)
    assert made.id not in repr(made) + repr(session)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.com", "wrong horse"),
        ("ada@example.com", PASSWORD + " "),
        ("ada@example.com", PASSWORD.upper()),
        ("ada@example.com", "x"),
        ("bob@example.com", PASSWORD),
        ("ada", PASSWORD),
        ("@", PASSWORD),
        ("ada@example.com'; --", PASSWORD),
        ("\udc00@example.com", "\udc00\udc00\udc00\udc00"),
    ],
)
async def test_strangers_and_wrong_passwords_are_refused_alike(
    world: World, email: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def verify(password: str, stored: str) -> bool:
        hashed.append(stored)
        return passwords.verify_password(password, stored)

    monkeypatch.setattr(sessions_module, "verify_password", verify)
    error = await refusal(world.sessions.login(email, password))
    assert isinstance(error, UnauthenticatedError)
    assert (error.reason, error.message) == (
        "INVALID_LOGIN",
        "The e-mail address or the password is wrong.",
    )
    # All are made to wait for one hash, and strangers for one at the price of today's.
    assert len(hashed) == 1
    if not email.startswith("ada@") or "'" in email:
        assert hashed[0].startswith("$scrypt$ln=15,r=8,p=3$")
    assert not world.redis.keys("*")


@pytest.mark.parametrize(
    ("email", "password"),
    [("ada@example.com", PASSWORD * 1_000_000), ("ada@" + "x" * 10_000_000, PASSWORD)],
)
async def test_what_nobody_has_is_refused_unhashed(
    world: World, email: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "verify_password", lambda *_: pytest.fail("hashed"))
    error = await refusal(world.sessions.login(email, password))
    assert (type(error), error.reason) == (UnauthenticatedError, "INVALID_LOGIN")


@pytest.mark.parametrize(
    ("email", "password", "fields"),
    [
        ("", PASSWORD, ["email"]),
        ("ada@example.com", "", ["password"]),
        ("", "", ["email", "password"]),
    ],
)
async def test_what_is_missing_is_named(
    world: World, email: str, password: str, fields: list[str]
) -> None:
    error = await refusal(world.sessions.login(email, password))
    assert isinstance(error, InvalidInputError)
    assert [violation.field for violation in error.violations] == fields
    assert not world.store.calls["find_login"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_unicode_is_what_people_mean_by_it(world: World, form: Any) -> None:
    password = "Zürich – 東京 🚲 naïve"
    world.store.create_user("News", "jürg@xn--bcher-kva.example", cheap_hash(password), Role.MEMBER)
    made = await world.sessions.login(
        unicodedata.normalize(form, " JÜRG@Bücher.example "), unicodedata.normalize(form, password)
    )
    assert made.user.email == "jürg@xn--bcher-kva.example"


async def test_missing_and_unknown_sessions(world: World) -> None:
    error = await refusal(world.sessions.authenticate(None))
    assert (type(error), error.reason) == (UnauthenticatedError, "MISSING_TOKEN")
    made = await world.login()
    for text in ("", "x", "ü" * 43, made.id + "A", made.id[:-1], made.id.swapcase(), "A" * 10**6):
        error = await refusal(world.sessions.authenticate(text))
        assert (type(error), error.reason) == (UnauthenticatedError, "INVALID_TOKEN")


async def test_a_new_password_ends_the_sessions(world: World) -> None:
    made, other = await world.login(), await world.login()
    await world.sessions.authenticate(made.id)
    world.store.update_user("News", world.ada.id, password_hash=cheap_hash("new password"))
    # What is remembered holds for half a second, and no longer.
    await world.sessions.authenticate(made.id)
    world.now[0] += 0.5
    for session in (made, other):
        error = await refusal(world.sessions.authenticate(session.id))
        assert error.reason == "INVALID_TOKEN"
    assert not world.redis.keys("*")
    assert (await refusal(world.login())).reason == "INVALID_LOGIN"


async def test_the_new_password_works_at_once(world: World) -> None:
    made = await world.login()
    await world.sessions.authenticate(made.id)
    world.store.update_user("News", world.ada.id, password_hash=cheap_hash("new password"))
    fresh = await world.sessions.login("ada@example.com", "new password")
    # The old password's hash is still remembered here.
    assert (await world.sessions.authenticate(fresh.id)).user == world.ada
    assert (await world.sessions.refresh(fresh.id)).user == world.ada


async def test_roles_are_those_of_now(world: World) -> None:
    world.store.create_user("News", "eve@example.com", cheap_hash(PASSWORD), Role.ADMIN)
    made = await world.login()
    require_admin(await world.sessions.authenticate(made.id))
    world.store.update_user("News", world.ada.id, role=Role.MEMBER)
    world.now[0] += 0.5
    with pytest.raises(ForbiddenError) as caught:
        require_admin(await world.sessions.authenticate(made.id))
    assert caught.value.reason == "ADMIN_REQUIRED"
    world.store.update_user("News", world.ada.id, role=Role.ADMIN)
    world.now[0] += 0.5
    require_admin(await world.sessions.authenticate(made.id))


async def test_a_removed_user_has_no_session(world: World) -> None:
    world.store.create_user("News", "eve@example.com", cheap_hash(PASSWORD), Role.ADMIN)
    made = await world.login()
    await world.sessions.authenticate(made.id)
    world.store.delete_user("News", world.ada.id)
    world.now[0] += 0.5
    assert (await refusal(world.sessions.authenticate(made.id))).reason == "INVALID_TOKEN"
    assert (await refusal(world.sessions.refresh(made.id))).reason == "INVALID_TOKEN"
    assert not world.redis.keys("*")


async def test_a_busy_session_asks_the_accounts_store_twice_a_second(world: World) -> None:
    made = await world.login()
    for _ in range(10):
        await world.sessions.authenticate(made.id)
    assert world.store.calls["get_login"] == 1
    world.now[0] += 0.5
    await world.sessions.authenticate(made.id)
    assert world.store.calls["get_login"] == 2


async def test_refreshing_replaces_the_id(world: World) -> None:
    site = AccountManager(world.store).create_site("News", "a.example", "UTC", public=False)  # type: ignore[arg-type]  # it forwards everything
    AccountManager(world.store).create_site("News", "0.example", "UTC", public=False)  # type: ignore[arg-type]  # it forwards everything
    made = await world.login()
    await world.sessions.select(await world.sessions.authenticate(made.id), site.id)
    fresh = await world.sessions.refresh(made.id)
    assert fresh.id != made.id
    assert fresh.user == world.ada
    assert (await world.sessions.authenticate(fresh.id)).site_id == site.id
    for call in (world.sessions.authenticate(made.id), world.sessions.refresh(made.id)):
        assert (await refusal(call)).reason == "INVALID_TOKEN"
    assert (await refusal(world.sessions.refresh(None))).reason == "MISSING_TOKEN"


async def test_of_those_who_refresh_at_once_one_gets_the_session(world: World) -> None:
    made = await world.login()
    results = await asyncio.gather(
        *(world.sessions.refresh(made.id) for _ in range(8)), return_exceptions=True
    )
    good = [result for result in results if isinstance(result, NewSession)]
    assert len(good) == 1
    bad = [result for result in results if isinstance(result, UnauthenticatedError)]
    assert [error.reason for error in bad] == ["INVALID_TOKEN"] * 7
    assert (await world.sessions.authenticate(good[0].id)).user == world.ada
    assert len(world.redis.keys("*")) == 1


async def test_logging_out_ends_one_session(world: World) -> None:
    made, other = await world.login(), await world.login()
    for _ in range(2):
        await world.sessions.logout(made.id)
        assert (await refusal(world.sessions.authenticate(made.id))).reason == "INVALID_TOKEN"
    for text in (None, "", "nonsense", "ü"):
        await world.sessions.logout(text)
    assert (await world.sessions.authenticate(other.id)).user == world.ada


async def test_what_callers_see(world: World) -> None:
    store: AccountStore = world.store  # type: ignore[assignment]  # it forwards everything
    manager = AccountManager(store)
    session = await world.session()
    nothing = await world.sessions.sites_of(session)
    assert (nothing.sites, nothing.current) == ((), "")

    sites = [manager.create_site("News", f"{name}.example", "UTC", public=False) for name in "cab"]
    manager.create_account("Other", "free")
    foreign = manager.create_site("Other", "0.example", "UTC", public=True)
    world.now[0] += 0.5
    by_host = (sites[1], sites[2], sites[0])
    seen = await world.sessions.sites_of(session)
    assert (seen.sites, seen.current) == (by_host, sites[1].id)

    selected = await world.sessions.select(session, sites[0].id)
    assert (selected.sites, selected.current) == (by_host, sites[0].id)
    # The caller's value is of before; the next call's is not.
    stored = world.redis.hget(f"ff:session1:{session.digest.hex()}", "site")
    assert stored == sites[0].id.encode()

    refusals = [
        await refusal(world.sessions.select(session, site_id))
        for site_id in (foreign.id, "a" * 16, " ", "x" * 10_000, "ü")
    ]
    assert {(type(error), error.reason, error.message) for error in refusals} == {
        (ForbiddenError, "SITE_NOT_AUTHORIZED", "The user has no access to this site.")
    }
    error = await refusal(world.sessions.select(session, ""))
    assert (type(error), error.reason) == (InvalidInputError, "SITE_REQUIRED")
    assert world.redis.hget(f"ff:session1:{session.digest.hex()}", "site") == stored

    some = manager.create_key(
        "News", kind=KeyKind.NM, site_ids=[sites[0].id, sites[2].id], scopes=[Scope.READ]
    )
    none = manager.create_key("News", kind=KeyKind.DBDY, site_ids=[], scopes=[Scope.ADMIN])
    seen = await world.sessions.sites_of(some.key)
    assert (seen.sites, seen.current) == ((sites[2], sites[0]), sites[2].id)
    seen = await world.sessions.sites_of(none.key)
    assert (seen.sites, seen.current) == ((), "")


async def test_a_session_that_ends_meanwhile_selects_nothing(world: World) -> None:
    manager = AccountManager(world.store)  # type: ignore[arg-type]  # it forwards everything
    site = manager.create_site("News", "a.example", "UTC", public=False)
    session = await world.session()
    world.redis.flushall()
    error = await refusal(world.sessions.select(session, site.id))
    assert (type(error), error.reason) == (UnauthenticatedError, "INVALID_TOKEN")
    assert not world.redis.keys("*")


async def test_logins_that_wait_are_bounded_and_hold_up_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await world.login()
    go_on = threading.Event()

    def verify(password: str, stored: str) -> bool:
        assert go_on.wait(20)
        return passwords.verify_password(password, stored)

    monkeypatch.setattr(sessions_module, "verify_password", verify)
    waiting = [asyncio.ensure_future(world.login()) for _ in range(64)]
    await asyncio.sleep(0)
    error = await refusal(world.login())
    assert isinstance(error, OverloadedError)
    # One who gives up makes room for another.
    waiting.pop().cancel()
    await asyncio.sleep(0)
    waiting.append(asyncio.ensure_future(world.login()))
    await asyncio.sleep(0)
    assert (await world.sessions.authenticate(made.id)).user == world.ada
    go_on.set()
    assert {session.user for session in await asyncio.gather(*waiting)} == {world.ada}


async def test_without_the_accounts_store_nobody_is_signed_out(world: World) -> None:
    made = await world.login()
    world.store.down = True
    for call in (world.login(), world.sessions.authenticate(made.id)):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.reason == "UNAVAILABLE"
    world.store.down = False
    assert (await world.sessions.authenticate(made.id)).user == world.ada
