"""Callers of every family and both faces, and a ledger of what was sent and what acknowledged."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

import grpc

from footfall.v1 import (
    charts_pb2,
    charts_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    metrics_pb2,
    metrics_pb2_grpc,
    realtime_pb2,
    realtime_pb2_grpc,
    timeseries_pb2,
    timeseries_pb2_grpc,
)
from tests.e2e.service import Answer, Service
from tests.faults.tenants import Tenant

Family = Literal["api", "web", "workspace"]
FAMILIES: tuple[Family, ...] = ("api", "web", "workspace")

_TIMEOUT_S = 5.0
_CHANNEL_OPTIONS = (
    # A reset is the caller's to see, and to answer with a call of its own.
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # How long a connection may take to be made, in spite of the name.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 200),
)
#: What a fault may look like to a caller of gRPC.
_FAULT_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_DAY = timedelta(days=1)
_ENDPOINT = "/faults"

_T = TypeVar("_T")


class UnclearError(Exception):
    """There is no good answer: an error that is documented for a fault, or none at all."""

    def __init__(self, text: str, code: str = "", reason: str = "") -> None:
        super().__init__(text)
        #: The code of an error, "" for none; and the service's word for it, if it has one.
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Outcome:
    """What an acknowledgement says."""

    accepted: int
    duplicates: int


@dataclass
class Ledger:
    """Which events were sent, and which acknowledged; for several threads."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    #: The largest count that was read so far, by where it was read.
    seen: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, ids: Sequence[str]) -> None:
        with self._lock:
            self.sent.update(ids)

    def acknowledge(self, ids: Sequence[str], outcome: Outcome) -> None:
        assert outcome.accepted + outcome.duplicates == len(ids), outcome
        with self._lock:
            self.acknowledged.update(ids)

    def check(self, read: Callable[[], int], where: str = "store") -> int:
        """Read a count and hold it against what may be there: at least what was acknowledged
        before and what was read there before, at most what had been sent after.
        """
        with self._lock:
            least = max(len(self.acknowledged), self.seen[where])
        count = read()
        with self._lock:
            most = len(self.sent)
            assert least <= count <= most, f"{where}: {count} is not from {least} to {most}"
            self.seen[where] = max(self.seen[where], count)
            self.reads += 1
        return count


