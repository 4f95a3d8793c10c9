"""The widest questions that are legal, and questions whose callers leave before the answer."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import pytest

from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.queries.catalogue import LIMIT_MAX, TYPES
from footfall.analytics.queries.parsing import PARAMETERS_MAX, QUERIES_MAX
from footfall.rpc.chain import UNARY_DEADLINE_S
from footfall.v1 import timeseries_pb2
from tests.e2e.service import Service, wait_until
from tests.events.workspaces import as_sent, month
from tests.faults.http_load import request
from tests.faults.tenants import Tenant, api_requests, create_tenant, encoded, page_view
from tests.faults.verdicts import Case

#: How long an engine may go on for a caller who has left, in seconds.
FREED_S = 0.2
BATCH = 10_000
ALL = sorted(TYPES)
#: Some seconds of work for any number of page views, which no index helps with.
SQL = "C SQL"
SLOW_SQL = (
    "SELECT count(*) AS n FROM pageviews a, pageviews b, pageviews c "
    "WHERE a.path || b.visitor_id || c.path LIKE '%x%y%z%'"
)


@dataclass(frozen=True)
class World:
    """A service with a tenant who has a good deal of everything."""

    service: Service
    tenant: Tenant

    def busy(self) -> int:
        """Return how much is being read: in the server, and in processes of custom queries."""
        with urllib.request.urlopen(self.service.ready["metrics"], timeout=5) as answer:
            found = re.search(rb"^footfall_reads ([0-9.]+)$", answer.read(), re.MULTILINE)
        assert found is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return int(float(found[1])) + len(psutil.Process(self.service.server_pid()).children())
        return -1


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, service: Service) -> World:
    parts = 30 if request.config.getoption("faults") == "full" else 1
    tenant = create_tenant(service.accounts_url)
    for part in range(parts):
        events = api_requests(BATCH, f"r{part}", at=time.time() - part * 3_000)
        assert service.post_json("/1/event/", events, tenant.writes).status == 200
        views = [
            page_view(tenant, f"v{part}-{n}", f"visitor-{n % 997}", f"/page/{n % 1_009}")
            | {"timestamp": time.time() - part * 80_000 - n}
            for n in range(BATCH // 3)
        ]
        sent = service.post_json(f"/v1/collect?site={tenant.site}", views, tenant.bearer)
        assert sent.json["accepted"] == len(views), sent.body
    runs = [as_sent(event) for event in month()]
    assert service.post_json("/v1/events", runs, tenant.workspace).status == 200
    return World(service, tenant)


def widest(tenant: Tenant) -> dict[str, bytes]:
    """Return each family's largest legal requests, by a name."""
    site = f"site={tenant.site}"
    today = time.strftime("%Y-%m-%d", time.gmtime())
    everything = [
        {
            "parameters": (ALL * PARAMETERS_MAX)[:PARAMETERS_MAX],
            "startDate": "2000-01-01",
            "endDate": today,
            "limit": LIMIT_MAX,
        }
    ]
    now = int(time.time())
    queries = f"website_id={tenant.site}"
    made = {
        "A overview": request("GET", f"/v1/overview?{site}&days=30", tenant.bearer),
        "A charts": request(
            "GET",
            f"/v1/charts?{site}&preset=custom&start=1970-01-02&end={today}&limit=100&q=page",
            tenant.bearer,
        ),
        "A engagement": request(
            "GET",
            f"/v1/engagement?{site}&preset=custom&start=1970-01-02&end={today}",
            tenant.bearer,
        ),
        "B most buckets": request(
            "GET",
            f"/1/timeseries/{now - 99_990}/{now}/?granularity=second&group=url"
            "&aggregation=percentile_99",
            tenant.reads,
        ),
        "B all of time": request(
            "GET",
            "/1/timeseries/0/253402300799/?granularity=10000000000&group=url"
            "&aggregation=percentile_99",
            tenant.reads,
        ),
        "C one query": request(
            "POST", f"/v1/query?{queries}", tenant.queries, encoded(everything[0])
        ),
        "C batch": request(
            "POST", f"/v1/query?{queries}", tenant.queries, encoded(everything * QUERIES_MAX)
        ),
        SQL: request(
            "POST",
            f"/v1/custom-sql/execute?{queries}",
            tenant.queries,
            encoded({"query": SLOW_SQL}),
        ),
        "C export": request("GET", f"/v1/export?{queries}&format=csv", tenant.queries),
    }
    times = "time_start=2000-01-01T00:00:00Z&time_end=2027-01-01T00:00:00Z&page_size=200"
    for metric in METRICS:
        made[f"D {metric}"] = request("GET", f"/v1/analytics/{metric}?{times}", tenant.workspace)
    return made


