"""TimeseriesService."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from google.api.httpbody_pb2 import HttpBody

from footfall.analytics.timeseries import TimeseriesAnswer, TimeseriesRequest, TimeseriesService
from footfall.rpc.call import Call
from footfall.v1 import timeseries_pb2 as pb


class TimeseriesServicer:
    """Time series of API requests, typed and as the published document."""

    def __init__(self, timeseries: TimeseriesService) -> None:
        self._timeseries = timeseries

    async def QueryTimeseries(
        self, request: pb.QueryTimeseriesRequest, call: Call
    ) -> pb.QueryTimeseriesResponse:
        answer = await self._answer(request.start, request.end, request, call)
        return pb.QueryTimeseriesResponse(
            groups=[
                pb.TimeseriesGroup(
                    key=series.key, points=_points(series.times, series.values, answer)
                )
                for series in answer.groups
            ],
            start=answer.start_s,
            end=answer.end_s,
            granularity_ms=answer.granularity_ms,
        )

    async def GetTimeseries(self, request: pb.GetTimeseriesRequest, call: Call) -> HttpBody:
        answer = await self._answer(request.range_start, request.range_end, request, call)
        return HttpBody(content_type="application/json", data=orjson.dumps(answer.document()))

    async def _answer(
        self,
        start: int | str,
        end: int | str,
        request: pb.QueryTimeseriesRequest | pb.GetTimeseriesRequest,
        call: Call,
    ) -> TimeseriesAnswer:
        return await self._timeseries.answer(
            call.tenant.id,
            TimeseriesRequest(
                start=start,
                end=end,
                value=request.value,
                granularity=request.granularity,
                aggregation=request.aggregation,
                group=request.group,
                include=tuple(request.include),
            ),
            call.timeout_s(),
        )


def _points(
    times: Sequence[int], values: Sequence[float], answer: TimeseriesAnswer
) -> list[pb.TimeseriesPoint]:
    if answer.integers:
        return [
            pb.TimeseriesPoint(time=time, integer=value)  # type: ignore[arg-type]  # whole by definition
            for time, value in zip(times, values, strict=True)
        ]
    return [
        pb.TimeseriesPoint(time=time, real=value) for time, value in zip(times, values, strict=True)
    ]