class Rest:
    """Calls by REST, a connection each."""

    name = "REST"

    def __init__(self, address: str, tenant: Tenant, timeout_s: float = _TIMEOUT_S) -> None:
        self._tenant = tenant
        self._timeout_s = timeout_s
        self._gateway = Service(None, None, f"http://{address}", address)  # type: ignore[arg-type]

    def request(self, method: str, path: str, **options: Any) -> Answer:
        """Return a good answer. Raises UnclearError for faults that are documented or those of the
        connection, AssertionError for other answers.
        """
        try:
            answer = self._gateway.request(method, path, timeout=self._timeout_s, **options)
        except (OSError, http.client.HTTPException) as error:
            raise UnclearError(repr(error)) from None
        if answer.status == 503:
            # In its family's form, whoever says it.
            assert answer.json, answer
            # Family A's; the others tell of it by their status.
            reason = answer.json["error"]["code"] if "error" in answer.json else ""
            raise UnclearError(answer.body.decode(), "503", reason)
        assert answer.status == 200, answer
        return answer

    def send(
        self,
        family: Family,
        ids: Sequence[str],
        *,
        key: str | None = None,
    ) -> Outcome:
        """Send events with these ids; with an `Idempotency-Key` instead if there is one."""
        tenant = self._tenant
        path, credentials = {
            "api": ("/1/event/", tenant.writes),
            "web": (f"/v1/collect?site={tenant.site}", tenant.bearer),
            "workspace": ("/v1/events", tenant.workspace),
        }[family]
        headers = dict(credentials)
        if key is not None:
            headers["idempotency-key"] = key
        documents = [document(family, tenant, name, with_id=key is None) for name in ids]
        return self._post(path, documents, headers)

    def collect(self, views: Sequence[dict[str, Any]]) -> Outcome:
        """Send page views."""
        tenant = self._tenant
        return self._post(f"/v1/collect?site={tenant.site}", views, tenant.bearer)

    def _post(
        self, path: str, documents: Sequence[dict[str, Any]], headers: Mapping[str, str]
    ) -> Outcome:
        headers = {"content-type": "application/json", **headers}
        body = json.dumps(documents).encode()
        answer = self.request("POST", path, headers=headers, body=body).json
        assert answer["rejected"] == [], answer
        return Outcome(answer["accepted"], answer["duplicates"])

    def count(self, family: Family) -> int:
        """Return how many of the family's events there are."""
        tenant = self._tenant
        if family == "api":
            start, end = _range()
            path = f"/1/timeseries/{start}/{end}/"
            body = self.request("GET", path, headers=tenant.reads).json
            return int(body["groups"][tenant.application][0][1])
        if family == "web":
            query = {"site": tenant.site, "preset": "today"}
            body = self.request("GET", "/v1/charts", headers=tenant.bearer, query=query).json
            return int(body["daily"][0]["pageviews"])
        now = datetime.now(UTC)
        query = {"time_start": (now - _DAY).isoformat(), "time_end": (now + _DAY).isoformat()}
        path = "/v1/analytics/api_calls_per_endpoint"
        body = self.request("GET", path, headers=tenant.workspace, query=query).json
        return _endpoint_count(body)

    def live(self) -> int:
        """Return today's page views as live state has them."""
        return int(self.snapshot()["total_pageviews_today"])

    def snapshot(self) -> dict[str, Any]:
        """Return the site's live snapshot."""
        tenant = self._tenant
        query = {"site": tenant.site}
        answer = self.request("GET", "/v1/realtime", headers=tenant.bearer, query=query)
        body: dict[str, Any] = answer.json
        return body

    def close(self) -> None:
        """Nothing is kept open."""


