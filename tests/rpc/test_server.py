"""The server around the calls: health, reflection, metrics, missing stores, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from footfall.accounts.model import Scope
from footfall.app import open_ingest, running
from footfall.errors import InvalidInputError, UnavailableError
from footfall.rpc.services import DESCRIPTORS
from footfall.settings import Settings
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import ingest_pb2_grpc, realtime_pb2, timeseries_pb2
from tests.live.conftest import Valkey
from tests.rpc.conftest import App, Service, refused, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
BATCH = pb.IngestApiRequestsRequest(events=[pb.ApiRequestEvent(response_us=1, timestamp=1.5e9)])
ALL_TIME = timeseries_pb2.QueryTimeseriesRequest(start=0, end=2_000_000_000)


async def health_of(channel: grpc.aio.Channel, service: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    name = f"footfall.v1.{service}" if service else ""
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status


async def until_health(channel: grpc.aio.Channel, service: str, wanted: Any) -> None:
    async def is_so() -> bool:
        return bool(await health_of(channel, service) == wanted)

    await until(is_so)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Return when the check is true."""
    async with asyncio.timeout(20):
        while True:
            if await check():
                return
            await asyncio.sleep(0.05)


async def test_every_service_is_healthy(service: Service) -> None:
    for name in ("", *DESCRIPTORS):
        await until_health(service.channel, name, SERVING)


async def test_reflection_lists_every_service(service: Service) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    answer = await call.read()
    call.cancel()
    names = {item.name for item in answer.list_services_response.service}
    assert {f"footfall.v1.{name}" for name in DESCRIPTORS} <= names
    assert "grpc.health.v1.Health" in names


async def test_metrics_are_served(service: Service) -> None:
    app = service.app()
    await service.ingest.IngestApiRequests(BATCH, metadata=app.writes)
    url = f"http://127.0.0.1:{service.server.metrics_port}/metrics"
    with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
        text = answer.read().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    path = "/footfall.v1.IngestService/IngestApiRequests"
    assert float(values[f'footfall_calls_total{{code="OK",method="{path}"}}']) >= 1
    assert float(values[f'footfall_call_seconds_count{{method="{path}"}}']) >= 1
    assert float(values["footfall_events_total"]) >= 1
    assert float(values["footfall_commits_total"]) >= 1
    assert float(values["footfall_queued_events"]) == 0
    for what in ("answered_total", "refused_total", "failed_total", "seconds_total", "running"):
        assert float(values[f"footfall_custom_queries_{what}"]) >= 0
    for store in ("events", "accounts", "redis"):
        assert float(values[f"footfall_{store}_up"]) == 1


async def test_without_redis_events_get_in_and_reads_wait(
    own_settings: Settings, own_valkey: Valkey
) -> None:
    own_valkey.kill()
    async with serving(replace(own_settings, redis_url=own_valkey.url)) as service:
        await until_health(service.channel, "IngestService", SERVING)
        assert await health_of(service.channel, "RealtimeService") == NOT_SERVING
        assert await health_of(service.channel, "") == SERVING
        app, site = service.app(), service.site()
        key = service.key([site], Scope.READ, Scope.WRITE)
        assert (await service.ingest.IngestApiRequests(BATCH, metadata=app.writes)).accepted == 1
        view = pb.WebEvent(url=f"https://{site.host}/", visitor_id="v")
        request = pb.IngestWebEventsRequest(site=site.id, events=[view])
        assert (await service.ingest.IngestWebEvents(request, metadata=key)).accepted == 1
        wanted = realtime_pb2.GetRealtimeRequest(site=site.id)
        error = await refused(service.realtime.GetRealtime(wanted, metadata=key))
        assert (error.code, error.reason, error.http) == (
            grpc.StatusCode.UNAVAILABLE,
            "REDIS_UNAVAILABLE",
            503,
        )
        # Who may not read learns nothing of it.
        assert (await refused(service.realtime.GetRealtime(wanted))).reason == "MISSING_TOKEN"

        own_valkey.start()
        await until_health(service.channel, "RealtimeService", SERVING)
        found: list[realtime_pb2.RealtimeSnapshot] = []

        async def answers() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                found.append(await service.realtime.GetRealtime(wanted, metadata=key))
            return bool(found)

        await until(answers)
        assert (found[0].total_realtime, found[0].total_pageviews_today) == (1, 1)


async def test_stores_that_are_servers_may_come_later(own_settings: Settings) -> None:
    settings = replace(own_settings, accounts_url="postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    async with (
        running(settings) as server,
        grpc.aio.insecure_channel(server.addresses[0]) as channel,
    ):
        assert await health_of(channel, "AccountsService") == NOT_SERVING
        assert await health_of(channel, "IngestService") == SERVING
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        metadata = (("x-auth-user", "a" * 16), ("x-auth-key", "a" * 32))
        error = await refused(stub.IngestApiRequests(BATCH, metadata=metadata))
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.UNAVAILABLE,
        "UNAVAILABLE",
        503,
    )
    assert "psycopg" not in error.message


