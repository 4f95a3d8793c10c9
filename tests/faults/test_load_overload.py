"""Three times what the service can take.

The callers share the machine with the service, and are late themselves when it has too much to do.
So how long answers took is what the gateway's access log says.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from footfall.v1 import timeseries_pb2, timeseries_pb2_grpc
from tests.e2e.service import Service, running
from tests.faults.http_load import NUMBER, PATIENCE_S, Kind, Load, quantile, request
from tests.faults.tenants import Tenant, api_requests, create_tenant, encoded, page_view
from tests.faults.verdicts import Case
from tests.rpc.conftest import Refusal

FACTOR = 3
#: What the service keeps of its peak, at least.
KEPT = 0.8
#: How fast nearly all are refused, and by how much the server's memory may grow.
REFUSED_MS = 250
GROWTH_MIB = 256
EVENTS_READ = 20_000
#: How long the gateway keeps lines of its access log, at most.
FLUSHED_S = 1.5
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
    case.only_in_full("what it says of a few seconds depends on what else the machine does")
    seconds = 60
    with running(tmp_path / "data") as service:
        tenant = create_tenant(service.accounts_url)
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
        began = now()
        before_mib = psutil.Process(service.server_pid()).memory_info().rss >> 20
        with watched(service, tenant) as watch:
            tally = load(seconds, 1_500, FACTOR * peak.goodput).tally()
        ended = now()
        after = load(seconds / 8, 96).tally()
        assert after.statuses.keys() == {200}, "it is well again at once"
        time.sleep(FLUSHED_S)
        good_ms, refused_ms = logged(service, began, ended)
    goodput = sum(each < 1_000 * PATIENCE_S for each in good_ms) / seconds

    case.tell(
        f"peak {peak.goodput:.0f}/s, afterwards {after.goodput:.0f}/s, "
        f"at {FACTOR}x {goodput:.0f}/s ({goodput / peak.goodput:.0%}) in p50 "
        f"{quantile(good_ms, 0.5):.0f} ms p99 {quantile(good_ms, 0.99):.0f} ms"
    )
    case.tell(
        f"{len(refused_ms)} refused in p50 {quantile(refused_ms, 0.5):.0f} ms p99 "
        f"{quantile(refused_ms, 0.99):.0f} ms; broken {tally.statuses.get(0, 0)}, not sent "
        f"{tally.unsent}; stubs {dict(watch.codes)}"
    )
    case.tell(
        f"health {watch.health.total()} times, slowest {watch.slowest_s:.2f} s; "
        f"memory {max(watch.memory)} MiB"
    )
    assert tally.sent + tally.unsent > 0.9 * FACTOR * peak.goodput * seconds
    assert set(tally.statuses) <= {0, 200, 503}, (tally.statuses, tally.odd)
    # 0: a refusal whose caller came to read it only after its connection had been ended.
    assert tally.statuses.get(0, 0) < 0.1 * tally.sent
    assert tally.hintless == watch.hintless == 0
    assert watch.health.keys() == {"GET /health 200", "Check 1"}
    assert watch.codes.keys() <= {"OK", "RESOURCE_EXHAUSTED"}
    assert max(watch.memory) < before_mib + GROWTH_MIB
    assert tally.refused > 0
    # Both peaks, since others may use the machine as well.
    assert goodput > KEPT * min(peak.goodput, after.goodput)
    assert quantile(refused_ms, 0.99) < REFUSED_MS


def now() -> str:
    """Return the time as the access log has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def logged(service: Service, began: str, ended: str) -> tuple[list[float], list[float]]:
    """Return how long good answers and refusals to requests between two times took, sorted, in
    milliseconds.
    """
    good, refused = [], []
    with (service.data / "logs" / "access.log").open() as lines:
        for line in lines:
            entry = json.loads(line)
            if began < entry["time"] < ended and entry["protocol"] == "HTTP/1.1":
                if entry["status"] == 200:
                    good.append(float(entry["duration_ms"]))
                elif entry["status"] == 503:
                    refused.append(float(entry["duration_ms"]))
    return sorted(good), sorted(refused)
