"""What an allowance adds to a call: `python -m benchmarks.limits`.

One server has the same method under three names: without an allowance, with the two windows of an
account, and with those and custom SQL's. They differ in nothing else, and one caller calls them in
turn, so that whatever slows the machine slows all of them. The target: 150 µs at the median.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks.processes import valkey
from footfall.accounts.clients import ClientSubjects
from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.salts import SaltCache
from footfall.accounts.service import Authenticator
from footfall.accounts.sessions import Sessions
from footfall.accounts.sql import open_account_store
from footfall.live.connection import RedisConnection
from footfall.live.limiter import RedisRateLimiter
from footfall.live.sessions import RedisSessionStore
from footfall.rpc.access import Access
from footfall.rpc.call import Call, Method
from footfall.rpc.chain import Authenticate, Authorise, Chain, Decode, Errors, RequestId
from footfall.rpc.limits import RateLimit, TellAllowance
from footfall.rpc.peers import Peers
from footfall.rpc.policy import AccountReader, Allowance, Policy
from footfall.v1 import usage_pb2

CALLS = 4000
TARGET_US = 150
ALLOWANCES = {"none": None, "account": Allowance.ACCOUNT, "account_sql": Allowance.ACCOUNT_SQL}
METHODS = {
    name: Method(
        f"/bench.Limits/{name}",
        usage_pb2.GetUsageRequest,
        request_streaming=False,
        response_streaming=False,
        policy=Policy(AccountReader(), allowance),
    )
    for name, allowance in ALLOWANCES.items()
}


async def serve(accounts_url: str, redis_url: str) -> None:
    """Serve the methods until killed; print the port."""
    store, redis = open_account_store(accounts_url), RedisConnection(redis_url)
    access = Access(Authenticator(store), Sessions(store, RedisSessionStore(redis)))
    limit = RateLimit(
        RedisRateLimiter(redis),
        Peers(()),
        ClientSubjects(SaltCache(store)),
        authentication_per_minute=30,
        public_per_minute=100,
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

    async def answer(request: Any, call: Call) -> usage_pb2.GetUsageResponse:  # noqa: ARG001
        return usage_pb2.GetUsageResponse(success=True)

    handler = grpc.unary_unary_rpc_method_handler(
        answer, None, usage_pb2.GetUsageResponse.SerializeToString
    )
    by_path = {method.path: method for method in METHODS.values()}
    server = grpc.aio.server(interceptors=(Chain(steps, by_path),))
    server.add_registered_method_handlers("bench.Limits", dict.fromkeys(METHODS, handler))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
    """Run the server as a process of its own; give a channel to it and a key."""
    with valkey() as live, tempfile.TemporaryDirectory(prefix="ffb") as folder:
        url = f"sqlite:///{Path(folder) / 'accounts.sqlite'}"
        store = open_account_store(url)
        manager = AccountManager(store)
        enough = {"account_requests_per_10s": 10**6, "account_requests_per_minute": 10**6}
        enough["custom_sql_per_minute"] = 10**6
        manager.update_plan("bench", enough, like="scale")
        account = manager.create_account("bench", "bench")
        key = manager.create_key(
            account.id, kind=KeyKind.DBDY, site_ids=[], scopes=[Scope.ADMIN]
        ).text
        store.close()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.limits", url, live.url), stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel, key
        finally:
            process.kill()
            await process.wait()


async def measure() -> None:
    """Print the medians, and the tenth percentiles, which a busy machine changes less."""
    async with serving() as (channel, key):
        calls = {name: channel.unary_unary(method.path) for name, method in METHODS.items()}
        metadata = (("x-api-key", key),)
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(CALLS):
            for name, call in calls.items():
                start = time.perf_counter()
                await call(b"", metadata=metadata)
                times[name].append((time.perf_counter() - start) * 1e6)
    # The first calls look up who calls, and warm everything up.
    quantiles = {
        name: statistics.quantiles(of[CALLS // 20 :], n=10, method="inclusive")
        for name, of in times.items()
    }
    p10, _, _, _, p50, *_ = quantiles["none"]
    print(f"a call without an allowance: p50 {p50:.0f} µs, p10 {p10:.0f} µs")
    for name in ("account", "account_sql"):
        least, _, _, _, median, *_ = quantiles[name]
        print(
            f"with {name}: p50 {median:.0f} µs, adds {median - p50:.0f} (target {TARGET_US}); "
            f"p10 {least:.0f} µs, adds {least - p10:.0f}"
        )


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]) if len(sys.argv) > 1 else measure())
