"""One allowance over two server processes that share their accounts and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from footfall.accounts.model import KeyKind, Scope
from footfall.v1 import queries_pb2, queries_pb2_grpc
from tests.rpc.conftest import Refusal, Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLERS, EACH, LIMIT = 64, 4, 100


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def second(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to another server, which is a process of its own."""
    data = tmp_path_factory.mktemp("second")
    environ = dict(os.environ) | {
        "FOOTFALL_DATA": str(data),
        "FOOTFALL_ACCOUNTS_URL": service.settings.effective_accounts_url,
        "FOOTFALL_REDIS_URL": service.settings.redis_url,
        "FOOTFALL_GRPC_LISTEN": "127.0.0.1:0",
        "FOOTFALL_METRICS_LISTEN": "",
    }
    log = tmp_path_factory.mktemp("second-log") / "server.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "footfall", "serve"), env=environ, stderr=errors
        )
    try:
        announcement = data / "run" / "server.json"
        async with asyncio.timeout(30):
            while not announcement.exists():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        async with grpc.aio.insecure_channel(json.loads(announcement.read_text())["grpc"]) as made:
            yield made
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def test_an_allowance_is_exact_for_64_callers_of_two_servers(
    service: Service, second: grpc.aio.Channel
) -> None:
    # Should the machine be so slow that ten seconds pass, the minute is as narrow.
    limits = {"account_requests_per_10s": LIMIT, "account_requests_per_minute": LIMIT}
    service.manager.update_plan("two-servers", limits, like="free")
    account = service.manager.create_account("two-servers", "two-servers").id
    key = service.manager.create_key(
        account, kind=KeyKind.DBDY, site_ids=[], scopes=[Scope.ADMIN]
    ).text
    stubs: list[Any] = [
        queries_pb2_grpc.QueryServiceStub(channel) for channel in (service.channel, second)
    ]

    async def caller(number: int) -> list[tuple[bool, int]]:
        told = []
        for turn in range(EACH):
            call = stubs[(number + turn) % 2].ListWebsites(
                queries_pb2.ListWebsitesRequest(), metadata=(("x-api-key", key),)
            )
            try:
                await call
            except grpc.aio.AioRpcError as error:
                refusal = Refusal.of(error)
                assert refusal.reason == "RATE_LIMIT_EXCEEDED"
                told.append((False, int(refusal.trailing["x-ratelimit-remaining"])))
            else:
                headers = dict(await call.trailing_metadata())
                told.append((True, int(headers["x-ratelimit-remaining"])))
        return told

    told = [one for all_ in await asyncio.gather(*map(caller, range(CALLERS))) for one in all_]
    assert len(told) == CALLERS * EACH
    assert sorted(left for allowed, left in told if allowed) == list(range(LIMIT))
    assert {left for allowed, left in told if not allowed} == {0}
