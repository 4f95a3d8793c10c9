"""PaceService."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import struct_pb2

from footfall.analytics import pace as domain
from footfall.rpc.call import Call
from footfall.rpc.conditional import Keep
from footfall.v1 import pace_pb2 as pb


class PaceServicer:
    """A site's day against the day before."""

    def __init__(self, pace: domain.PaceService) -> None:
        self._pace = pace

    async def GetPace(
        self,
        request: pb.GetPaceRequest,  # noqa: ARG002  # the chain has read the site
        call: Call,
    ) -> pb.GetPaceResponse:
        answer = await self._pace.answer(call.tenant, call.timeout_s())
        call.headers.append(("cache-control", Keep.NEVER))
        return _pace(answer)


def _pace(answer: domain.PaceAnswer) -> pb.GetPaceResponse:
    today, yesterday, before = answer.today, answer.yesterday, answer.same_time
    return pb.GetPaceResponse(
        site=answer.site,
        updated_at=answer.updated_at,
        timezone=answer.timezone,
        date=answer.date,
        slot_minutes=answer.slot_minutes,
        today=pb.PaceToday(pageviews=today.pageviews, visits=today.visits),
        yesterday=pb.PaceYesterday(
            date=answer.yesterday_date,
            pageviews=yesterday.pageviews,
            visits=yesterday.visits,
            pageviews_same_time=before.pageviews,
            visits_same_time=before.visits,
        ),
        pace=pb.PaceChange(
            pageviews_percent=_number(answer.pageviews_percent),
            visits_percent=_number(answer.visits_percent),
        ),
        projected=pb.PaceProjection(
            pageviews=_number(answer.projected_pageviews),
            visits=_number(answer.projected_visits),
        ),
        curves=pb.PaceCurves(
            today=_points(answer.curve_today), yesterday=_points(answer.curve_yesterday)
        ),
    )


def _number(value: float | None) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    return struct_pb2.Value(number_value=value)


def _points(points: Iterable[domain.PacePoint]) -> list[pb.PacePoint]:
    return [
        pb.PacePoint(
            time=point.time,
            pageviews=point.counts.pageviews,
            visits=point.counts.visits,
            cumulative_pageviews=point.cumulative.pageviews,
            cumulative_visits=point.cumulative.visits,
        )
        for point in points
    ]
