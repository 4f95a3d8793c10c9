"""Every kind of allowance, spent by 64 callers of two servers that share one Valkey.

`tests/rpc/test_two_servers.py` has what is left to the last unit; here are all kinds, over as many
of their windows as there is time for.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from footfall.accounts.model import KeyKind, Scope
from footfall.v1 import (
    custom_queries_pb2,
    custom_queries_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
    queries_pb2,
    queries_pb2_grpc,
    realtime_pb2,
    realtime_pb2_grpc,
    timeseries_pb2,
    timeseries_pb2_grpc,
)
from tests.faults.verdicts import Case
from tests.rpc.conftest import Metadata, Service, service, valkey
from tests.rpc.test_two_servers import second

__all__ = ["second", "service", "valkey"]

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLERS = 64
#: Calls of each at least, so that every allowance is used up on a slow machine as well.
CALLS_MIN = 3
#: What callers get of an allowance, at least.
GIVEN = 0.98

Stubs = Sequence[grpc.aio.Channel]
#: Makes a call on a channel.
Ask = Callable[[grpc.aio.Channel], Any]


@dataclass(frozen=True)
class Answer:
    """What a caller was told."""

    allowed: bool
    #: When the window that was nearest to its end ends, in seconds since the epoch.
    reset: int


async def hammer(channels: Stubs, ask: Ask, *, seconds: float, pause_s: float) -> list[Answer]:
    """Let 64 callers ask the servers in turn while there is time, and a few times at least."""
    ends = time.monotonic() + seconds

    async def caller(number: int) -> list[Answer]:
        told = []
        while len(told) < CALLS_MIN or time.monotonic() < ends:
            call = ask(channels[(number + len(told)) % len(channels)])
            trailing = dict(await call.trailing_metadata())
            reached = await call.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED
            # A server that has as much to do as it can refuses a call before it costs anything.
            if reached or trailing["footfall-reason"] != "OVERLOADED":
                assert reached or trailing["footfall-reason"] == "RATE_LIMIT_EXCEEDED"
                told.append(Answer(reached, int(trailing["x-ratelimit-reset"])))
            await asyncio.sleep(pause_s)
        return told

    return [
        answer for all_ in await asyncio.gather(*map(caller, range(CALLERS))) for answer in all_
    ]


async def test_allowances_are_given_and_never_exceeded(
    service: Service, second: grpc.aio.Channel, case: Case
) -> None:
    channels = (service.channel, second)
    limits = {
        "site_requests_per_minute": 10,
        "application_reads_per_10s": 100,
        "account_requests_per_10s": 60,
        "account_requests_per_minute": 150,
        "workspace_requests_per_second": 5,
    }
    service.manager.update_plan("exact", limits, like="free")
    account = service.manager.create_account("exact", "exact").id
    site = service.manager.create_site(account, "exact.example", "UTC", public=False)
    bearer = key_of(service, account, site.id, KeyKind.NM)
    dbdy = key_of(service, account, site.id, KeyKind.DBDY)
    application = service.manager.create_application(account, "exact")
    reads = (
        ("x-auth-user", application.application.id),
        ("x-auth-key", application.read_key),
    )
    workspace = (("x-api-key", service.manager.create_workspace(account, "exact").api_key),)
    seconds = 24 if case.full else 2

    def realtime(channel: grpc.aio.Channel) -> Any:
        stub: Any = realtime_pb2_grpc.RealtimeServiceStub(channel)
        return stub.GetSources(realtime_pb2.GetSourcesRequest(site=site.id), metadata=bearer)

    def timeseries(channel: grpc.aio.Channel) -> Any:
        stub: Any = timeseries_pb2_grpc.TimeseriesServiceStub(channel)
        return stub.QueryTimeseries(
            timeseries_pb2.QueryTimeseriesRequest(start=0, end=1), metadata=reads
        )

    def websites(channel: grpc.aio.Channel) -> Any:
        stub: Any = queries_pb2_grpc.QueryServiceStub(channel)
        return stub.ListWebsites(queries_pb2.ListWebsitesRequest(), metadata=dbdy)

    def metrics(channel: grpc.aio.Channel) -> Any:
        stub: Any = metrics_pb2_grpc.MetricsServiceStub(channel)
        return stub.ListMetrics(metrics_pb2.ListMetricsRequest(), metadata=workspace)

    started = time.time()
    told = await asyncio.gather(
        *(
            hammer(channels, ask, seconds=seconds, pause_s=0.02 if case.full else 0.05)
            for ask in (realtime, timeseries, websites, metrics)
        )
    )
    took = time.time() - started
    at_site, by_application, by_account, by_workspace = told

    # One window of a minute.
    given = windows(at_site, took, length_s=60)
    assert list(given.values()) == [10]
    # Several windows, one after the other: where somebody was refused, all of it was given.
    for answers, limit, length_s in ((by_application, 100, 10), (by_workspace, 5, 1)):
        given = windows(answers, took, length_s=length_s)
        assert max(given.values()) <= limit, given
        used_up = {answer.reset for answer in answers if not answer.allowed}
        assert used_up
        assert sum(given[end] for end in used_up) >= GIVEN * limit * len(used_up), given
        case.tell(f"{limit}/{length_s} s: {sum(given.values())} in {len(given)} windows")
    # Two lengths of windows at once: that of a minute is the one that ends it.
    allowed = sum(answer.allowed for answer in by_account)
    most = min(150, 60 * (1 + int(took // 10)))
    assert GIVEN * min(150, 60 * max(1, seconds // 10)) <= allowed <= most
    case.tell(
        f"10/60 s: {sum(answer.allowed for answer in at_site)}; 60/10 s and 150/60 s: {allowed} "
        f"in {took:.0f} s; {sum(map(len, told))} calls"
    )


async def test_allowances_of_clients_and_of_sql(
    service: Service, second: grpc.aio.Channel, case: Case
) -> None:
    channels = (service.channel, second)
    account = service.manager.create_account("exact-sql", "scale").id
    site = service.manager.create_site(account, "exact-sql.example", "UTC", public=False)
    dbdy = key_of(service, account, site.id, KeyKind.DBDY)

    def types(channel: grpc.aio.Channel) -> Any:
        stub: Any = queries_pb2_grpc.QueryServiceStub(channel)
        return stub.ListQueryTypes(queries_pb2.ListQueryTypesRequest())

    def sql(channel: grpc.aio.Channel) -> Any:
        stub: Any = custom_queries_pb2_grpc.CustomQueryServiceStub(channel)
        # Refused by its text, but only once it is paid for.
        asked = custom_queries_pb2.ExecuteSqlRequest(website_id=site.id, query="DROP TABLE events")
        return stub.ExecuteSql(asked, metadata=dbdy)

    for ask, limit in ((types, 100), (sql, 30)):
        told = await hammer(channels, ask, seconds=1, pause_s=0.05)
        given = windows(told, 0, length_s=60)
        assert list(given.values()) == [limit]
        case.tell(f"{limit}/60 s: {limit} of {len(told)}")


def key_of(service: Service, account: str, site: str, kind: KeyKind) -> Metadata:
    made = service.manager.create_key(account, kind=kind, site_ids=[site], scopes=[Scope.READ])
    if kind is KeyKind.DBDY:
        return (("x-api-key", made.text),)
    return (("authorization", f"Bearer {made.text}"),)


def windows(answers: Sequence[Answer], took_s: float, *, length_s: int) -> Counter[int]:
    """Return how many calls were let through in each window, by its end; checks that there were no
    more windows than time has room for.
    """
    given = Counter(answer.reset for answer in answers if answer.allowed)
    assert len(given) <= took_s // length_s + 2
    return given