class Caller:
    """A connection that has sent a request."""

    def __init__(self, service: Service, message: bytes) -> None:
        where = urlsplit(service.rest)
        self._socket = socket.create_connection((where.hostname, where.port), timeout=60)
        self._socket.sendall(message.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))

    def answer(self) -> tuple[int, bytes]:
        """Read the answer to its end and return its status and its beginning."""
        head = self._socket.recv(65_536)
        while self._socket.recv(1 << 20):
            pass
        self._socket.close()
        return int(head[9:12]), head

    def leave(self) -> None:
        """Go without a word: the connection is reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def test_the_widest_legal_questions(world: World, case: Case) -> None:
    took: dict[str, float] = {}
    statuses: dict[str, int] = {}
    for name, message in widest(world.tenant).items():
        began = time.monotonic()
        if name == SQL and not case.full:
            continue  # as long as a custom query may take
        statuses[name], said = Caller(world.service, message).answer()
        # Legal: what is refused is too much, not wrong.
        assert statuses[name] == 200 or b"QUERY_TOO_COMPLEX" in said or statuses[name] == 504, said
        took[name] = time.monotonic() - began
    slowest = sorted(took, key=lambda name: -took[name])[:4]
    case.tell(
        f"{len(took)} questions, slowest: "
        + ", ".join(f"{name} {statuses[name]} in {took[name]:.2f} s" for name in slowest)
    )
    assert max(took.values()) < UNARY_DEADLINE_S + 5
    if case.full:
        assert max(took.values()) < UNARY_DEADLINE_S + FREED_S
    assert world.service.get("/health").status == 200
    wait_until(lambda: world.busy() == 0)


#: Questions that take some time, and how many ask each at once.
SLOW = {"B most buckets": 40, "C batch": 6, SQL: 2}
_GRPC_CLIENT = """
import sys, grpc
target, count = sys.argv[1], int(sys.argv[2])
channel = grpc.insecure_channel(target)
ask = channel.unary_unary("/footfall.v1.TimeseriesService/GetTimeseries")
headers = tuple(tuple(pair.split("=", 1)) for pair in sys.argv[4:])
calls = [ask.future(bytes.fromhex(sys.argv[3]), metadata=headers) for _ in range(count)]
print("asked", flush=True)
sys.stdin.readline()
for call in calls:
    call.cancel()
print("cancelled", flush=True)
sys.stdin.readline()
"""


def freed_after(world: World, leave: Callable[[], object]) -> float:
    """Let callers leave whose questions are being answered; return when somebody last asked who
    was told that the engine goes on, in seconds after that.
    """
    wait_until(lambda: world.busy() > 0, interval=0.005)
    leave()
    left = asked = last = time.monotonic()
    while world.busy():
        last = asked
        assert last - left < 60, "nobody is waiting for it"
        time.sleep(0.01)
        asked = time.monotonic()
    return last - left


def test_callers_who_leave_free_the_engine(world: World, case: Case) -> None:
    service, tenant = world.service, world.tenant
    messages = widest(tenant)
    freed: dict[str, float] = {}
    for name, count in SLOW.items():
        for turn in range(5 if case.full else 1):
            wait_until(lambda: world.busy() == 0, timeout=60)
            callers = [Caller(service, messages[name]) for _ in range(count)]

            def leave(callers: list[Caller] = callers) -> None:
                time.sleep(case.chance.uniform(0, 0.1))
                for caller in callers:
                    caller.leave()

            freed[f"REST {name} {turn}"] = freed_after(world, leave)
    # By gRPC: a call that is cancelled, and a process that is gone.
    raw = grpc_question().hex()
    server = json.loads((service.data / "run" / "server.json").read_text())["grpc"]
    for place, target in (("gateway", service.grpc_target), ("server", server)):
        for way in ("cancelled", "killed"):
            headers = [f"{key}={value}" for key, value in tenant.reads.items()]
            wait_until(lambda: world.busy() == 0, timeout=60)
            client = subprocess.Popen(
                [sys.executable, "-c", _GRPC_CLIENT, target, "40", raw, *headers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert client.stdin is not None
            assert client.stdout is not None

            def leave_by(client: subprocess.Popen[str] = client, way: str = way) -> None:
                assert client.stdin is not None
                if way == "killed":
                    os.kill(client.pid, 9)
                else:
                    client.stdin.write("\n")
                    client.stdin.flush()

            assert client.stdout.readline() == "asked\n"
            freed[f"gRPC {way} at the {place}"] = freed_after(world, leave_by)
            client.kill()
            client.wait()
    slowest = sorted(freed, key=lambda name: -freed[name])[:4]
    case.tell(
        f"{len(freed)} times, slowest: "
        + ", ".join(f"{name} {1000 * freed[name]:.0f} ms" for name in slowest)
    )
    assert service.get("/health").status == 200
    if case.full:
        assert max(freed.values()) < FREED_S, freed


def grpc_question() -> bytes:
    now = int(time.time())
    return timeseries_pb2.GetTimeseriesRequest(
        range_start=str(now - 99_990),
        range_end=str(now),
        granularity="second",
        group="url",
        aggregation="percentile_99",
    ).SerializeToString()