class Grpc:
    """Calls by gRPC, on one channel."""

    name = "gRPC"

    def __init__(self, address: str, tenant: Tenant, timeout_s: float = _TIMEOUT_S) -> None:
        self._tenant = tenant
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(self._channel)
        self._timeseries = timeseries_pb2_grpc.TimeseriesServiceStub(self._channel)
        self._charts = charts_pb2_grpc.ChartsServiceStub(self._channel)
        self._metrics = metrics_pb2_grpc.MetricsServiceStub(self._channel)
        self._realtime = realtime_pb2_grpc.RealtimeServiceStub(self._channel)

    def call(self, method: Any, request: Any, metadata: Mapping[str, str]) -> Any:
        """Return an answer. Raises UnclearError for codes that are documented for faults."""
        try:
            return method(request, metadata=tuple(metadata.items()), timeout=self._timeout_s)
        except grpc.RpcError as error:
            code = error.code()  # type: ignore[attr-defined]
            if code not in _FAULT_CODES:
                raise AssertionError(str(error)) from None
            trailing = dict(error.trailing_metadata() or ())  # type: ignore[attr-defined]
            reason = str(trailing.get("footfall-reason", ""))
            raise UnclearError(str(error), code.name, reason) from None

    def send(
        self,
        family: Family,
        ids: Sequence[str],
        *,
        key: str | None = None,
    ) -> Outcome:
        """See Rest.send."""
        tenant = self._tenant
        documents = [document(family, tenant, name, with_id=key is None) for name in ids]
        method, request, credentials = {
            "api": lambda: (
                self._ingest.IngestApiRequests,
                ingest_pb2.IngestApiRequestsRequest(
                    events=[ingest_pb2.ApiRequestEvent(**event) for event in documents]
                ),
                tenant.writes,
            ),
            "web": lambda: (
                self._ingest.IngestWebEvents,
                ingest_pb2.IngestWebEventsRequest(
                    site=tenant.site,
                    events=[ingest_pb2.WebEvent(**event) for event in documents],
                ),
                tenant.bearer,
            ),
            "workspace": lambda: (
                self._ingest.IngestWorkspaceEvents,
                ingest_pb2.IngestWorkspaceEventsRequest(
                    events=[ingest_pb2.WorkspaceEvent(**event) for event in documents]
                ),
                tenant.workspace,
            ),
        }[family]()
        if key is not None:
            credentials = {**credentials, "idempotency-key": key}
        answer = self.call(method, request, credentials)
        assert not answer.rejected, answer
        return Outcome(answer.accepted, answer.duplicates)

    def count(self, family: Family) -> int:
        """See Rest.count."""
        tenant = self._tenant
        if family == "api":
            start, end = _range()
            answer = self.call(
                self._timeseries.QueryTimeseries,
                timeseries_pb2.QueryTimeseriesRequest(start=start, end=end),
                tenant.reads,
            )
            return int(answer.groups[0].points[0].integer)
        if family == "web":
            answer = self.call(
                self._charts.GetCharts,
                charts_pb2.GetChartsRequest(site=tenant.site, preset="today"),
                tenant.bearer,
            )
            return int(answer.daily[0].pageviews)
        request = metrics_pb2.GetMetricRequest(metric="api_calls_per_endpoint")
        now = datetime.now(UTC)
        request.time_start.FromDatetime(now - _DAY)
        request.time_end.FromDatetime(now + _DAY)
        answer = self.call(self._metrics.GetMetric, request, tenant.workspace)
        return _grpc_endpoint_count(answer)

    def live(self) -> int:
        """See Rest.live."""
        tenant = self._tenant
        request = realtime_pb2.GetRealtimeRequest(site=tenant.site)
        answer = self.call(self._realtime.GetRealtime, request, tenant.bearer)
        return int(answer.total_pageviews_today)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


Caller = Rest | Grpc


def document(family: Family, tenant: Tenant, name: str, *, with_id: bool) -> dict[str, Any]:
    """Make an event as it is sent by REST, and by gRPC as well."""
    made: dict[str, Any] = {"event_id": name} if with_id else {}
    if family == "api":
        return made | {
            "consumer_id": "faults",
            "method": "GET",
            "url": f"/items/{len(name)}",
            "function": "list",
            "response_us": 100,
            "status_code": 200,
        }
    if family == "web":
        return made | {
            "url": f"https://{tenant.host}/page-{len(name) % 7}",
            "visitor_id": f"visitor-{name[-1]}",
            "country": "CH",
        }
    # Not a message or a run: those would be told apart by ids of their own.
    return made | {"api_call": {"endpoint": _ENDPOINT, "method": "GET", "status": 200}}


@contextmanager
def callers(address: str, tenant: Tenant, timeout_s: float = _TIMEOUT_S) -> Iterator[list[Caller]]:
    """Make a caller of each face for a block."""
    made: list[Caller] = [Rest(address, tenant, timeout_s), Grpc(address, tenant, timeout_s)]
    try:
        yield made
    finally:
        for caller in made:
            caller.close()


def until_clear(action: Callable[[], _T], timeout_s: float = 30.0) -> _T:
    """Return what the action returns, trying again as long as that is unclear."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return action()
        except UnclearError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _range() -> tuple[int, int]:
    now = int(time.time())
    return now - 86_400, now + 86_400


def _endpoint_count(body: Any) -> int:
    # Nothing at all is told apart from no rows.
    rows = body["value"].get("rows", ())
    return next((row["Calls"] for row in rows if row["Endpoint"] == _ENDPOINT), 0)


def _grpc_endpoint_count(answer: Any) -> int:
    rows = [row.cells for row in answer.table.rows]
    return next((int(calls.integer) for name, calls in rows if name.text == _ENDPOINT), 0)
