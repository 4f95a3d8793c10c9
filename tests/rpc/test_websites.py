"""Who may ask about which website, and what it costs whom."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

from footfall.accounts.clients import ClientSubjects
from footfall.accounts.model import ApiKey, KeyKind, Role, Scope, Site
from footfall.accounts.salts import SaltCache
from footfall.accounts.service import LOOKUP_TTL_S, Authenticator
from footfall.accounts.sessions import Session, Sessions
from footfall.live.connection import RedisConnection
from footfall.live.limiter import RedisRateLimiter
from footfall.live.sessions import RedisSessionStore
from footfall.rpc.access import Access
from footfall.rpc.call import Call, Method
from footfall.rpc.chain import Authenticate, Authorise, Chain, Decode, Errors, RequestId
from footfall.rpc.costs import of_body, of_queries
from footfall.rpc.limits import RateLimit, TellAllowance
from footfall.rpc.peers import Peers, parse_networks
from footfall.rpc.policy import Allowance, Anyone, Policy, WebsiteReader
from footfall.v1 import custom_queries_pb2, queries_pb2
from tests.accounts.values import cheap_hash
from tests.live.conftest import Valkey
from tests.rpc.conftest import Metadata, Refusal, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

_names = itertools.count()
PUBLIC_LIMIT, SQL_LIMIT = 7, 3


def method(name: str, request: type[Message], policy: Policy) -> Method:
    return Method(f"/footfall.v1.QueryService/{name}", request, False, False, policy)


QUERIES = method(
    "RunQueries",
    queries_pb2.RunQueriesRequest,
    Policy(WebsiteReader(public=True), Allowance.ACCOUNT, of_queries),
)
BODIES = method(
    "PostQuery",
    queries_pb2.PostQueryRequest,
    Policy(WebsiteReader(public=True), Allowance.ACCOUNT, of_body),
)
SQL = method(
    "ExecuteSql",
    custom_queries_pb2.ExecuteSqlRequest,
    Policy(WebsiteReader(), Allowance.ACCOUNT_SQL),
)
TYPES = method(
    "ListQueryTypes", queries_pb2.ListQueryTypesRequest, Policy(Anyone(), Allowance.PUBLIC)
)
METHODS = {made.path: made for made in (QUERIES, BODIES, SQL, TYPES)}


@dataclass
class World:
    """A server of these methods, whose handlers only tell what the chain has found out."""

    service: Service
    channel: grpc.aio.Channel
    limiter: RedisRateLimiter
    calls: list[Call]

    def account(self, **allowances: int) -> str:
        plan = f"plan-{next(_names)}"
        self.service.manager.update_plan(plan, allowances, like="free")
        return self.service.manager.create_account(f"w-{next(_names)}", plan).id

    def site(self, account: str, *, public: bool = False) -> Site:
        host = f"w{next(_names)}.example.com"
        return self.service.manager.create_site(account, host, "UTC", public=public)

    def key(
        self, account: str, *sites: Site, scope: Scope = Scope.READ, kind: KeyKind = KeyKind.DBDY
    ) -> str:
        return self.service.manager.create_key(
            account, kind=kind, site_ids=[site.id for site in sites], scopes=[scope]
        ).text

    async def session(self, account: str) -> Metadata:
        user = self.service.store.create_user(
            account, f"w{next(_names)}@example.com", cheap_hash("password"), Role.MEMBER
        )
        return await self.service.session(user, "password")

    def call(self, of: Method, message: Message, metadata: Metadata = ()) -> Any:
        send = self.channel.unary_unary(
            of.path, request_serializer=lambda sent: sent.SerializeToString()
        )
        return send(message, metadata=metadata)

    async def headers(self, call: Any) -> tuple[int, int]:
        """Return limit and remaining of a call that succeeds."""
        await call
        told = dict(await call.trailing_metadata())
        return int(told["x-ratelimit-limit"]), int(told["x-ratelimit-remaining"])


def query(site: Site | str, queries: int = 1) -> queries_pb2.RunQueriesRequest:
    return queries_pb2.RunQueriesRequest(
        website_id=site if isinstance(site, str) else site.id,
        queries=[queries_pb2.Query() for _ in range(queries)],
    )


def body(site: Site, text: str | bytes) -> queries_pb2.PostQueryRequest:
    data = text.encode() if isinstance(text, str) else text
    return queries_pb2.PostQueryRequest(website_id=site.id, body=HttpBody(data=data))


def x(key: str) -> Metadata:
    return (("x-api-key", key),)


def left(error: Refusal) -> tuple[int, int]:
    return int(error.trailing["x-ratelimit-limit"]), int(error.trailing["x-ratelimit-remaining"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(service: Service, valkey: Valkey) -> AsyncIterator[World]:
    connection = RedisConnection(valkey.url)
    limiter = RedisRateLimiter(connection)
    authenticator = Authenticator(service.store)
    sessions = Sessions(service.store, RedisSessionStore(connection))
    access = Access(authenticator, sessions)
    limit = RateLimit(
        limiter,
        Peers(parse_networks("127.0.0.0/8")),
        ClientSubjects(SaltCache(service.store)),
        authentication_per_minute=30,
        public_per_minute=PUBLIC_LIMIT,
    )
    steps = (
        RequestId(),
        Errors(),
        Authenticate(access),
        TellAllowance(limit),
        Decode(1 << 20),
        Authorise(access),
        limit,
    )
    calls: list[Call] = []

    async def answer(request: Any, call: Call) -> HttpBody:
        calls.append(call)
        return HttpBody()

    server = grpc.aio.server(interceptors=(Chain(steps, METHODS),))
    server.add_registered_method_handlers(
        "footfall.v1.QueryService",
        {
            made.path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
                answer, None, lambda message: message.SerializeToString()
            )
            for made in METHODS.values()
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield World(service, channel, limiter, calls)
    await server.stop(None)
    sessions.close()
    authenticator.close()
    await connection.aclose()


async def test_credentials_in_any_form(world: World) -> None:
    account = world.account()
    site = world.site(account)
    session = await world.session(account)
    keys = [world.key(account, site, kind=kind) for kind in KeyKind]
    for metadata in (
        *map(x, keys),
        *((("authorization", f"Bearer {key}"),) for key in keys),
        (("x-api-key", f" {keys[0]} "), ("authorization", "Bearer dbdy_wrong")),
        (*x(keys[0]), ("cookie", "footfall_session=ended")),
        session,
    ):
        for of, message in (
            (QUERIES, query(site)),
            (BODIES, body(site, "{}")),
            (SQL, custom_queries_pb2.ExecuteSqlRequest(website_id=site.id)),
        ):
            if of is SQL and metadata is not session:
                continue
            world.calls.clear()
            await world.call(of, message, metadata)
            [call] = world.calls
            assert call.tenant == world.service.store.get_site(site.id)
            assert isinstance(call.principal, Session if metadata is session else ApiKey)
            assert call.principal.account_id == account


async def test_what_is_refused_in_the_contracts_order(world: World) -> None:
    account, elsewhere = world.account(custom_sql_per_minute=SQL_LIMIT), world.account()
    site, ungranted, foreign = world.site(account), world.site(account), world.site(elsewhere)
    key = x(world.key(account, site))
    writing_key = x(world.key(account, site, scope=Scope.WRITE))
    session = await world.session(account)
    unauthenticated = grpc.StatusCode.UNAUTHENTICATED
    not_found, denied = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
    texts: dict[str, set[str]] = {}
    for of in (QUERIES, SQL):
        for metadata, website_id, reason, code, http in (
            ((), site.id, "MISSING_TOKEN", unauthenticated, 401),
            ((), foreign.id, "MISSING_TOKEN", unauthenticated, 401),
            ((), "aaaaaaaaaaaaaaaa", "MISSING_TOKEN", unauthenticated, 401),
            ((), "", "MISSING_TOKEN", unauthenticated, 401),
            (x("dbdy_wrong"), "", "INVALID_API_KEY", unauthenticated, 401),
            ((("authorization", "Bearer x"),), site.id, "INVALID_TOKEN", unauthenticated, 401),
            (key, "", "MISSING_WEBSITE_ID", grpc.StatusCode.INVALID_ARGUMENT, 400),
            (session, "", "MISSING_WEBSITE_ID", grpc.StatusCode.INVALID_ARGUMENT, 400),
            (key, ungranted.id, "SITE_NOT_AUTHORIZED", denied, 403),
            (writing_key, site.id, "SCOPE_REQUIRED", denied, 403),
            (key, foreign.id, "WEBSITE_NOT_FOUND", not_found, 404),
            (key, "aaaaaaaaaaaaaaaa", "WEBSITE_NOT_FOUND", not_found, 404),
            (key, "' OR 1=1 --\0", "WEBSITE_NOT_FOUND", not_found, 404),
            (session, foreign.id, "WEBSITE_NOT_FOUND", not_found, 404),
            (session, "aaaaaaaaaaaaaaaa", "WEBSITE_NOT_FOUND", not_found, 404),
        ):
            message = of.request_type(website_id=website_id)
            error = await refused(world.call(of, message, metadata))
            assert (error.reason, error.code, error.http) == (reason, code, http), website_id
            texts.setdefault(reason, set()).add(error.message)
            # Who is known is told what is left, and spends nothing.
            assert ("x-ratelimit-limit" in error.trailing) == (http != 401)
            if http != 401:
                assert left(error) == (SQL_LIMIT if of is SQL else 50,) * 2
    # Nothing tells what exists from what does not.
    assert len(texts["WEBSITE_NOT_FOUND"]) == len(texts["MISSING_TOKEN"]) == 1


async def test_both_windows_hold_at_once(world: World) -> None:
    account = world.account(account_requests_per_10s=5, account_requests_per_minute=7)
    site, other = world.site(account), world.site(account)
    key, session = x(world.key(account, site, other)), await world.session(account)
    # All callers and sites of an account spend of the same windows.
    told = [
        await world.headers(world.call(QUERIES, query(named), metadata))
        for named, metadata in ((site, key), (other, key), (site, session), (other, session))
    ]
    assert told == [(5, 4), (5, 3), (5, 2), (5, 1)]
    error = await refused(world.call(QUERIES, query(site, 3), key))
    assert (error.reason, error.http, left(error)) == ("RATE_LIMIT_EXCEEDED", 429, (5, 1))
    assert 1 <= int(error.trailing["retry-after"]) <= 10
    assert "5 requests in 10 seconds" in error.message
    # What costs less does fit.
    assert "footfall-holds" not in error.trailing
    assert await world.headers(world.call(QUERIES, query(site), key)) == (5, 0)
    for cost in (1, 2):
        error = await refused(world.call(QUERIES, query(site, cost), key))
        assert error.http == 429
        holds_ms, _, holds_for = error.trailing["footfall-holds"].partition(" ")
        assert holds_for == site.id
        assert -(-int(holds_ms) // 1000) == int(error.trailing["retry-after"])
    # A session counts only where its page does.
    error = await refused(world.call(QUERIES, query(site), session))
    assert (error.http, "footfall-holds" in error.trailing) == (429, False)
    # Another account has windows of its own.
    other_account = world.account()
    own = world.site(other_account)
    told_other = world.call(QUERIES, query(own), x(world.key(other_account, own)))
    assert await world.headers(told_other) == (50, 49)


async def test_the_minute_may_be_nearer_to_its_end(world: World) -> None:
    account = world.account(account_requests_per_10s=50, account_requests_per_minute=3)
    site = world.site(account)
    key = x(world.key(account, site))
    assert await world.headers(world.call(QUERIES, query(site, 3), key)) == (3, 0)
    error = await refused(world.call(QUERIES, query(site), key))
    assert left(error) == (3, 0)
    assert 10 < int(error.trailing["retry-after"]) <= 60
    assert "3 requests in 60 seconds" in error.message
    assert error.details["QuotaFailure"].violations[0].subject == f"account:{account}"


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{}", 1),
        ("[{}]", 1),
        ("[]", 1),
        (' \r\n\t[{"a": [1, 2, {"b": ["]", "["]}]}, {}, "x", null, [1, 2]]', 5),
        ('{"queries": [{}, {}]}', 1),
        ("[{}, {}", 1),
        ("", 1),
        (b"\xff\xfe", 1),
        (b'[{"a": "\xff"}, {}]', 1),
        ("[" * 2000, 1),
        (json.dumps([{}] * 20), 20),
    ],
)
async def test_a_batch_costs_its_queries(world: World, text: str | bytes, cost: int) -> None:
    account = world.account()
    site = world.site(account)
    call = world.call(BODIES, body(site, text), x(world.key(account, site)))
    assert await world.headers(call) == (50, 50 - cost)


async def test_a_batch_that_never_fits_is_told_so(world: World) -> None:
    account = world.account()
    site = world.site(account)
    key = x(world.key(account, site))
    for of, message in ((QUERIES, query(site, 51)), (BODIES, body(site, json.dumps([{}] * 51)))):
        error = await refused(world.call(of, message, key))
        assert (error.reason, error.http) == ("INVALID_PARAMETER", 400)
        assert "51 queries" in error.message
        assert "50 in 10 seconds" in error.message
        assert left(error) == (50, 50)
        assert "retry-after" not in error.trailing
    assert await world.headers(world.call(QUERIES, query(site, 50), key)) == (50, 0)


async def test_sql_is_counted_besides(world: World) -> None:
    account = world.account(custom_sql_per_minute=SQL_LIMIT)
    site = world.site(account)
    key = x(world.key(account, site))
    message = custom_queries_pb2.ExecuteSqlRequest(website_id=site.id)
    told = [await world.headers(world.call(SQL, message, key)) for _ in range(SQL_LIMIT)]
    assert told == [(SQL_LIMIT, SQL_LIMIT - 1 - n) for n in range(SQL_LIMIT)]
    assert left(await refused(world.call(SQL, message, key))) == (SQL_LIMIT, 0)
    # What was refused has spent nothing of the account's.
    assert await world.headers(world.call(QUERIES, query(site), key)) == (50, 49 - SQL_LIMIT)
    # Another limit is in force as soon as what is remembered of keys and sites is.
    plan = world.service.store.get_account(account).plan
    world.service.manager.update_plan(plan, {"custom_sql_per_minute": SQL_LIMIT + 1})
    await asyncio.sleep(LOOKUP_TTL_S)
    assert await world.headers(world.call(SQL, message, key)) == (SQL_LIMIT + 1, 0)


async def test_public_websites_are_anybodys_at_the_public_limit(world: World) -> None:
    account, elsewhere = world.account(), world.account()
    site = world.site(account, public=True)
    foreign_site = world.site(elsewhere)

    def client() -> Metadata:
        number = next(_names)
        return (("x-forwarded-for", f"192.0.2.{number % 250}, 198.51.100.{number % 250}"),)

    # A key or a session of somebody else, one that has ended, and a page of another origin.
    ended = (("cookie", "footfall_session=" + "a" * 43),)
    foreign_page = (*await world.session(account), ("sec-fetch-site", "cross-site"))
    for credentials in (
        (),
        x(world.key(elsewhere, foreign_site)),
        await world.session(elsewhere),
        x(world.key(account, scope=Scope.ADMIN)),
        ended,
        foreign_page,
    ):
        address = client()
        world.calls.clear()
        told = await world.headers(world.call(QUERIES, query(site, 2), (*address, *credentials)))
        assert told == (PUBLIC_LIMIT, PUBLIC_LIMIT - 2)
        [call] = world.calls
        assert (call.principal, call.tenant.id) == (None, site.id)
    assert (await refused(world.call(QUERIES, query(site), x("dbdy_wrong")))).http == 401

    # The client's address is what counts, over all sites and what is public anyway.
    address, second = client(), world.site(elsewhere, public=True)
    types = queries_pb2.ListQueryTypesRequest()
    told = [
        await world.headers(world.call(of, message, address))
        for of, message in (
            (QUERIES, query(site, 3)),
            (QUERIES, query(second, 3)),
            (TYPES, types),
        )
    ]
    assert told == [(PUBLIC_LIMIT, 4), (PUBLIC_LIMIT, 1), (PUBLIC_LIMIT, 0)]
    foreign = (*address, *x(world.key(elsewhere, foreign_site)))
    for of, message, metadata in (
        (QUERIES, query(site), address),
        (QUERIES, query(site), foreign),
        (TYPES, types, address),
    ):
        error = await refused(world.call(of, message, metadata))
        assert (error.http, left(error)) == (429, (PUBLIC_LIMIT, 0))
        # By its credentials alone nobody could tell whose calls it is about.
        assert "footfall-holds" not in error.trailing
        assert error.details["QuotaFailure"].violations[0].subject == "client"
        assert "198.51" not in repr(error)

    # The account has paid for nothing of it, and reads on at its own limit.
    own = x(world.key(account, site))
    assert await world.headers(world.call(QUERIES, query(site), (*address, *own))) == (50, 49)
    # SQL is for the account alone.
    for credentials, http in (((), 401), (x(world.key(elsewhere, foreign_site)), 404)):
        message = custom_queries_pb2.ExecuteSqlRequest(website_id=site.id)
        assert (await refused(world.call(SQL, message, credentials))).http == http


async def test_a_websites_flag_and_a_plan_change_within_a_second(world: World) -> None:
    account = world.account()
    site = world.site(account)
    key = x(world.key(account, site))
    assert (await refused(world.call(QUERIES, query(site)))).http == 401
    assert (await world.headers(world.call(QUERIES, query(site), key)))[0] == 50
    store = world.service.store
    plan = store.get_account(account).plan

    def change() -> None:
        store.update_site(account, site.id, public=True)
        store.update_plan(plan, {"account_requests_per_10s": 40})

    await asyncio.to_thread(change)
    await asyncio.sleep(1)
    assert (await world.headers(world.call(QUERIES, query(site), key)))[0] == 40
    address = (("x-forwarded-for", "203.0.113.77"),)
    assert (await world.headers(world.call(QUERIES, query(site), address)))[0] == PUBLIC_LIMIT
    await asyncio.to_thread(store.update_site, account, site.id, public=False)
    await asyncio.sleep(1)
    assert (await refused(world.call(QUERIES, query(site), address))).http == 401


async def test_without_redis_the_first_fault_is_told(world: World, service: Service) -> None:
    account = world.account()
    site = world.site(account)
    key = x(world.key(account, site))
    error = await refused(world.call(QUERIES, query(""), key))
    assert (error.http, left(error)) == (400, (50, 50))
    connection = RedisConnection("unix:///nowhere/valkey.sock")
    gone, limiter = RedisRateLimiter(connection), world.limiter
    decide, limiter.decide = limiter.decide, gone.decide  # type: ignore[method-assign]  # until the end
    try:
        error = await refused(world.call(QUERIES, query(""), key))
        assert (error.reason, error.http) == ("MISSING_WEBSITE_ID", 400)
        assert "x-ratelimit-limit" not in error.trailing
        error = await refused(world.call(QUERIES, query(site), key))
        assert (error.reason, error.http) == ("REDIS_UNAVAILABLE", 503)
    finally:
        limiter.decide = decide  # type: ignore[method-assign]  # as it was
        await connection.aclose()
