"""People, signing in and out on a real channel, and what their sessions are good for."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest

from footfall.accounts.keys import key_digest
from footfall.accounts.model import KeyKind, Role, Scope, Site, User
from footfall.rpc.services import methods
from footfall.settings import Settings
from footfall.v1 import accounts_pb2, sessions_pb2_grpc
from footfall.v1 import sessions_pb2 as pb
from tests.accounts.values import cheap_hash
from tests.live.conftest import Valkey
from tests.rpc.conftest import Metadata, Refusal, Service, refused, serving
from tests.rpc.test_server import Child, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PASSWORD = "correct horse – Zürich 東京"
DAY_S = 86_400
_numbers = itertools.count(1)


def client() -> Metadata:
    """Metadata of a client address that no other test has."""
    number = next(_numbers)
    return (("x-forwarded-for", f"198.51.{number // 256}.{number % 256}"),)


def cookie(text: str) -> Metadata:
    return (("cookie", f"footfall_session={text}"),)


@dataclass
class Person:
    service: Service
    user: User

    async def login(self, *metadata: tuple[str, str], password: str = PASSWORD) -> str:
        """Sign in from an address of one's own; return the session's id."""
        call = self.service.sessions.Login(
            pb.LoginRequest(email=self.user.email, password=password),
            metadata=(*client(), *metadata),
        )
        await call
        return id_of(dict(await call.trailing_metadata()))

    async def session(self) -> Metadata:
        return cookie(await self.login())


def key_of(service: Service, account: str, scope: Scope, *sites: Site) -> Metadata:
    made = service.manager.create_key(
        account, kind=KeyKind.NM, site_ids=[site.id for site in sites], scopes=[scope]
    )
    return (("authorization", f"Bearer {made.text}"),)


def id_of(metadata: Any) -> str:
    name, _, rest = metadata["set-cookie"].partition("=")
    assert name == "footfall_session"
    value, *attributes = rest.split("; ")
    *attributes, max_age = attributes
    assert attributes == ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]
    assert max_age.startswith("Max-Age=")
    assert metadata["cache-control"] == "no-store"
    return str(value)


def person(service: Service, role: Role = Role.MEMBER, account: str = "") -> Person:
    email = f"person-{next(_numbers)}@example.com"
    user = service.store.create_user(account or service.account, email, cheap_hash(PASSWORD), role)
    return Person(service, user)


@pytest.fixture
def account(service: Service) -> str:
    """An account that is the test's alone."""
    return service.manager.create_account(f"sessions-{next(_numbers)}", "free").id


async def me(service: Service, metadata: Metadata) -> pb.GetMeResponse:
    answer: pb.GetMeResponse = await service.sessions.GetMe(pb.GetMeRequest(), metadata=metadata)
    return answer


async def me_refused(service: Service, metadata: Metadata) -> Refusal:
    return await refused(service.sessions.GetMe(pb.GetMeRequest(), metadata=metadata))


def wrong(error: Refusal) -> tuple[str, grpc.StatusCode, int]:
    return error.reason, error.code, error.http


