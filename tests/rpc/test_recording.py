"""What a workspace calls is in its log, by route or by method, with how it ended."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import duckdb
import grpc
import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import Scope, Site
from footfall.settings import Settings
from footfall.v1 import ingest_pb2, realtime_pb2
from footfall.v1 import metrics_pb2 as pb
from tests.rpc.conftest import Metadata, Service, serving
from tests.rpc.test_metrics import new_workspace, rest, typed

pytestmark = pytest.mark.asyncio(loop_scope="session")

Entry = tuple[str, str, int]


def transcoded(method: str, path: str) -> Metadata:
    """What the gateway's transcoder leaves on a call."""
    return (("x-envoy-original-method", method), ("x-envoy-original-path", path))


async def log_of(service: Service, workspace: Metadata) -> Counter[Entry]:
    """Return what is recorded by now; asking for it is a call, too, but not recorded yet."""
    now = datetime.now(UTC)
    ends = ((now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat())
    request = rest("api_calls_log", *ends, page_size="200")
    answer = await service.metrics.GetMetricDocument(request, metadata=workspace)
    items = orjson.loads(answer.data)["value"].get("items", [])
    assert all(re.fullmatch("[0-9]+ms", item["Duration"]) for item in items)
    return Counter((item["Endpoint"], item["Method"], item["Status"]) for item in items)


async def recorded(service: Service, workspace: Metadata, *expected: Entry) -> None:
    """Wait until calls are in the log, and nothing else but the looking."""
    looking = ("footfall.v1.MetricsService/GetMetricDocument", "GRPC", 200)
    found: Counter[Entry] = Counter()
    for _ in range(100):
        found = await log_of(service, workspace)
        del found[looking]
        if found == Counter(expected):
            return
        await asyncio.sleep(0.1)
    assert found == Counter(expected)


async def test_rest_calls_go_by_their_routes(service: Service) -> None:
    workspace = new_workspace(service, 1_000_000)
    for path in ("/v1/analytics/flow_runs?time_start=x", "/analytics/flow_runs/"):
        metadata = (*workspace, *transcoded("GET", path))
        await service.metrics.GetMetricDocument(rest("flow_runs"), metadata=metadata)
    await service.metrics.ListMetrics(
        pb.ListMetricsRequest(), metadata=(*workspace, *transcoded("GET", "/v1/analytics"))
    )
    body = orjson.dumps([{"trigger": {"trigger_id": "t", "enabled": True}}])
    await service.ingest.CollectWorkspaceEvents(
        ingest_pb2.CollectWorkspaceEventsRequest(
            content=HttpBody(content_type="application/json", data=body)
        ),
        metadata=(*workspace, *transcoded("POST", "/v1/events")),
    )
    await recorded(
        service,
        workspace,
        ("/v1/analytics/{metric}", "GET", 200),
        ("/analytics/{metric}", "GET", 200),
        ("/v1/analytics", "GET", 200),
        ("/v1/events", "POST", 200),
    )


async def test_failures_are_calls_too(service: Service) -> None:
    workspace = new_workspace(service, 1_000_000)
    path = transcoded("GET", "/v1/analytics/nothing")
    for request, metadata in (
        (rest("nothing"), (*workspace, *path)),
        (pb.GetMetricDocumentRequest(metric="errors"), (*workspace, *path)),
        (rest("nothing"), workspace),
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await service.metrics.GetMetricDocument(request, metadata=metadata)
    await recorded(
        service,
        workspace,
        ("/v1/analytics/{metric}", "GET", 404),
        ("/v1/analytics/{metric}", "GET", 422),
        ("footfall.v1.MetricsService/GetMetricDocument", "GRPC", 404),
    )


async def test_a_refused_call_is_a_call_of_the_workspace_and_a_strangers_is_not(
    service: Service, site: Site
) -> None:
    workspace = new_workspace(service, 1)
    answered = [
        await service.metrics.GetMetric(typed("errors"), metadata=metadata).code()
        for metadata in (workspace, workspace, (), (("x-api-key", "wrong"),))
    ]
    assert answered[2:] == [grpc.StatusCode.UNAUTHENTICATED] * 2
    # Calls of a site's key are nobody's.
    await service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=site.id), metadata=service.key([site], Scope.READ)
    )
    service.manager.update_plan("metrics-1", {"workspace_requests_per_second": 1_000_000})
    statuses = {grpc.StatusCode.OK: 200, grpc.StatusCode.RESOURCE_EXHAUSTED: 429}
    await asyncio.sleep(1.5)  # until the plan is in force everywhere, and the second has passed
    name = "footfall.v1.MetricsService/GetMetric"
    await recorded(service, workspace, *((name, "GRPC", statuses[code]) for code in answered[:2]))


async def test_the_last_calls_are_recorded_before_the_server_ends(own_settings: Settings) -> None:
    async with serving(own_settings) as service:
        workspace = new_workspace(service)
        body = orjson.dumps({"trigger": {"trigger_id": "t", "enabled": True}})
        await service.ingest.CollectWorkspaceEvents(
            ingest_pb2.CollectWorkspaceEventsRequest(
                content=HttpBody(content_type="application/json", data=body)
            ),
            metadata=workspace,
        )
    with duckdb.connect(str(own_settings.data_dir / "events.duckdb"), read_only=True) as database:
        rows = database.execute("SELECT endpoint, method, status FROM api_calls").fetchall()
    assert rows == [("footfall.v1.IngestService/CollectWorkspaceEvents", "GRPC", 200)]
