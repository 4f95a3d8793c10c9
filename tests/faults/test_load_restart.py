"""The server is told to end while it is busy, and another one takes its place."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from urllib.parse import urlsplit

import grpc

from footfall.v1 import ingest_pb2, ingest_pb2_grpc, timeseries_pb2, timeseries_pb2_grpc
from tests.e2e.service import Service, wait_until
from tests.faults.tenants import Tenant, api_requests, create_tenant, encoded
from tests.faults.verdicts import Case
from tests.rpc.conftest import Refusal

REST_CALLERS, GRPC_CALLERS = 12, 6
EVENTS = 20

#: Sends the same once more; returns "" for a good answer, else what was wrong with it.
Ask = Callable[[], str]
#: Thinks of something to be sent.
Make = Callable[[], Ask]
_numbers = count()


@dataclass
class Told:
    """What callers were told."""

    good: int = 0
    #: Calls that were refused with a hint when to come again, and did so once.
    retried: int = 0
    #: What callers saw in spite of it, and what became of calls under way at a SIGTERM.
    errors: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    acknowledged: int = 0


class Callers:
    """Callers who go on until told to stop."""

    def __init__(self) -> None:
        self.told = Told()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        #: When the server was told to end, by `time.monotonic`.
        self.ends: list[float] = []

    def add(self, make: Make, events: int) -> None:
        thread = threading.Thread(target=self._go_on, args=(make, events))
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, make: Make, events: int) -> None:
        while not self._stop.is_set():
            ask = make()
            began = time.monotonic()
            wrong = ask()
            ended = time.monotonic()
            if wrong and any(began < end < ended for end in self.ends):
                with self._lock:
                    self.told.broken.append(wrong)
            again = ""
            if wrong:
                time.sleep(1)
                again = ask()
            with self._lock:
                self.told.longest_s = max(self.told.longest_s, ended - began)
                self.told.retried += bool(wrong)
                if again:
                    self.told.errors.append(f"{wrong}, then {again}")
                else:
                    self.told.good += 1
                    self.told.acknowledged += events


def by_rest(service: Service, tenant: Tenant) -> Make:
    """Send events over a connection that is kept."""
    where = urlsplit(service.rest)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    headers = {"content-type": "application/json", **tenant.writes}

    def ask(body: bytes) -> str:
        try:
            connection.request("POST", "/1/event/", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        if answer.status == 200:
            return ""
        hint = answer.headers.get("retry-after")
        return f"{answer.status} {hint} {said[:200]!r}"

    def make() -> Ask:
        return partial(ask, encoded(api_requests(EVENTS, f"rest-{next(_numbers)}")))

    return make


def by_stub(channel: grpc.Channel, tenant: Tenant) -> tuple[Make, Make]:
    """Send events and read a time series as stubs do."""
    writer = ingest_pb2_grpc.IngestServiceStub(channel)
    reader = timeseries_pb2_grpc.TimeseriesServiceStub(channel)

    def called(call: Callable[[], object]) -> str:
        try:
            call()
        except grpc.RpcError as error:
            told = Refusal.of(error)
            return f"{told.code.name} {told.message}"
        return ""

    def write() -> Ask:
        number = next(_numbers)
        events = [
            ingest_pb2.ApiRequestEvent(
                event_id=f"grpc-{number}-{n}", response_us=1, method="GET", url="/"
            )
            for n in range(EVENTS)
        ]
        asked = ingest_pb2.IngestApiRequestsRequest(events=events)
        metadata = tuple(tenant.writes.items())
        return lambda: called(
            lambda: writer.IngestApiRequests(asked, metadata=metadata, timeout=60)
        )

    def read() -> Ask:
        asked = timeseries_pb2.QueryTimeseriesRequest(start=0, end=int(time.time()) + 60)
        metadata = tuple(tenant.reads.items())
        return lambda: called(lambda: reader.QueryTimeseries(asked, metadata=metadata, timeout=60))

    return write, read


@contextmanager
def calling(service: Service, tenant: Tenant) -> Iterator[Callers]:
    callers = Callers()
    with service.channel() as channel:
        write, read = by_stub(channel, tenant)
        try:
            for number in range(GRPC_CALLERS):
                callers.add(*((write, EVENTS) if number % 2 else (read, 0)))
            for _ in range(REST_CALLERS):
                callers.add(by_rest(service, tenant), EVENTS)
            yield callers
        finally:
            callers.stop()


def test_a_server_that_ends_under_load_is_noticed_by_nobody(service: Service, case: Case) -> None:
    tenant = create_tenant(service.accounts_url)
    took: list[float] = []
    with calling(service, tenant) as callers:
        for _ in range(20 if case.full else 1):
            time.sleep(case.chance.uniform(0.3, 0.8))
            pid = service.server_pid()
            callers.ends.append(time.monotonic())
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda pid=pid: served_by_another(service, pid), timeout=60)
            took.append(time.monotonic() - callers.ends[-1])
        time.sleep(0.5)
    told = callers.told
    path = f"/1/timeseries/0/{int(time.time()) + 60}/"
    total = service.get(path, headers=tenant.reads).json["groups"]
    case.tell(
        f"{len(took)} restarts of {min(took):.1f} to {max(took):.1f} s, {told.good} calls, "
        f"{told.retried} of them at the second try, the longest {told.longest_s:.1f} s"
    )
    assert not told.broken, told.broken[:5]
    assert not told.errors, told.errors[:5]
    assert told.good > 20 * len(took)
    # The restart lost nothing, and no retry counted twice.
    assert total[tenant.application][0][1] == told.acknowledged


def served_by_another(service: Service, pid: int) -> bool:
    try:
        return service.server_pid() != pid
    except FileNotFoundError:
        return False
