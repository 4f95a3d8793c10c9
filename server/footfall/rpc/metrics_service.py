"""MetricsService."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from footfall.analytics.metrics import answers
from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.documents import document
from footfall.analytics.metrics.plans import Column, Form, Metric
from footfall.analytics.metrics.service import MetricsService
from footfall.analytics.metrics.validation import MetricRequest
from footfall.durations import HOUR_US
from footfall.rpc.call import Call
from footfall.v1 import metrics_pb2 as pb

_FORMS = {
    Form.SCALAR: pb.METRIC_FORM_SCALAR,
    Form.SERIES: pb.METRIC_FORM_SERIES,
    Form.TABLE: pb.METRIC_FORM_TABLE,
    Form.PAGE: pb.METRIC_FORM_PAGE,
}


class MetricsServicer:
    """Metrics of workspaces, typed and as the published documents."""

    def __init__(self, metrics: MetricsService) -> None:
        self._metrics = metrics

    async def ListMetrics(
        self,
        request: pb.ListMetricsRequest,  # noqa: ARG002  # has nothing to say
        call: Call,  # noqa: ARG002  # the catalogue is the same for all
    ) -> pb.ListMetricsResponse:
        return pb.ListMetricsResponse(metrics=[_info(metric) for metric in METRICS.values()])

    async def GetMetric(self, request: pb.GetMetricRequest, call: Call) -> pb.GetMetricResponse:
        asked = MetricRequest(
            request.metric,
            _us(request.time_start) if request.HasField("time_start") else None,
            _us(request.time_end) if request.HasField("time_end") else None,
            request.page if request.HasField("page") else None,
            request.page_size if request.HasField("page_size") else None,
        )
        return _response(await self._metrics.answer(call.tenant.id, asked, call.timeout_s()))

    async def GetMetricDocument(self, request: pb.GetMetricDocumentRequest, call: Call) -> HttpBody:
        asked = MetricRequest(
            request.metric,
            request.time_start if request.HasField("time_start") else None,
            request.time_end if request.HasField("time_end") else None,
            request.page if request.HasField("page") else None,
            request.page_size if request.HasField("page_size") else None,
        )
        answer = await self._metrics.answer(call.tenant.id, asked, call.timeout_s())
        if answer.price_list:
            call.headers.append(("x-price-list-version", answer.price_list))
        return HttpBody(content_type="application/json", data=document(answer))


def _info(metric: Metric) -> pb.MetricInfo:
    return pb.MetricInfo(
        name=metric.name,
        response_type=metric.form.response_type,
        section=metric.section.value,
        description=metric.description,
        columns=_columns(metric.columns),
        paginated=metric.form is Form.PAGE,
        form=_FORMS[metric.form],
    )


def _columns(columns: Iterable[Column]) -> list[pb.MetricColumn]:
    return [
        pb.MetricColumn(
            heading=column.heading, prefix=column.prefix or "", suffix=column.suffix or ""
        )
        for column in columns
    ]


def _response(answer: answers.Answer) -> pb.GetMetricResponse:
    response = pb.GetMetricResponse(
        metric=answer.metric.name,
        warnings=answer.warnings,
        price_list_version=answer.price_list,
    )
    match answer.result:
        case answers.Empty():
            response.empty.SetInParent()
        case answers.Scalar(column, value):
            scalar = pb.MetricScalar(prefix=column.prefix or "", suffix=column.suffix or "")
            if isinstance(value, int):
                scalar.integer = value
            else:
                scalar.real = value
            response.scalar.CopyFrom(scalar)
        case answers.Series() as series:
            response.series.CopyFrom(_series(series))
        case answers.Table(columns, rows):
            response.table.columns.extend(_columns(columns))
            _add_rows(response.table.rows, rows)
        case answers.Page(columns, items, total, pages, size, page):
            response.page.MergeFrom(
                pb.MetricPage(
                    columns=_columns(columns), total=total, pages=pages, size=size, page=page
                )
            )
            _add_rows(response.page.items, items)
    return response


def _series(series: answers.Series) -> pb.MetricSeries:
    names = [column.heading for column in series.columns]
    hourly = series.bucket_us == HOUR_US
    return pb.MetricSeries(
        bucket_size=pb.BUCKET_SIZE_HOUR if hourly else pb.BUCKET_SIZE_DAY,
        names=names,
        buckets=[
            pb.MetricBucket(
                start=_timestamp(bucket.start_us),
                name=bucket.name,
                values=dict(zip(names, bucket.values, strict=True)),
            )
            for bucket in series.buckets
        ],
    )


def _add_rows(rows: Any, cells: Iterable[tuple[answers.Cell, ...]]) -> None:
    """Add rows to a repeated field, in place: a table has thousands of cells. Setting a field takes
    half as long as `add(field=value)`, and `match` half as long again as `if`.
    """
    for row in cells:
        add = rows.add().cells.add
        for value in row:
            cell = add()
            if isinstance(value, str):
                cell.text = value
            elif isinstance(value, int):
                cell.integer = value
            elif isinstance(value, float):
                cell.real = value
            elif isinstance(value, answers.Instant):
                _set(cell.time, value.us)
            elif isinstance(value, answers.Elapsed):
                _set(cell.duration, value.us)


def _set(time: Timestamp | Duration, us: int) -> None:
    time.seconds, rest = divmod(us, 1_000_000)
    time.nanos = rest * 1000


def _us(timestamp: Timestamp) -> int:
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1000


def _timestamp(at_us: int) -> Timestamp:
    seconds, rest = divmod(at_us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)
