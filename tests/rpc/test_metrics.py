"""Metrics over the wire: events in as workspaces send them, answers out, typed and as documents."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import genai_prices
import grpc
import orjson
import pytest
import pytest_asyncio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp

from footfall.analytics.metrics.catalogue import METRICS
from footfall.v1 import ingest_pb2
from footfall.v1 import metrics_pb2 as pb
from tests.events.metrics_recount import Recount, ordered
from tests.events.workspaces import DAY, END, HOUR, START, as_sent, month
from tests.rpc.conftest import Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

MONTH = ("2026-08-10T00:00:00Z", "2026-09-08T23:59:59Z")

_numbers = itertools.count(1)


def new_workspace(service: Service, requests_per_second: int = 5) -> Metadata:
    plan = service.manager.update_plan(
        f"metrics-{requests_per_second}",
        {"workspace_requests_per_second": requests_per_second},
        like="free",
    )
    account = service.manager.create_account(f"metrics-{next(_numbers)}", plan.name)
    made = service.manager.create_workspace(account.id, "workspace")
    return (("x-api-key", made.api_key),)


async def send(service: Service, workspace: Metadata, events: list[Any]) -> None:
    body = HttpBody(content_type="application/json", data=orjson.dumps(events))
    answer = await service.ingest.CollectWorkspaceEvents(
        ingest_pb2.CollectWorkspaceEventsRequest(content=body), metadata=workspace
    )
    assert answer.accepted == len(events), answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def filled(service: Service) -> Metadata:
    workspace = new_workspace(service, 1_000_000)
    await send(service, workspace, [as_sent(event) for event in month()])
    return workspace


@pytest.fixture
def workspace(service: Service) -> Metadata:
    return new_workspace(service)


def at(us: int) -> Timestamp:
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def typed(
    metric: str, start_us: int = START, end_us: int = END, **page: int
) -> pb.GetMetricRequest:
    return pb.GetMetricRequest(metric=metric, time_start=at(start_us), time_end=at(end_us), **page)


def rest(metric: str, *ends: str, **page: str) -> pb.GetMetricDocumentRequest:
    start, end = ends or MONTH
    return pb.GetMetricDocumentRequest(metric=metric, time_start=start, time_end=end, **page)


async def test_every_document_is_what_a_recount_says(service: Service, filled: Metadata) -> None:
    recount = Recount(month(), START, END)
    for metric in METRICS:
        answer = await service.metrics.GetMetricDocument(rest(metric), metadata=filled)
        assert answer.content_type == "application/json"
        body = json.loads(answer.data)
        body.pop("warnings", None)
        # The service's own record of these calls is of today.
        assert ordered(body) == ordered(recount.answer(metric)), metric


async def test_answers_are_typed(service: Service, filled: Metadata) -> None:
    async def ask(metric: str, *ends: int, **page: int) -> pb.GetMetricResponse:
        answer: pb.GetMetricResponse = await service.metrics.GetMetric(
            typed(metric, *ends, **page), metadata=filled
        )
        assert answer.metric == metric
        return answer

    recount = Recount(month(), START, END)
    runs = (await ask("flow_runs")).scalar
    assert (runs.WhichOneof("value"), runs.integer) == ("integer", len(recount.runs))
    assert (runs.prefix, runs.suffix) == ("", " runs")

    total = await ask("ai_models_total_cost")
    expected = recount.ai_models_total_cost()["value"]["value"]
    assert total.scalar.WhichOneof("value") == "real"
    assert (total.scalar.real, total.scalar.prefix) == (expected, "$")
    assert total.price_list_version == f"genai-prices {genai_prices.__version__}"
    assert len(total.warnings) == 4

    day = (await ask("flow_runs_distribution", START, START + DAY - 1)).series
    assert (day.bucket_size, list(day.names)) == (
        pb.BUCKET_SIZE_HOUR,
        ["manual", "trigger", "agent"],
    )
    assert [bucket.start for bucket in day.buckets] == [at(START + h * HOUR) for h in range(24)]
    first = Recount(month(), START, START + DAY - 1).flow_runs_distribution()["value"]["values"]
    assert [(bucket.name, dict(bucket.values)) for bucket in day.buckets] == [
        (row["name"], row["values"]) for row in first
    ]
    assert (await ask("errors_over_time")).series.bucket_size == pb.BUCKET_SIZE_DAY

    costs = (await ask("tokens_cost")).table
    assert [(c.heading, c.prefix, c.suffix) for c in costs.columns] == [
        ("Model", "", ""),
        ("Tokens", "", ""),
        ("Cost", "$", ""),
    ]
    rows = recount.tokens_cost()["value"]["rows"]
    assert [value(cell) for row in costs.rows for cell in row.cells] == [
        cell for row in rows for cell in row.values()
    ]

    activity = (await ask("kb_user_activity")).table
    assert {row.cells[-1].WhichOneof("value") for row in activity.rows} == {"time"}

    page = (await ask("api_calls_log", page=2, page_size=100)).page
    log = recount.log(2, 100)["value"]
    assert (page.total, page.pages, page.size, page.page) == (
        log["total"],
        log["pages"],
        100,
        2,
    )
    assert [row.cells[0].text for row in page.items] == [row["Endpoint"] for row in log["items"]]
    assert {row.cells[-1].WhichOneof("value") for row in page.items} <= {"duration", None}

    nothing = await ask("flow_per_user", START - 90 * DAY, START - 80 * DAY)
    assert nothing.WhichOneof("answer") == "empty"


def value(cell: pb.MetricCell) -> Any:
    kind = cell.WhichOneof("value")
    return None if kind is None else getattr(cell, kind)


async def test_a_cost_that_nobody_knows_is_null_and_told(
    service: Service, workspace: Metadata
) -> None:
    used = {"operation_id": "o", "model": "our-own", "input_tokens": 5, "output_tokens": 6}
    await send(service, workspace, [{"timestamp": MONTH[0], "ai_operation": used}])
    warning = 'No price is known for the model "our-own"; costs leave its operations out.'
    answer = await service.metrics.GetMetric(typed("tokens_cost"), metadata=workspace)
    assert [value(cell) for cell in answer.table.rows[0].cells] == ["our-own", 11, None]
    assert list(answer.warnings) == [warning]
    body = (await service.metrics.GetMetricDocument(rest("tokens_cost"), metadata=workspace)).data
    assert json.loads(body)["value"]["rows"] == [{"Model": "our-own", "Tokens": 11, "Cost": None}]
    total = await service.metrics.GetMetric(typed("ai_models_total_cost"), metadata=workspace)
    assert (total.scalar.WhichOneof("value"), total.scalar.real) == ("real", 0.0)
    assert list(total.warnings) == [warning]


async def test_the_list_price_of_what_came_in_is_named(service: Service, filled: Metadata) -> None:
    call = service.metrics.GetMetricDocument(rest("tokens_cost"), metadata=filled)
    await call
    version = f"genai-prices {genai_prices.__version__}"
    assert dict(await call.trailing_metadata())["x-price-list-version"] == version
    call = service.metrics.GetMetricDocument(rest("flow_runs"), metadata=filled)
    await call
    assert "x-price-list-version" not in dict(await call.trailing_metadata())


async def test_the_catalogue_is_listed(service: Service, workspace: Metadata) -> None:
    answer = await service.metrics.ListMetrics(pb.ListMetricsRequest(), metadata=workspace)
    assert [metric.name for metric in answer.metrics] == list(METRICS)
    by_name = {metric.name: metric for metric in answer.metrics}
    assert by_name["flow_runs"] == pb.MetricInfo(
        name="flow_runs",
        response_type="simple",
        section="Execution",
        description="Total flow executions in the time range",
        columns=[pb.MetricColumn(suffix=" runs")],
        form=pb.METRIC_FORM_SCALAR,
    )
    log = by_name["api_calls_log"]
    assert (log.response_type, log.form, log.paginated) == ("table", pb.METRIC_FORM_PAGE, True)
    assert [c.heading for c in by_name["tokens_cost"].columns] == ["Model", "Tokens", "Cost"]


async def test_faults_are_told_all_at_once(service: Service, workspace: Metadata) -> None:
    request = pb.GetMetricDocumentRequest(metric="flow_runs", time_end="", page_size="201")
    error = await refused(service.metrics.GetMetricDocument(request, metadata=workspace))
    assert (error.code, error.http, error.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        422,
        "INVALID_PARAMETERS",
    )
    assert json.loads(unquote(error.trailing["footfall-detail"])) == [
        {"loc": ["query", "time_start"], "msg": "field required", "type": "value_error.missing"},
        {
            "loc": ["query", "time_end"],
            "msg": "invalid datetime format",
            "type": "value_error.datetime",
        },
        {
            "loc": ["query", "page_size"],
            "msg": "ensure this value is less than or equal to 200",
            "type": "value_error.number.not_le",
        },
    ]
    error = await refused(
        service.metrics.GetMetric(
            pb.GetMetricRequest(metric="flow_runs", page=0), metadata=workspace
        )
    )
    assert [(v.field, v.reason) for v in error.details["BadRequest"].field_violations] == [
        ("time_start", "VALUE_ERROR_MISSING"),
        ("time_end", "VALUE_ERROR_MISSING"),
        ("page", "VALUE_ERROR_NUMBER_NOT_GE"),
    ]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (rest("no_such_metric"), (grpc.StatusCode.NOT_FOUND, 404, "Unknown metric")),
        (
            rest("flow_runs", *reversed(MONTH)),
            (grpc.StatusCode.INVALID_ARGUMENT, 400, "time_start must be before time_end"),
        ),
    ],
)
async def test_other_refusals_are_one_sentence(
    service: Service,
    workspace: Metadata,
    request_: pb.GetMetricDocumentRequest,
    expected: tuple[grpc.StatusCode, int, str],
) -> None:
    error = await refused(service.metrics.GetMetricDocument(request_, metadata=workspace))
    assert (error.code, error.http, error.message) == expected
    assert "footfall-detail" not in error.trailing


async def test_a_key_is_needed_and_opens_its_own_workspace_only(
    service: Service, filled: Metadata, workspace: Metadata
) -> None:
    call = service.metrics.GetMetric
    assert (await refused(call(typed("flow_runs")))).http == 401
    wrong = (("x-api-key", filled[0][1] + "x"),)
    assert (await refused(call(typed("flow_runs"), metadata=wrong))).http == 401
    assert (await call(typed("flow_runs"), metadata=filled)).scalar.integer > 0
    assert (await call(typed("flow_runs"), metadata=workspace)).scalar.integer == 0


async def test_five_requests_a_second_for_all_keys_and_methods(
    service: Service, workspace: Metadata
) -> None:
    stubs = itertools.cycle(
        (
            lambda: service.metrics.ListMetrics(pb.ListMetricsRequest(), metadata=workspace),
            lambda: service.metrics.GetMetric(typed("flow_runs"), metadata=workspace),
            lambda: service.metrics.GetMetricDocument(rest("flow_runs"), metadata=workspace),
        )
    )
    codes = await asyncio.gather(*(code_of(next(stubs)) for _ in range(12)))
    allowed = codes.count(grpc.StatusCode.OK)
    # A second may end while they are on their way.
    assert 5 <= allowed <= 10
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 12 - allowed


async def code_of(call: Callable[[], Any]) -> grpc.StatusCode:
    started = call()
    code: grpc.StatusCode = await started.code()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert dict(await started.trailing_metadata())["retry-after"] == "1"
    return code
