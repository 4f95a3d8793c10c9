"""Three times what the service can take."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from footfall.v1 import timeseries_pb2, timeseries_pb2_grpc
from tests.e2e.service import Service, running
from tests.faults.http_load import NUMBER, Kind, Load, Tally, quantile, request
from tests.faults.tenants import Tenant, api_requests, create_tenant, encoded, page_view
from tests.faults.verdicts import Case
from tests.rpc.conftest import Refusal

FACTOR = 3
#: What the service keeps of its peak, at least.
KEPT = 0.8
#: How fast most are refused, on a machine whose cores are all taken; and by how much the server's
#: memory may grow.
REFUSED_S = 1.0
GROWTH_MIB = 256
EVENTS_READ = 20_000
EVENTS_A_CALL = 20


def kinds(tenant: Tenant) -> Mapping[str, Kind]:
    """Writes and reads of several families, about as many of each."""
    number = NUMBER.decode()
    now = int(time.time())
    hours = f"/1/timeseries/{now - 86_400}/{now + 600}/?granularity=hour&group=consumer_id"
    return {
        "api requests": Kind(
            request(
                "POST", "/1/event/", tenant.writes, encoded(api_requests(EVENTS_A_CALL, number))
            ),
            5,
        ),
        "page view": Kind(
            request(
                "POST",
                f"/v1/collect?site={tenant.site}",
                tenant.bearer,
                encoded(page_view(tenant, number, f"v-{number}")),
            ),
            2,
        ),
        "time series": Kind(request("GET", f"{hours}&aggregation=percentile_95", tenant.reads), 2),
        "realtime": Kind(request("GET", f"/v1/realtime?site={tenant.site}", tenant.bearer), 2),
        "overview": Kind(request("GET", f"/v1/overview?site={tenant.site}", tenant.bearer), 1),
    }


@dataclass
class Watch:
    """What somebody sees who asks now and then while others overload the service."""

    health: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    #: How stubs' calls ended; and refusals without a hint when to come again.
    codes: Counter[str] = field(default_factory=Counter)
    hintless: int = 0
    memory: list[int] = field(default_factory=list)

    def look(self, service: Service, tenant: Tenant, channel: grpc.Channel) -> None:
        began = time.perf_counter()
        self.health[f"GET /health {service.get('/health').status}"] += 1
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        self.health[f"Check {check.status}"] += 1
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
        stub = timeseries_pb2_grpc.TimeseriesServiceStub(channel)
        asked = timeseries_pb2.QueryTimeseriesRequest(start=0, end=int(time.time()))
        try:
            stub.QueryTimeseries(asked, metadata=tuple(tenant.reads.items()), timeout=20)
        except grpc.RpcError as error:
            told = Refusal.of(error)
            self.codes[told.code.name] += 1
            self.hintless += "RetryInfo" not in told.details
        else:
            self.codes["OK"] += 1
        self.memory.append(psutil.Process(service.server_pid()).memory_info().rss >> 20)


@contextmanager
def watched(service: Service, tenant: Tenant) -> Iterator[Watch]:
    """Look a few times a second for as long as the block lasts."""
    watch, stop = Watch(), threading.Event()
    failures: list[BaseException] = []

    def look() -> None:
        try:
            with service.channel() as channel:
                while not stop.wait(0.2):
                    watch.look(service, tenant, channel)
        except BaseException as error:  # noqa: BLE001 - for the test to see
            failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def test_three_times_what_it_can_take(tmp_path: Path, case: Case) -> None:
    seconds = 60 if case.full else 3
    with running(tmp_path / "data") as service:
        tenant = create_tenant(service.data)
        for part in range(EVENTS_READ // 10_000):
            sent = service.post_json(
                "/1/event/", api_requests(10_000, f"read-{part}"), tenant.writes
            )
            assert sent.json["accepted"] == 10_000
        wanted = kinds(tenant)

        def load(seconds: float, callers: int, rate: float | None = None) -> Load:
            seed = case.chance.randrange(2**16)
            return Load(
                service.rest, wanted, seconds=seconds, seed=seed, rate=rate, callers=callers
            )

        load(1, 32).tally()
        peak = load(seconds / 8, 96).tally()
        assert peak.statuses.keys() == {200}, (peak.statuses, peak.odd)
        before_mib = psutil.Process(service.server_pid()).memory_info().rss >> 20
        with watched(service, tenant) as watch:
            tally = load(seconds, 1_500, FACTOR * peak.goodput).tally()
        after = load(seconds / 8, 96).tally()
        assert after.statuses.keys() == {200}, "it is well again at once"

    tell(case, peak, tally, watch)
    assert tally.sent + tally.unsent > 0.9 * FACTOR * peak.goodput * seconds
    assert set(tally.statuses) <= {0, 200, 503}, (tally.statuses, tally.odd)
    # 0: a connection on which a refusal crossed the next request.
    assert tally.statuses.get(0, 0) < 0.01 * tally.sent
    assert tally.hintless == watch.hintless == 0
    assert watch.health.keys() == {"GET /health 200", "Check 1"}
    assert watch.codes.keys() <= {"OK", "RESOURCE_EXHAUSTED"}
    assert max(watch.memory) < before_mib + GROWTH_MIB
    if case.full:
        assert tally.refused > 0
        assert tally.goodput > KEPT * peak.goodput
        assert quantile(tally.refused_s, 0.5) < REFUSED_S


def tell(case: Case, peak: Tally, tally: Tally, watch: Watch) -> None:
    case.tell(
        f"peak {peak.goodput:.0f}/s, at {FACTOR}x {tally.goodput:.0f}/s "
        f"({tally.goodput / peak.goodput:.0%}), good p50 {quantile(tally.good_s, 0.5):.2f} s "
        f"p99 {quantile(tally.good_s, 0.99):.2f} s, late {tally.late}"
    )
    case.tell(
        f"refused {tally.refused} p50 {1000 * quantile(tally.refused_s, 0.5):.0f} ms p99 "
        f"{1000 * quantile(tally.refused_s, 0.99):.0f} ms, broken {tally.statuses.get(0, 0)}, "
        f"not sent {tally.unsent}; stubs {dict(watch.codes)}"
    )
    case.tell(
        f"health {watch.health.total()}, all well, slowest {watch.slowest_s:.2f} s; "
        f"memory {max(watch.memory)} MiB"
    )