async def outcome(call: Any) -> Refusal | None:
    """How a call was refused, if it was."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return Refusal.of(error)
    return None


async def ended(service: Service, session: Metadata) -> bool:
    """Whether a session has ended; nothing else may be wrong with it."""
    error = await outcome(service.sessions.GetMe(pb.GetMeRequest(), metadata=session))
    assert error is None or wrong(error) == UNKNOWN
    return error is not None


UNKNOWN = ("INVALID_TOKEN", grpc.StatusCode.UNAUTHENTICATED, 401)
MISSING = ("MISSING_TOKEN", grpc.StatusCode.UNAUTHENTICATED, 401)


async def test_login_refresh_logout(service: Service, account: str) -> None:
    ada = person(service, Role.ADMIN, account)
    request = pb.LoginRequest(email=ada.user.email.upper(), password=PASSWORD)
    call = service.sessions.Login(request, metadata=client())
    answer = await call
    assert (answer.success, answer.user.id, answer.user.email, answer.user.role) == (
        True,
        ada.user.id,
        ada.user.email,
        "admin",
    )
    expires = dt.datetime.fromisoformat(answer.expires_at)
    assert expires.utcoffset() == dt.timedelta(0)
    assert abs(expires.timestamp() - time.time() - 7 * DAY_S) < 60
    trailing = dict(await call.trailing_metadata())
    first = id_of(trailing)
    assert len(first) == 43
    assert trailing["set-cookie"].endswith(f"; Max-Age={30 * DAY_S}")

    call = service.sessions.Refresh(pb.RefreshRequest(), metadata=(*client(), *cookie(first)))
    answer = await call
    assert (answer.success, answer.user.id) == (True, ada.user.id)
    assert dt.datetime.fromisoformat(answer.expires_at) >= expires
    second = id_of(dict(await call.trailing_metadata()))
    assert second != first
    assert wrong(await me_refused(service, cookie(first))) == UNKNOWN
    assert (await me(service, cookie(second))).authenticated

    for _ in range(2):
        call = service.sessions.Logout(pb.LogoutRequest(), metadata=(*client(), *cookie(second)))
        assert (await call).success
        trailing = dict(await call.trailing_metadata())
        assert id_of(trailing) == ""
        assert trailing["set-cookie"].endswith("; Max-Age=0")
    assert wrong(await me_refused(service, cookie(second))) == UNKNOWN
    assert (await service.sessions.Logout(pb.LogoutRequest(), metadata=client())).success


async def test_a_rest_caller_gets_the_cookie_with_the_headers(service: Service) -> None:
    ada = person(service)
    call = service.sessions.Login(
        pb.LoginRequest(email=ada.user.email, password=PASSWORD),
        metadata=(*client(), ("x-envoy-original-method", "POST")),
    )
    await call
    initial = dict(await call.initial_metadata())
    assert (await me(service, cookie(id_of(initial)))).authenticated
    call = service.sessions.GetMe(
        pb.GetMeRequest(),
        metadata=(*cookie(id_of(initial)), ("x-envoy-original-method", "GET")),
    )
    await call
    assert dict(await call.initial_metadata())["cache-control"] == "no-store"


async def test_who_may_not_sign_in(service: Service) -> None:
    ada = person(service)
    refusals = []
    for email, password in (
        (ada.user.email, "wrong"),
        (ada.user.email, PASSWORD * 10_000),
        ("nobody@example.com", PASSWORD),
        ("nobody", PASSWORD),
        ("x" * 100_000, "y" * 100_000),
    ):
        error = await refused(
            service.sessions.Login(
                pb.LoginRequest(email=email, password=password), metadata=client()
            )
        )
        assert wrong(error) == ("INVALID_LOGIN", grpc.StatusCode.UNAUTHENTICATED, 401)
        assert "set-cookie" not in error.trailing
        assert error.trailing["cache-control"] == "no-store"
        refusals.append(error)
    assert {error.message for error in refusals} == {"The e-mail address or the password is wrong."}
    error = await refused(service.sessions.Login(pb.LoginRequest(), metadata=client()))
    assert (error.reason, error.http) == ("INVALID_PARAMETER", 400)
    named = [violation.field for violation in error.details["BadRequest"].field_violations]
    assert named == ["email", "password"]


async def test_refreshing_at_once_has_one_winner(service: Service) -> None:
    session = await person(service).session()
    calls = [
        service.sessions.Refresh(pb.RefreshRequest(), metadata=(*client(), *session))
        for _ in range(6)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    winners = [
        call
        for call, result in zip(calls, results, strict=True)
        if isinstance(result, pb.RefreshResponse)
    ]
    assert len(winners) == 1
    losers = [Refusal.of(r) for r in results if isinstance(r, grpc.aio.AioRpcError)]
    assert [wrong(error) for error in losers] == [UNKNOWN] * 5
    # A browser that lost to its own other tab keeps the cookie that this one got.
    assert not [error for error in losers if "set-cookie" in error.trailing]
    assert await me(service, cookie(id_of(dict(await winners[0].trailing_metadata()))))
    for metadata, expected in ((session, UNKNOWN), ((), MISSING), (cookie("x"), UNKNOWN)):
        error = await refused(
            service.sessions.Refresh(pb.RefreshRequest(), metadata=(*client(), *metadata))
        )
        assert wrong(error) == expected


async def test_cookies_as_clients_send_them(service: Service) -> None:
    text = await person(service).login()
    other = "A" * 43
    good: tuple[tuple[str, ...], ...] = (
        (f"footfall_session={text}",),
        (f"a=b; footfall_session={text}; c=d",),
        (f"a=b;footfall_session={text};",),
        (f" ; ;=; x ; footfall_session = {text} ;==;",),
        (f"footfall_session=; footfall_session={text}",),
        (f"footfall_session={text}; footfall_session={other}",),
        (f"xfootfall_session={other}; Footfall_Session={other}; footfall_session={text}",),
        # HTTP/2 may send one header a cookie.
        ("a=b", f"footfall_session={text}", "c=d"),
        (f"footfall_session={text}", "a=b; c"),
    )
    for headers in good:
        metadata = tuple(("cookie", header) for header in headers)
        assert (await me(service, metadata)).authenticated, headers
    bad: tuple[tuple[str, tuple[str, grpc.StatusCode, int]], ...] = (
        (f"footfall_session={other}", UNKNOWN),
        (f"footfall_session={text}x", UNKNOWN),
        (f"footfall_session={text},a=b", UNKNOWN),
        (f"footfall_session={text} {text}", UNKNOWN),
        ("footfall_session=%00%ff", UNKNOWN),
        (f"footfall_session={'x' * 7000}", UNKNOWN),
        (f"footfall_session={other}; footfall_session={text}", UNKNOWN),
        ("footfall_session=", MISSING),
        ("footfall_session", MISSING),
        (f"session={text}", MISSING),
        (text, MISSING),
        (";;;===", MISSING),
        ("", MISSING),
    )
    for header, expected in bad:
        assert wrong(await me_refused(service, (("cookie", header),))) == expected, header


async def test_an_expired_session_is_an_unknown_one(service: Service, valkey: Valkey) -> None:
    text = await person(service).login()
    assert (await me(service, cookie(text))).authenticated
    with valkey.client() as redis:
        # A moment that has passed.
        assert redis.expireat(f"ff:session1:{key_digest(text).hex()}", 1)
    assert await ended(service, cookie(text))


async def test_what_people_and_keys_see(service: Service, account: str) -> None:
    ada = person(service, account=account)
    nobody = await me(service, await ada.session())
    assert (nobody.authenticated, nobody.current_tracker, len(nobody.trackers)) == (True, "", 0)

    account = service.manager.create_account(f"sessions-{next(_numbers)}", "free").id
    hosts = [f"{name}{next(_numbers)}.example.com" for name in "cab"]
    c, a, b = (service.manager.create_site(account, host, "UTC", public=False) for host in hosts)
    foreign = service.site()
    ada = person(service, account=account)
    session = await ada.session()
    seen = await me(service, session)
    assert [(t.tracker, t.host) for t in seen.trackers] == [(s.id, s.host) for s in (a, b, c)]
    assert seen.current_tracker == a.id

    selected = await service.sessions.SelectTracker(
        pb.SelectTrackerRequest(tracker=c.id), metadata=session
    )
    assert selected.current_tracker == c.id
    assert selected.trackers == seen.trackers
    assert (await me(service, session)).current_tracker == c.id
    # Of this session and its successors alone.
    assert (await me(service, await ada.session())).current_tracker == a.id
    call = service.sessions.Refresh(pb.RefreshRequest(), metadata=(*client(), *session))
    await call
    session = cookie(id_of(dict(await call.trailing_metadata())))
    assert (await me(service, session)).current_tracker == c.id

    refusals = [
        await refused(
            service.sessions.SelectTracker(
                pb.SelectTrackerRequest(tracker=tracker), metadata=session
            )
        )
        for tracker in (foreign.id, "a" * 16, " ", "ü" * 1000)
    ]
    assert {(*wrong(error), error.message) for error in refusals} == {
        (
            "SITE_NOT_AUTHORIZED",
            grpc.StatusCode.PERMISSION_DENIED,
            403,
            "The user has no access to this site.",
        )
    }
    unnamed = service.sessions.SelectTracker(pb.SelectTrackerRequest(), metadata=session)
    assert wrong(await refused(unnamed)) == (
        "SITE_REQUIRED",
        grpc.StatusCode.INVALID_ARGUMENT,
        400,
    )
    assert (await me(service, session)).current_tracker == c.id

    key = key_of(service, account, Scope.WRITE, c, b)
    empty = key_of(service, account, Scope.ADMIN)
    seen = await me(service, key)
    assert [t.tracker for t in seen.trackers] == [b.id, c.id]
    assert seen.current_tracker == b.id
    assert not (await me(service, empty)).trackers
    # A key wins over a cookie, and a bad one is an error whatever the cookie is.
    assert [t.tracker for t in (await me(service, (*key, *session))).trackers] == [b.id, c.id]
    for header in ("Bearer nm_wrong", "Basic abc", "Bearer"):
        error = await me_refused(service, (("authorization", header), *session))
        assert wrong(error) == UNKNOWN
        assert error.trailing["cache-control"] == "no-store"
    # An empty header is none.
    assert (await me(service, (("authorization", " "), *session))).current_tracker == c.id
    assert wrong(await me_refused(service, ())) == MISSING
    # Only a session selects.
    for metadata, expected in ((key, MISSING), ((), MISSING), (cookie("x"), UNKNOWN)):
        error = await refused(
            service.sessions.SelectTracker(pb.SelectTrackerRequest(tracker=b.id), metadata=metadata)
        )
        assert wrong(error) == expected


async def test_admins_manage_by_their_session(service: Service, account: str) -> None:
    admin = await person(service, Role.ADMIN, account).session()
    made = await service.accounts.CreateSite(
        accounts_pb2.CreateSiteRequest(host=f"s{next(_numbers)}.example.com"), metadata=admin
    )
    key = await service.accounts.CreateKey(
        accounts_pb2.CreateKeyRequest(sites=[made.id]), metadata=admin
    )
    shown = (("authorization", f"Bearer {key.key}"),)
    assert [t.tracker for t in (await me(service, shown)).trackers] == [made.id]
    listed = await service.accounts.ListKeys(accounts_pb2.ListKeysRequest(), metadata=admin)
    assert [item.id for item in listed.keys] == [key.id]
    call = service.accounts.RevokeKey(accounts_pb2.RevokeKeyRequest(id=key.id), metadata=admin)
    await call
    assert dict(await call.trailing_metadata())["cache-control"] == "no-store"
    # Another account's is like what does not exist.
    stranger = await person(service, Role.ADMIN).session()
    error = await refused(
        service.accounts.RevokeKey(accounts_pb2.RevokeKeyRequest(id=key.id), metadata=stranger)
    )
    assert (error.reason, error.http) == ("NOT_FOUND", 404)


async def test_members_read_and_do_not_manage(service: Service, account: str) -> None:
    member = await person(service, account=account).session()
    reads = {"ListSites", "ListMembers"}
    of_accounts = {
        path.rpartition("/")[2]: method
        for path, method in methods().items()
        if "AccountsService" in path
    }
    assert reads < set(of_accounts)
    for name, method in of_accounts.items():
        call = getattr(service.accounts, name)(method.request_type(), metadata=member)
        if name in reads:
            await call
            continue
        error = await refused(call)
        assert wrong(error) == ("ADMIN_REQUIRED", grpc.StatusCode.PERMISSION_DENIED, 403), name
    # A key needs the scope for all of them, whoever's cookie comes along.
    key = service.key([service.site()], Scope.READ, Scope.WRITE)
    admin = await person(service, Role.ADMIN, account).session()
    for name, method in of_accounts.items():
        make = getattr(service.accounts, name)
        for metadata in (key, (*key, *admin)):
            error = await refused(make(method.request_type(), metadata=metadata))
            assert (error.reason, error.http) == ("SCOPE_REQUIRED", 403), name
        assert wrong(await refused(make(method.request_type()))) == MISSING
        error = await refused(make(method.request_type(), metadata=cookie("A" * 43)))
        assert wrong(error) == UNKNOWN


async def test_changes_to_a_user_hold_within_a_second(service: Service, account: str) -> None:
    admin = await person(service, Role.ADMIN, account).session()
    bob = person(service, account=account)
    sessions = [await bob.session() for _ in range(2)]

    async def may_manage() -> bool:
        request = accounts_pb2.ListKeysRequest()
        error = await outcome(service.accounts.ListKeys(request, metadata=sessions[0]))
        assert error is None or error.reason == "ADMIN_REQUIRED"
        return error is None

    async def may_not_manage() -> bool:
        return not await may_manage()

    async def signed_out() -> bool:
        return all([await ended(service, session) for session in sessions])

    async def update(**change: str) -> None:
        request = accounts_pb2.UpdateMemberRequest(id=bob.user.id, **change)
        await service.accounts.UpdateMember(request, metadata=admin)

    assert not await may_manage()
    await update(role="admin")
    await until(may_manage)
    await update(role="member")
    await until(may_not_manage)

    await update(password="another good one")
    # The new password is good at once, and the sessions of the old one are soon over.
    fresh = cookie(await bob.login(password="another good one"))
    assert (await me(service, fresh)).authenticated
    await until(signed_out)
    assert (await me(service, fresh)).authenticated

    sessions = [fresh]
    await service.accounts.RemoveMember(
        accounts_pb2.RemoveMemberRequest(id=bob.user.id), metadata=admin
    )
    await until(signed_out)


async def test_thirty_calls_a_minute_for_one_address(service: Service, valkey: Valkey) -> None:
    ada = person(service)
    address = "203.0.113.77"
    here: Metadata = (("x-forwarded-for", address),)
    session = await ada.session()
    begun = time.time()
    remaining = []
    for number in range(30):
        if number == 3:
            request = pb.LoginRequest(email=ada.user.email, password=PASSWORD)
            call = service.sessions.Login(request, metadata=here)
        elif number == 7:
            call = service.sessions.Refresh(pb.RefreshRequest(), metadata=(*here, *session))
        elif number == 11:
            # What fails here has been counted: that is what the limit is for.
            call = service.sessions.Refresh(pb.RefreshRequest(), metadata=here)
            error = await refused(call)
            assert error.reason == "MISSING_TOKEN"
            remaining.append(int(error.trailing["x-ratelimit-remaining"]))
            continue
        else:
            call = service.sessions.Logout(pb.LogoutRequest(), metadata=here)
        await call
        headers = dict(await call.trailing_metadata())
        assert headers["x-ratelimit-limit"] == "30"
        assert begun - 1 <= int(headers["x-ratelimit-reset"]) <= time.time() + 61
        remaining.append(int(headers["x-ratelimit-remaining"]))
    assert remaining == list(range(29, -1, -1))

    for call in (
        service.sessions.Login(pb.LoginRequest(email="a@b.example", password="x"), metadata=here),
        service.sessions.Refresh(pb.RefreshRequest(), metadata=here),
        service.sessions.Logout(pb.LogoutRequest(), metadata=here),
    ):
        error = await refused(call)
        assert wrong(error) == ("RATE_LIMIT_EXCEEDED", grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
        assert error.trailing["x-ratelimit-remaining"] == "0"
        assert 1 <= int(error.trailing["retry-after"]) <= 60
        assert error.details["QuotaFailure"].violations[0].subject == "client"
        assert "footfall-holds" not in error.trailing
    # Others go on, and those who are signed in do.
    assert (await service.sessions.Logout(pb.LogoutRequest(), metadata=client())).success
    assert (await me(service, (*here, *await ada.session()))).authenticated
    with valkey.client() as redis:
        keys = redis.keys("ff:limit2:client:*")
        assert keys
        assert not [key for key in keys if address.encode() in key]


ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"sec-fetch-site": "same-origin", "origin": "https://a.example"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
    ({"sec-fetch-site": "same-site", "origin": "https://blog.a.example"}, False),
    ({"sec-fetch-site": "", "origin": "https://a.example"}, False),
    # A browser that is older than that header.
    ({"origin": "https://a.example", "x-forwarded-host": "a.example"}, True),
    ({"origin": "https://A.example", "x-forwarded-host": "a.example:8443"}, True),
    ({"origin": "http://[::1]:8080", "x-forwarded-host": "[::1]"}, True),
    ({"origin": "https://evil.example", "x-forwarded-host": "a.example"}, False),
    ({"origin": "https://a.example.evil.example", "x-forwarded-host": "a.example"}, False),
    ({"origin": "null", "x-forwarded-host": "a.example"}, False),
    ({"origin": "null", "x-forwarded-host": "null"}, False),
    ({"origin": "https://[", "x-forwarded-host": "["}, False),
    ({"origin": "", "x-forwarded-host": ""}, False),
    ({"origin": "https://a.example"}, False),
]


@pytest.mark.parametrize(("headers", "own"), ORIGINS, ids=str)
async def test_pages_of_other_origins(service: Service, headers: dict[str, str], own: bool) -> None:
    session = await person(service, Role.ADMIN).session()
    page = tuple(headers.items())
    posts = (
        service.sessions.SelectTracker(
            pb.SelectTrackerRequest(tracker="a" * 16), metadata=(*session, *page)
        ),
        service.sessions.Refresh(pb.RefreshRequest(), metadata=(*client(), *page)),
        service.accounts.RevokeKey(
            accounts_pb2.RevokeKeyRequest(id="a" * 16),
            metadata=(*session, *page, ("x-envoy-original-method", "DELETE")),
        ),
    )
    reasons = [(await refused(call)).reason for call in posts]
    if own:
        assert reasons == ["SITE_NOT_AUTHORIZED", "MISSING_TOKEN", "NOT_FOUND"]
    else:
        assert reasons == ["CROSS_ORIGIN"] * 3
    # What only reads is answered: the browser keeps it from a page that may not see it.
    get = ("x-envoy-original-method", "GET")
    assert (await me(service, (*session, *page, get))).authenticated
    # A key is nothing that a browser adds by itself.
    key = service.key([service.site()], Scope.ADMIN)
    listed = service.accounts.ListKeys(accounts_pb2.ListKeysRequest(), metadata=(*key, *page))
    assert (await listed).keys


async def test_without_redis_nobody_is_taken_for_a_stranger(own_settings: Settings) -> None:
    async with serving(own_settings) as service:
        ada = person(service)
        request = pb.LoginRequest(email=ada.user.email, password=PASSWORD)
        calls = (
            service.sessions.Login(request),
            service.sessions.Refresh(pb.RefreshRequest(), metadata=cookie("A" * 43)),
            service.sessions.Logout(pb.LogoutRequest(), metadata=cookie("A" * 43)),
            service.sessions.GetMe(pb.GetMeRequest(), metadata=cookie("A" * 43)),
        )
        for call in calls:
            error = await refused(call)
            assert wrong(error) == ("REDIS_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE, 503)
            assert "set-cookie" not in error.trailing
        site = service.site()
        seen = await me(service, service.key([site], Scope.READ))
        assert [t.tracker for t in seen.trackers] == [site.id]


async def test_the_limit_is_a_setting(own_settings: Settings, valkey: Valkey) -> None:
    settings = replace(own_settings, redis_url=valkey.url, authentication_per_minute=2)
    async with serving(settings) as service:
        for _ in range(2):
            await service.sessions.Logout(pb.LogoutRequest())
        error = await refused(service.sessions.Logout(pb.LogoutRequest()))
        assert error.trailing["x-ratelimit-limit"] == "2"


async def test_logs_hold_neither_ids_nor_passwords(
    own_settings: Settings, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(own_settings, redis_url=valkey.url)
    async with serving(settings) as service:
        ada = person(service)
    monkeypatch.setitem(os.environ, "FOOTFALL_LOG_LEVEL", "debug")
    async with Child(settings) as child:
        async with grpc.aio.insecure_channel(child.address) as channel:
            stub: Any = sessions_pb2_grpc.SessionServiceStub(channel)
            login = stub.Login(pb.LoginRequest(email=ada.user.email, password=PASSWORD))
            await login
            first = id_of(dict(await login.trailing_metadata()))
            wrong_one = pb.LoginRequest(email=ada.user.email, password="wr0ng-horse")
            await refused(stub.Login(wrong_one))
            await stub.GetMe(pb.GetMeRequest(), metadata=cookie(first))
            refresh = stub.Refresh(pb.RefreshRequest(), metadata=cookie(first))
            await refresh
            second = id_of(dict(await refresh.trailing_metadata()))
            await refused(stub.GetMe(pb.GetMeRequest(), metadata=cookie(first)))
            garbage = channel.unary_unary("/footfall.v1.SessionService/Login")
            await refused(garbage(b"\x0a\xff" + PASSWORD.encode(), metadata=cookie(second)))
            await stub.Logout(pb.LogoutRequest(), metadata=cookie(second))
        child.process.terminate()
        assert child.process.stderr is not None
        said = (await child.process.stderr.read()).decode()
    assert said.count('"/footfall.v1.SessionService/Login"') == 3
    assert said.count('"/footfall.v1.SessionService/Logout"') == 1
    for secret in (first, second, PASSWORD, "correct horse", "wr0ng-horse"):
        assert secret not in said
        assert key_digest(secret).hex() not in said
