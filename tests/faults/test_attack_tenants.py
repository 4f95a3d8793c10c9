"""Random histories of two tenants: whatever one asks, nothing of the other is in the answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.queries.catalogue import TYPES
from footfall.v1 import (
    charts_pb2,
    custom_queries_pb2,
    export_pb2,
    ingest_pb2,
    metrics_pb2,
    pace_pb2,
    queries_pb2,
    realtime_pb2,
    sessions_pb2,
    timeseries_pb2,
)
from tests.faults.attack_tenants import (
    Attacked,
    Headers,
    Tenant,
    api_key,
    application,
    bearer,
    make_tenant,
)
from tests.faults.calls import METHODS
from tests.faults.verdicts import Case

#: Histories that grow at the same time, and how many each pair of tenants has one after another.
AT_ONCE = 8
BATCH = 6

Call = tuple[str, Message, Headers]


@dataclass
class Story:
    """A tenant, and a count of what was accepted of it."""

    tenant: Tenant
    page_views: int = 0
    api_requests: int = 0
    runs: set[str] = field(default_factory=set)
    #: What counts once, in each tenant for itself.
    seen: set[str] = field(default_factory=set)

    def fresh(self, event_id: str) -> bool:
        if event_id and event_id in self.seen:
            return False
        self.seen.add(event_id)
        return True


def _web(chance: random.Random, story: Story) -> Call:
    tenant, word = story.tenant, story.tenant.word
    events = []
    for _ in range(chance.randint(1, BATCH)):
        # Both tenants have the same visitors and the same event ids.
        event_id = chance.choice(("", f"w{chance.randrange(40)}"))
        kind = chance.choice(("pageview", "pageview", "custom", "heartbeat"))
        properties = Struct()
        properties.update({word: word})
        event = ingest_pb2.WebEvent(
            event_id=event_id,
            type=kind,
            timestamp=time.time() - chance.choice((0, 30, 3000)),
            url=f"https://{tenant.site.host}/{word}/{chance.randrange(5)}?utm_source={word}",
            title=f"{word} title",
            author=word,
            referrer=f"https://{word}.example.org/{word}",
            visitor_id=f"v{chance.randrange(4)}",
            city=word,
            language="de",
        )
        if kind == "custom":
            event.name = word
            event.properties.CopyFrom(properties)
        elif kind == "heartbeat":
            event.engaged_seconds = 3
        if story.fresh(f"web {event_id}" if event_id else "") and kind == "pageview":
            story.page_views += 1
        events.append(event)
    request = ingest_pb2.IngestWebEventsRequest(site=tenant.site.id, events=events)
    return "IngestService/IngestWebEvents", request, bearer(tenant.keys["write"])


def _api(chance: random.Random, story: Story) -> Call:
    tenant, word = story.tenant, story.tenant.word
    events = []
    for _ in range(chance.randint(1, BATCH)):
        event_id = chance.choice(("", f"a{chance.randrange(40)}"))
        story.api_requests += story.fresh(f"api {event_id}" if event_id else "")
        events.append(
            ingest_pb2.ApiRequestEvent(
                event_id=event_id,
                consumer_id=f"{word}-consumer",
                method=chance.choice(("GET", "POST")),
                url=f"/{word}",
                function=word,
                response_us=chance.randrange(1000),
                status_code=200,
                data={word: word},
            )
        )
    return (
        "IngestService/IngestApiRequests",
        ingest_pb2.IngestApiRequestsRequest(events=events),
        application(tenant.app.application.id, tenant.app.write_key),
    )


def _workspace(chance: random.Random, story: Story) -> Call:
    tenant, word = story.tenant, story.tenant.word
    kinds = ingest_pb2.WorkspaceEvent
    events = []
    for _ in range(chance.randint(1, BATCH)):
        number = chance.randrange(40)
        event = kinds()
        match chance.randrange(5):
            case 0:
                # The same runs, documents and conversations, by their ids, in both workspaces.
                story.runs.add(f"r{number}")
                run = kinds.FlowRun(run_id=f"r{number}", workflow_name=word, user_id=word)
                run.source, run.status = "manual", chance.choice(("running", "failed"))
                event.flow_run.CopyFrom(run)
            case 1:
                operation = kinds.AiOperation(
                    operation_id=f"o{number}", workflow_name=word, node=word, user_id=word
                )
                operation.tool, operation.model, operation.provider = "flow", word, word
                operation.input_tokens = 5
                event.ai_operation.CopyFrom(operation)
            case 2:
                event.message.CopyFrom(
                    kinds.Message(
                        message_id=f"m{number}", conversation_id="c", role="user", user_id=word
                    )
                )
            case 3:
                event.document.CopyFrom(
                    kinds.Document(
                        document_id=f"d{number}",
                        knowledge_base=word,
                        name=word,
                        file_type=word,
                        user_id=word,
                        status="uploaded",
                    )
                )
            case _:
                event.api_call.CopyFrom(
                    kinds.ApiCall(endpoint=f"/{word}", method="GET", status=200, duration_ms=1)
                )
        events.append(event)
    request = ingest_pb2.IngestWorkspaceEventsRequest(events=events)
    return (
        "IngestService/IngestWorkspaceEvents",
        request,
        api_key(tenant.workspace.api_key),
    )


WRITES = (_web, _api, _workspace)


def reads(tenant: Tenant) -> Iterator[Call]:
    """Yield a read of every kind, of everything that a tenant has."""
    site, now = tenant.site.id, int(time.time())
    range_, day = {"start": now - 86_400, "end": now + 3600}, timedelta(days=1)
    days = {
        "start_date": (datetime.now(UTC) - day).date().isoformat(),
        "end_date": (datetime.now(UTC) + day).date().isoformat(),
    }
    key, owner = bearer(tenant.keys["read"]), api_key(tenant.workspace.api_key)
    app = application(tenant.app.application.id, tenant.app.read_key)
    for group in ("", "consumer_id", "url", "function", "method"):
        yield (
            "TimeseriesService/QueryTimeseries",
            timeseries_pb2.QueryTimeseriesRequest(**range_, group=group),
            app,
        )
    yield "ExportService/ExportApiRequests", export_pb2.ExportApiRequestsRequest(**range_), app
    for text in ("csv", "ndjson"):
        texts = {"range_start": str(range_["start"]), "range_end": str(range_["end"])}
        request = export_pb2.DownloadApiRequestsRequest(**texts, format=text)
        yield "ExportService/DownloadApiRequests", request, app
    yield (
        "ExportService/ExportWebEvents",
        export_pb2.ExportWebEventsRequest(website_id=site),
        key,
    )
    for text in ("csv", "ndjson"):
        request = export_pb2.DownloadWebEventsRequest(website_id=site, format=text)
        yield "ExportService/DownloadWebEvents", request, key
    yield "RealtimeService/GetRealtime", realtime_pb2.GetRealtimeRequest(site=site), key
    yield "RealtimeService/GetSources", realtime_pb2.GetSourcesRequest(site=site), key
    yield "ChartsService/GetOverview", charts_pb2.GetOverviewRequest(site=site), key
    yield "ChartsService/GetCharts", charts_pb2.GetChartsRequest(site=site), key
    # A search for what all pages of both have in their addresses.
    yield "ChartsService/GetCharts", charts_pb2.GetChartsRequest(site=site, q="example"), key
    yield "ChartsService/GetEngagement", charts_pb2.GetEngagementRequest(site=site), key
    yield "PaceService/GetPace", pace_pb2.GetPaceRequest(site=site), key
    query = queries_pb2.Query(
        parameters=[queries_pb2.QueryParameter(name=name) for name in TYPES], preset="last_7d"
    )
    request = queries_pb2.RunQueriesRequest(website_id=site, queries=[query])
    yield "QueryService/RunQueries", request, key
    body = HttpBody(
        content_type="application/json",
        data=json.dumps({"parameters": sorted(TYPES), "preset": "last_7d"}).encode(),
    )
    request = queries_pb2.PostQueryRequest(website_id=site, body=body)
    yield "QueryService/PostQuery", request, key
    yield "QueryService/ListWebsites", queries_pb2.ListWebsitesRequest(), key
    yield "SessionService/GetMe", sessions_pb2.GetMeRequest(), key
    for metric in METRICS:
        request = metrics_pb2.GetMetricRequest(
            metric=metric,
            time_start=Timestamp(seconds=range_["start"]),
            time_end=Timestamp(seconds=range_["end"]),
        )
        yield "MetricsService/GetMetric", request, owner
    table = custom_queries_pb2.RunCustomQueryRequest(
        website_id=site,
        table="events",
        selects=[custom_queries_pb2.CustomSelect(field="path", aggregate="uniq")],
        group_by=["host", "path", "title", "city"],
        **days,
    )
    yield "CustomQueryService/RunCustomQuery", table, key
    for sql in (
        "SELECT * FROM events",
        "SELECT host, path, properties FROM custom_events",
        # Those that would reach beyond, if anything could.
        "SELECT * FROM pageviews WHERE 1=1 OR host LIKE '%'",
        "WITH e AS (SELECT * FROM events) SELECT * FROM e UNION ALL SELECT * FROM events",
    ):
        request = custom_queries_pb2.ExecuteSqlRequest(website_id=site, query=sql)
        yield "CustomQueryService/ExecuteSql", request, key


def _is_costly(call: Call) -> bool:
    return call[0].startswith("CustomQueryService/")


async def ask(channel: grpc.aio.Channel, call: Call) -> bytes:
    """Return all of an answer; a read that the machine is too busy for is asked again."""
    for _ in range(5):
        try:
            return await _ask(channel, call)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or "/Ingest" in call[0]:
                raise
            await asyncio.sleep(0.5)
    return await _ask(channel, call)


async def _ask(channel: grpc.aio.Channel, call: Call) -> bytes:
    name, message, headers = call
    method, raw = METHODS[name], message.SerializeToString()
    if method.response_streaming:
        stream = channel.unary_stream(method.path)(raw, metadata=headers, timeout=60)
        return b"".join([part async for part in stream])
    answer: bytes = await channel.unary_unary(method.path)(raw, metadata=headers, timeout=60)
    return answer


async def _counts(channel: grpc.aio.Channel, story: Story) -> dict[str, int]:
    """Return what the service counts of a tenant, of what its story counts."""
    calls = list(reads(story.tenant))
    total = timeseries_pb2.QueryTimeseriesResponse.FromString(await ask(channel, calls[0]))
    summary = queries_pb2.RunQueriesResponse.FromString(
        await ask(channel, next(call for call in calls if call[0] == "QueryService/RunQueries"))
    )
    (views,) = (part for part in summary.results[0].data if part.parameter == "summary_metrics")
    place = [column.name for column in views.columns].index("pageviews")
    runs = metrics_pb2.GetMetricResponse.FromString(
        await ask(
            channel,
            next(c for c in calls if getattr(c[1], "metric", "") == "flow_runs"),
        )
    )
    return {
        "api_requests": sum(p.integer for group in total.groups for p in group.points),
        "page_views": views.rows[0].cells[place].integer if views.rows else 0,
        "runs": runs.scalar.integer,
    }


async def _history(
    chance: random.Random,
    channel: grpc.aio.Channel,
    stories: tuple[Story, Story],
    kinds: Counter[str],
    *,
    few: int,
    costly: bool,
) -> None:
    """Let both do something, one after the other in any order, and look at all that both see."""
    for _ in range(chance.randint(2, 5)):
        await ask(channel, chance.choice(WRITES)(chance, chance.choice(stories)))
    for story, other in (stories, stories[::-1]):
        calls = list(reads(story.tenant))
        some = chance.sample([call for call in calls if not _is_costly(call)], few)
        if costly:
            some += chance.sample([call for call in calls if _is_costly(call)], 1)
        for call in some:
            answer = await ask(channel, call)
            assert other.tenant.word.encode() not in answer, (call[0], call[1])
            for what, text in other.tenant.ids().items():
                assert text.encode() not in answer, (call[0], what)
            kinds[call[0]] += story.tenant.word.encode() in answer


async def test_histories_of_two_tenants(case: Case, attacked: Attacked) -> None:
    histories = 1_000 if case.full else 4
    each = 25 if case.full else 2
    pairs = histories // each
    # Reads after each, of each tenant: of a thousand histories all kinds get many turns.
    few = 3 if case.full else 9
    kinds: Counter[str] = Counter()
    queue = list(range(pairs))
    manager = attacked.manager
    made = [(Story(make_tenant(manager)), Story(make_tenant(manager))) for _ in range(pairs)]

    async with grpc.aio.insecure_channel(attacked.service.grpc_target) as channel:

        async def worker() -> None:
            while queue:
                number = queue.pop()
                chance, stories = random.Random(f"{case.seed} {number}"), made[number]
                for turn in range(each):
                    await _history(
                        chance, channel, stories, kinds, few=few, costly=turn == each - 1
                    )
                for story in stories:
                    assert await _counts(channel, story) == {
                        "api_requests": story.api_requests,
                        "page_views": story.page_views,
                        "runs": len(story.runs),
                    }

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    # Answers that show the own tenant: they had something to confuse.
    seen: dict[str, Any] = dict(kinds.most_common())
    assert sum(1 for count in seen.values() if count) >= (12 if case.full else 6), seen
    case.tell(f"{histories} histories of {pairs} pairs, {sum(seen.values())} answers with own rows")
