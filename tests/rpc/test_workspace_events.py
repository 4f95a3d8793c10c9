"""Workspace events in by every RPC, and what becomes of them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp

from footfall.accounts.model import Scope
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import metrics_pb2
from tests.rpc.conftest import App, Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = int(time.time())
Event = pb.WorkspaceEvent

_numbers = itertools.count(1)


@pytest.fixture
def workspace(service: Service) -> Metadata:
    patient = {"workspace_requests_per_second": 1_000}
    plan = service.manager.update_plan("workspace-events", patient, like="free")
    account = service.manager.create_account(f"workspace-events-{next(_numbers)}", plan.name)
    made = service.manager.create_workspace(account.id, "workspace")
    return (("x-api-key", made.api_key),)


def collect(body: object, content_type: str = "application/json") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pb.CollectWorkspaceEventsRequest(content=HttpBody(content_type=content_type, data=data))


def batch(*events: pb.WorkspaceEvent) -> pb.IngestWorkspaceEventsRequest:
    return pb.IngestWorkspaceEventsRequest(events=events)


def message(message_id: str, **more: Any) -> pb.WorkspaceEvent:
    return Event(message=Event.Message(message_id=message_id), **more)


async def scalar(service: Service, workspace: Metadata, metric: str) -> float:
    """A metric of the last and the next day."""
    answer = await service.metrics.GetMetric(
        metrics_pb2.GetMetricRequest(
            metric=metric,
            time_start=Timestamp(seconds=NOW - 86_400),
            time_end=Timestamp(seconds=NOW + 86_400),
        ),
        metadata=workspace,
    )
    value = answer.scalar
    return float(getattr(value, value.WhichOneof("value")))


async def test_every_kind_by_every_way_is_the_same(service: Service, workspace: Metadata) -> None:
    kinds: list[dict[str, Any]] = [
        {
            "flow_run": {
                "run_id": "r",
                "workflow_id": "w",
                "workflow_name": "W",
                "user_id": "ana",
                "source": "manual",
                "status": "completed",
                "started_at": NOW - 2.5,
                "finished_at": NOW - 1.25,
            }
        },
        {
            "ai_operation": {
                "operation_id": "o",
                "run_id": "r",
                "conversation_id": "c",
                "workflow_name": "W",
                "node": "n",
                "user_id": "ana",
                "tool": "flow",
                "provider": "openai",
                "model": "gpt-4o",
                "input_tokens": 100,
                "output_tokens": 20,
                "cache_read_tokens": 3,
                "cache_write_tokens": 0,
                "reasoning_tokens": 1,
                "cached": False,
                "cost": 0.125,
            }
        },
        {"conversation": {"conversation_id": "c", "user_id": "ana"}},
        {"message": {"message_id": "m", "conversation_id": "c", "role": "user"}},
        {
            "document": {
                "document_id": "d",
                "knowledge_base": "kb",
                "name": "d.pdf",
                "file_type": "pdf",
                "user_id": "ana",
                "status": "uploaded",
            }
        },
        {"trigger": {"trigger_id": "t", "enabled": True}},
        {"api_call": {"endpoint": "/x", "method": "GET", "status": 200, "duration_ms": 1.5}},
    ]
    documents = [
        {"event_id": f"e{n}", "timestamp": NOW - n, **kind} for n, kind in enumerate(kinds)
    ]
    typed = batch(*(Event(**document) for document in documents))
    answer = await service.ingest.IngestWorkspaceEvents(typed, metadata=workspace)
    assert (answer.accepted, answer.duplicates, list(answer.rejected)) == (7, 0, [])
    answer = await service.ingest.CollectWorkspaceEvents(collect(documents), metadata=workspace)
    assert (answer.accepted, answer.duplicates) == (0, 7)
    streamed = await service.ingest.StreamWorkspaceEvents(messages(typed), metadata=workspace)
    assert (streamed.accepted, streamed.duplicates) == (0, 7)
    expected = {
        "flow_runs": 1,
        "average_run_time": 1.25,
        "ai_models_total_tokens": 120,
        "ai_models_total_cost": 0.125,
        "conversations_started": 1,
        "messages_sent": 1,
        "kb_total_documents": 1,
        "active_triggers": 1,
    }
    found = {metric: await scalar(service, workspace, metric) for metric in expected}
    assert found == expected


async def messages(
    *requests: pb.IngestWorkspaceEventsRequest,
) -> AsyncIterator[pb.IngestWorkspaceEventsRequest]:
    for request in requests:
        yield request


async def test_zero_is_not_absent_and_empty_is(service: Service, workspace: Metadata) -> None:
    answer = await service.ingest.IngestWorkspaceEvents(
        batch(
            Event(timestamp=0, trigger=Event.Trigger(trigger_id="t", enabled=False)),
            Event(trigger=Event.Trigger(trigger_id="t")),
            Event(event_id="only"),
            Event(flow_run=Event.FlowRun()),
            Event(ai_operation=Event.AiOperation(operation_id="o", input_tokens=-1)),
        ),
        metadata=workspace,
    )
    assert answer.accepted == 1
    assert [(row.index, row.code) for row in answer.rejected] == [
        (index, "INVALID_FIELD") for index in (1, 2, 3, 4)
    ]
    said = [row.message for row in answer.rejected]
    assert said[0] == "`trigger.enabled` is required: true or false."
    assert "exactly one of `flow_run`, " in said[1]
    assert said[2] == "`flow_run.run_id` is required, but is absent or empty."
    assert said[3].startswith("`ai_operation.input_tokens` must be an integer from 0 to ")


async def test_one_bad_event_of_many_kinds_is_named_and_the_rest_stored(
    service: Service, workspace: Metadata
) -> None:
    answer = await service.ingest.CollectWorkspaceEvents(
        collect([{"message": {"message_id": "m"}}, 5, {"flow_run": {"run_id": "r", "source": 1}}]),
        metadata=workspace,
    )
    assert answer.accepted == 1
    assert [row.index for row in answer.rejected] == [1, 2]
    error = await refused(
        service.ingest.CollectWorkspaceEvents(
            collect([{"flow_run": {"run_id": "r", "source": "x"}}, {}]), metadata=workspace
        )
    )
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_EVENTS",
        400,
    )
    fields = [item.field for item in error.details["BadRequest"].field_violations]
    assert fields == ["events[0].flow_run.source", "events[1]"]


async def test_resending_counts_once(service: Service, workspace: Metadata) -> None:
    async def send(*events: pb.WorkspaceEvent, key: str = "") -> tuple[int, int]:
        metadata = (*workspace, ("idempotency-key", key)) if key else workspace
        answer = await service.ingest.IngestWorkspaceEvents(batch(*events), metadata=metadata)
        return answer.accepted, answer.duplicates

    call = Event(api_call=Event.ApiCall(endpoint="/x"))
    assert await send(message("m"), message("m", event_id="e")) == (2, 0)
    assert await send(message("m"), message("n", event_id="e")) == (0, 2)
    assert await send(call, call) == (2, 0)
    assert await send(call, call, key="k") == (2, 0)
    assert await send(call, call, key="k") == (0, 2)
    assert await scalar(service, workspace, "messages_sent") == 2


async def test_a_body_may_be_one_event_and_must_be_json(
    service: Service, workspace: Metadata
) -> None:
    event = {"message": {"message_id": "m"}}
    answer = await service.ingest.CollectWorkspaceEvents(collect(event), metadata=workspace)
    assert answer.accepted == 1
    for body, content_type, http in (
        (b"[{]", "application/json", 400),
        (b"", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"[]", "application/json", 400),
        (json.dumps(event).encode(), "text/csv", 415),
    ):
        error = await refused(
            service.ingest.CollectWorkspaceEvents(collect(body, content_type), metadata=workspace)
        )
        assert error.http == http, body


@pytest.mark.parametrize("method", ["IngestWorkspaceEvents", "CollectWorkspaceEvents"])
async def test_credentials_are_the_workspaces(service: Service, app: App, method: str) -> None:
    request: Any = batch(message("m"))
    if method == "CollectWorkspaceEvents":
        request = collect([{"message": {"message_id": "m"}}])
    wrong: Iterable[Metadata] = [
        (),
        (("x-api-key", ""),),
        (("x-api-key", "nothing-of-ours"),),
        app.writes,
        service.key([service.site()], Scope.WRITE),
    ]
    for metadata in wrong:
        error = await refused(getattr(service.ingest, method)(request, metadata=metadata))
        assert error.code is grpc.StatusCode.UNAUTHENTICATED
        assert error.http == 401


async def test_a_stream_is_committed_message_by_message(
    service: Service, workspace: Metadata
) -> None:
    keyed = (*workspace, ("idempotency-key", "stream"))
    requests = [
        batch(*(message(f"{part}-{n}") for n in range(500))) if part != 2 else batch(Event())
        for part in range(4)
    ]
    answer = await service.ingest.StreamWorkspaceEvents(messages(*requests), metadata=keyed)
    assert (answer.accepted, answer.duplicates, answer.rejected_total) == (1500, 0, 1)
    assert [row.index for row in answer.rejected] == [1000]
    again = await service.ingest.StreamWorkspaceEvents(messages(*requests), metadata=keyed)
    assert (again.accepted, again.duplicates) == (0, 1500)
    assert await scalar(service, workspace, "messages_sent") == 1500
