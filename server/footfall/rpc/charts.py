"""ChartsService."""

from __future__ import annotations

from google.protobuf import struct_pb2

from footfall.analytics.charts import ChartsAnswer, ChartsService
from footfall.analytics.days import day_text
from footfall.analytics.engagement import EngagementAnswer, EngagementService
from footfall.analytics.model import DayCount
from footfall.analytics.overview import OverviewAnswer, OverviewService
from footfall.analytics.ranges import Asked, DayRange, RangeRequest
from footfall.rpc.call import Call
from footfall.rpc.conditional import Keep, keepable
from footfall.v1 import charts_pb2 as pb


class ChartsServicer:
    """The history of a site by its local days."""

    def __init__(
        self, overview: OverviewService, charts: ChartsService, engagement: EngagementService
    ) -> None:
        self._overview = overview
        self._charts = charts
        self._engagement = engagement

    async def GetOverview(
        self, request: pb.GetOverviewRequest, call: Call
    ) -> pb.GetOverviewResponse:
        answer = await self._overview.answer(call.tenant, request.days, call.timeout_s())
        return keepable(call, _overview(answer), Keep.A_MINUTE)

    async def GetCharts(self, request: pb.GetChartsRequest, call: Call) -> pb.GetChartsResponse:
        answer = await self._charts.answer(call.tenant, _asked(request), call.timeout_s())
        return keepable(call, _charts(answer), _keep(answer.asked, answer.days))

    async def GetEngagement(
        self, request: pb.GetEngagementRequest, call: Call
    ) -> pb.GetEngagementResponse:
        answer = await self._engagement.answer(call.tenant, _asked(request), call.timeout_s())
        return keepable(call, _engagement(answer), _keep(answer.asked, answer.days))


def _asked(request: pb.GetChartsRequest | pb.GetEngagementRequest) -> RangeRequest:
    return RangeRequest(
        preset=request.preset,
        start=request.start,
        end=request.end,
        limit=request.limit,
        q=request.q,
        search=request.search,
    )


def _keep(asked: Asked, days: DayRange) -> Keep:
    """Return how long an answer may be kept: what today is in changes with every event."""
    return Keep.IF_UNCHANGED if asked.today in days else Keep.A_MINUTE


def _overview(answer: OverviewAnswer) -> pb.GetOverviewResponse:
    message = pb.GetOverviewResponse(
        site=answer.site,
        timezone=answer.timezone,
        range=pb.OverviewRange(days=len(answer.daily)),
        daily=[_day(day) for day in answer.daily],
        totals=pb.OverviewTotals(pageviews=answer.totals.pageviews, visits=answer.totals.visits),
    )
    if answer.days is not None:
        setattr(message.range, "from", day_text(answer.days.first))
        message.range.to = day_text(answer.days.last)
    return message


def _charts(answer: ChartsAnswer) -> pb.GetChartsResponse:
    return pb.GetChartsResponse(
        site=answer.site,
        preset=answer.asked.preset,
        timezone=answer.timezone,
        range=_range(answer.asked, answer.days),
        limits=pb.ChartsLimits(
            min_date=day_text(answer.limits.first),
            max_date=day_text(answer.limits.last),
            max_days=struct_pb2.Value(null_value=struct_pb2.NULL_VALUE),
        ),
        search=pb.ChartsSearch(query=answer.search),
        daily=[_day(day) for day in answer.daily],
        summary=pb.ChartsSummary(
            total_pageviews=answer.totals.pageviews,
            total_visits=answer.totals.visits,
            pages_per_visitor=answer.pages_per_visitor,
        ),
        top_pages=[
            pb.TopPage(
                rank=page.rank,
                title=page.title,
                author=page.author,
                pubdate=page.pubdate,
                url=page.url,
                url_full=page.url_full,
                url_id=page.url_id,
                thumbnail=page.thumbnail,
                pageviews=page.pageviews,
                visits=page.visits,
            )
            for page in answer.top_pages
        ],
    )


def _engagement(answer: EngagementAnswer) -> pb.GetEngagementResponse:
    return pb.GetEngagementResponse(
        site=answer.site,
        preset=answer.asked.preset,
        timezone=answer.timezone,
        range=_range(answer.asked, answer.days),
        daily=[
            pb.EngagedDay(date=day_text(day.local_day), engaged_seconds=day.engaged_s)
            for day in answer.daily
        ],
        summary=pb.EngagementSummary(
            engaged_seconds=answer.engaged_s, seconds_per_visit=answer.seconds_per_visit
        ),
        top_pages=[
            pb.EngagedPage(
                rank=page.rank,
                title=page.title,
                url=page.url,
                url_id=page.url_id,
                engaged_seconds=page.engaged_s,
                pageviews=page.pageviews,
                seconds_per_pageview=page.seconds_per_pageview,
            )
            for page in answer.top_pages
        ],
    )


def _range(asked: Asked, days: DayRange) -> pb.ChartsRange:
    # `from` is a word of Python's, so it cannot be a keyword argument.
    return pb.ChartsRange(
        **{"from": day_text(days.first)},
        to=day_text(days.last),
        label=asked.label,
        days=days.days,
    )


def _day(day: DayCount) -> pb.DayCounts:
    return pb.DayCounts(date=day_text(day.local_day), pageviews=day.pageviews, visits=day.visits)
