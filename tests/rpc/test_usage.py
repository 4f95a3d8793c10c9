"""What an account has left, and how the service is: both for the asking."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import math
import re
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import grpc
import pytest

from footfall.accounts.limits import Window
from footfall.accounts.model import KeyKind, Role, Scope
from footfall.live.connection import RedisConnection
from footfall.live.limiter import RedisRateLimiter
from footfall.settings import Settings
from footfall.v1 import status_pb2, status_pb2_grpc, usage_pb2, usage_pb2_grpc
from tests.accounts.values import cheap_hash
from tests.live.conftest import Valkey
from tests.rpc.conftest import Metadata, Service, refused, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRANSCODED = (("x-envoy-original-method", "GET"),)
_names = itertools.count()


@dataclass(frozen=True)
class Account:
    id: str
    key: str

    @property
    def reads(self) -> Metadata:
        return (("x-api-key", self.key),)


@pytest.fixture
def account(service: Service) -> Account:
    """An account whose windows nobody has begun."""
    made = service.manager.create_account(f"usage-{next(_names)}", "hobby")
    key = service.manager.create_key(made.id, kind=KeyKind.DBDY, site_ids=[], scopes=[Scope.ADMIN])
    return Account(made.id, key.text)


def ask(service: Service, metadata: Metadata) -> Any:
    stub: Any = usage_pb2_grpc.UsageServiceStub(service.channel)
    return stub.GetUsage(usage_pb2.GetUsageRequest(), metadata=metadata)


def windows(answer: Any) -> list[tuple[str, int, int, int, int]]:
    return [(w.name, w.window_seconds, w.limit, w.used, w.remaining) for w in answer.windows]


async def test_looking_spends_nothing(service: Service, valkey: Valkey, account: Account) -> None:
    before = time.time()
    for _ in range(3):
        call = ask(service, account.reads)
        answer = await call
        assert (answer.success, answer.plan) == (True, "hobby")
        assert windows(answer) == [
            ("requests", 10, 100, 0, 100),
            ("requests", 60, 600, 0, 600),
            ("custom_sql", 60, 30, 0, 30),
        ]
        for window in answer.windows:
            assert before + window.window_seconds <= window.reset
            assert window.reset <= time.time() + window.window_seconds + 1
        headers = dict(await call.trailing_metadata())
        assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("100", "100")

    connection = RedisConnection(valkey.url)
    subject = f"account:{account.id}"
    spent = await RedisRateLimiter(connection).decide(
        (Window(subject, 100, 10), Window(subject, 600, 60)), 100
    )
    await connection.aclose()
    # It is answered when nothing is left, and by a plan that allows less than was spent.
    for limit in (100, 70):
        await asyncio.to_thread(
            service.store.update_plan,
            f"tight-{account.id}",
            {"account_requests_per_10s": limit},
            like="hobby",
        )
        await asyncio.to_thread(service.store.set_account_plan, account.id, f"tight-{account.id}")
        async with asyncio.timeout(10):
            while True:
                call = ask(service, account.reads)
                answer = await call
                if answer.windows[0].limit == limit and answer.plan.startswith("tight"):
                    break
                await asyncio.sleep(0.02)
        if time.time() >= spent.reset_at:
            pytest.skip("the machine is too slow for a window of ten seconds")
        assert windows(answer)[:2] == [
            ("requests", 10, limit, limit, 0),
            ("requests", 60, 600, 100, 500),
        ]
        assert answer.windows[0].reset == math.ceil(spent.reset_at)
        assert dict(await call.trailing_metadata())["x-ratelimit-remaining"] == "0"


async def test_whose_usage_it_is(service: Service, account: Account) -> None:
    user = service.store.create_user(
        account.id, f"u{next(_names)}@example.com", cheap_hash("password"), Role.MEMBER
    )
    session = await service.session(user, "password")
    for metadata in (
        account.reads,
        (("authorization", f"Bearer {account.key}"),),
        session,
        # The key counts, whatever else is sent along.
        (*account.reads, ("authorization", "Bearer dbdy_wrong"), ("cookie", "footfall_session=x")),
        (("x-api-key", " "), *session),
    ):
        assert (await ask(service, metadata)).plan == "hobby"
    for metadata, reason in (
        ((), "MISSING_TOKEN"),
        ((("x-api-key", ""),), "MISSING_TOKEN"),
        ((("x-api-key", "dbdy_" + "a" * 32),), "INVALID_API_KEY"),
        ((("x-api-key", "x"), *session), "INVALID_API_KEY"),
        ((("authorization", "Basic abc"),), "INVALID_TOKEN"),
        ((("cookie", "footfall_session=" + "a" * 43),), "INVALID_TOKEN"),
    ):
        error = await refused(ask(service, metadata))
        assert (error.reason, error.code, error.http) == (
            reason,
            grpc.StatusCode.UNAUTHENTICATED,
            401,
        )
        assert "x-ratelimit-limit" not in error.trailing


async def test_how_the_service_is(service: Service) -> None:
    stub: Any = status_pb2_grpc.StatusServiceStub(service.channel)
    before = dt.datetime.now(dt.UTC)
    call = stub.GetStatus(status_pb2.GetStatusRequest(), metadata=TRANSCODED)
    answer = await call
    assert (answer.success, answer.database, answer.redis) == (True, True, True)
    assert answer.version == version("footfall")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer.timestamp)
    told = dt.datetime.fromisoformat(answer.timestamp)
    assert before - dt.timedelta(milliseconds=1) <= told <= dt.datetime.now(dt.UTC)
    headers = dict(await call.initial_metadata())
    assert headers["cache-control"] == "no-store"
    assert "footfall-status" not in headers
    assert "x-ratelimit-limit" not in headers


async def test_a_service_without_redis_is_not_well(own_settings: Settings) -> None:
    async with serving(own_settings) as service:
        stub: Any = status_pb2_grpc.StatusServiceStub(service.channel)
        call = stub.GetStatus(status_pb2.GetStatusRequest(), metadata=TRANSCODED)
        answer = await call
        assert (answer.success, answer.database, answer.redis) == (False, True, False)
        assert dict(await call.initial_metadata())["footfall-status"] == "503"