async def test_one_server_a_data_directory(own_settings: Settings) -> None:
    async with running(own_settings):
        announced = own_settings.data_dir / "run" / "server.json"
        document = json.loads(announced.read_text())
        assert document["pid"] == os.getpid()
        assert document["grpc"].startswith("127.0.0.1:")
        with pytest.raises(UnavailableError, match=f"{os.getpid()}.*uses the data directory"):
            async with running(own_settings):
                pytest.fail("the second one runs")
        with pytest.raises(UnavailableError, match="uses the data directory"):
            async with open_ingest(own_settings):
                pytest.fail("it is opened beside a server")
    assert not announced.exists()


async def count(service: Service, app: App) -> int:
    """How many events the application has."""
    answer = await service.timeseries.QueryTimeseries(ALL_TIME, metadata=app.reads)
    stored: int = answer.groups[0].points[0].integer
    return stored


async def test_events_that_got_in_without_a_server_are_there(
    own_settings: Settings, valkey: Valkey
) -> None:
    settings = replace(own_settings, redis_url=valkey.url)
    async with serving(settings) as service:
        app = service.app()
    async with open_ingest(settings) as way:
        assert way.accounts.get_application(app.id) is not None
        result = await way.ingest.ingest_api_requests(
            app.id, {"response_us": [5, 6], "timestamp": [1.5e9, 1.6e9]}
        )
        assert result.accepted == 2
    async with serving(settings) as service:
        assert await count(service, app) == 2


async def test_an_address_that_is_taken_is_named(own_settings: Settings, tmp_path: Path) -> None:
    async with running(own_settings) as server:
        other = replace(own_settings, data_dir=tmp_path / "other", grpc_listen=server.addresses[0])
        with pytest.raises(InvalidInputError, match=server.addresses[0]):
            async with running(other):
                pytest.fail("both listen")


async def test_a_unix_socket_is_the_owners_alone(own_settings: Settings) -> None:
    path = own_settings.data_dir.parent / "s.sock"
    async with running(replace(own_settings, grpc_listen=f"unix:{path}, 127.0.0.1:0")) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        for address in server.addresses:
            async with grpc.aio.insecure_channel(address) as channel:
                assert await health_of(channel, "") == SERVING


class Child:
    """`footfall serve` in a process of its own."""

    def __init__(self, settings: Settings, *, wait: bool = True) -> None:
        self._wait = wait
        self._data = settings.data_dir
        self._environ = os.environ | {
            "FOOTFALL_DATA": str(settings.data_dir),
            "FOOTFALL_REDIS_URL": settings.redis_url,
            "FOOTFALL_GRPC_LISTEN": "127.0.0.1:0",
            "FOOTFALL_METRICS_LISTEN": "127.0.0.1:0",
            "FOOTFALL_TRUSTED_PROXIES": settings.trusted_proxies,
            "FOOTFALL_DRAIN_SECONDS": str(settings.drain_s),
        }

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "footfall",
            "serve",
            env=self._environ,
            stderr=asyncio.subprocess.PIPE,
        )
        if not self._wait:
            return self
        path = self._data / "run" / "server.json"
        async with asyncio.timeout(30):
            while not path.exists():
                assert self.process.returncode is None
                await asyncio.sleep(0.02)
        self.address = json.loads(path.read_text())["grpc"]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def test_sigterm_lets_calls_in_flight_finish(own_settings: Settings, valkey: Valkey) -> None:
    settings = replace(own_settings, redis_url=valkey.url, drain_s=20.0)
    async with serving(settings) as service:
        app = service.app()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def messages() -> AsyncIterator[pb.IngestApiRequestsRequest]:
        yield BATCH
        begun.set()
        await go_on.wait()
        yield BATCH

    async with Child(settings) as child, grpc.aio.insecure_channel(child.address) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stream = stub.StreamApiRequests(messages(), metadata=app.writes)
        await begun.wait()
        # Whatever came later on this connection is answered, so the stream has begun there.
        assert (await stub.IngestApiRequests(BATCH, metadata=app.writes)).accepted == 1
        child.process.send_signal(signal.SIGTERM)
        # Load balancers learn of it before anything is refused.
        assert (await asyncio.wait_for(watch.read(), 10)).status == NOT_SERVING
        await until(lambda: refuses(stub, app))
        assert child.process.returncode is None
        go_on.set()
        assert (await stream).accepted == 2
        assert child.process.stderr is not None
        lines = (await child.process.stderr.read()).decode().splitlines()
        assert await child.process.wait() == 0
    assert not (settings.data_dir / "run" / "server.json").exists()
    assert json.loads(lines[-1])["event"] == "stopped"
    async with serving(settings) as service:
        assert await count(service, app) >= 3


async def refuses(stub: Any, app: App) -> bool:
    """Whether new calls are refused."""
    try:
        await stub.IngestApiRequests(BATCH, metadata=app.writes, timeout=5)
    except grpc.aio.AioRpcError:
        return True
    return False


async def test_settings_that_cannot_be_used_end_the_start(own_settings: Settings) -> None:
    settings = replace(own_settings, trusted_proxies="10.0.0.0/8, nonsense")
    async with Child(settings, wait=False) as child:
        assert child.process.stderr is not None
        said = (await child.process.stderr.read()).decode()
        assert await child.process.wait() == 1
    assert "FOOTFALL_TRUSTED_PROXIES" in said
    assert "Traceback" not in said
