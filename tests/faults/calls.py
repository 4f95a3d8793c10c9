"""One call of every RPC that works, and ways to send it: by gRPC, and over REST."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import quote, unquote, urlencode

import grpc
from google.api import annotations_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from footfall.rpc.call import Method
from footfall.rpc.services import DESCRIPTORS, methods
from footfall.v1 import (
    accounts_pb2,
    charts_pb2,
    custom_queries_pb2,
    export_pb2,
    ingest_pb2,
    metrics_pb2,
    pace_pb2,
    queries_pb2,
    realtime_pb2,
    sessions_pb2,
    status_pb2,
    timeseries_pb2,
    usage_pb2,
)
from tests.faults.attack_tenants import Headers, Tenant
from tests.gateway.http1 import Answer, read

_serial = count(1)

#: Every method of the protos: "IngestService/CollectWebEvents" and so on.
METHODS: Mapping[str, Method] = {
    path.removeprefix("/footfall.v1."): method for path, method in methods().items()
}


@dataclass(frozen=True)
class Recipe:
    """A method's credentials, by the name of their kind, and a message that works with them."""

    kind: str
    message: Callable[[Tenant], Message]


def _json(document: Any) -> HttpBody:
    return HttpBody(content_type="application/json", data=json.dumps(document).encode())


def _hour() -> tuple[int, int]:
    now = int(time.time())
    return now - 3600, now + 3600


def _moments() -> tuple[str, str]:
    return tuple(datetime.fromtimestamp(moment, UTC).isoformat() for moment in _hour())  # type: ignore[return-value]


def api_request(tenant: Tenant) -> dict[str, Any]:
    word = tenant.word
    return {
        "consumer_id": f"{word}-consumer",
        "method": "GET",
        "url": f"/{word}/items",
        "function": f"{word}_list",
        "response_us": 1200,
        "status_code": 200,
    }


def page_view(tenant: Tenant) -> dict[str, Any]:
    word = tenant.word
    return {
        "url": f"https://{tenant.site.host}/{word}?utm_source={word}&utm_medium={word}",
        "title": f"Page of {word}",
        "author": word,
        "visitor_id": f"{word}-visitor",
        "city": word,
    }


def flow_run(tenant: Tenant) -> dict[str, Any]:
    word = tenant.word
    run = {"run_id": f"{word}-{next(_serial)}", "workflow_name": word, "user_id": word}
    return {"flow_run": run | {"source": "manual", "status": "completed"}}


def _web_request(tenant: Tenant) -> Message:
    event = ingest_pb2.WebEvent(**page_view(tenant))
    return ingest_pb2.IngestWebEventsRequest(site=tenant.site.id, events=[event])


def _api_request(tenant: Tenant) -> Message:
    event = ingest_pb2.ApiRequestEvent(**api_request(tenant))
    return ingest_pb2.IngestApiRequestsRequest(events=[event])


def _workspace_request(tenant: Tenant) -> Message:
    event = ingest_pb2.WorkspaceEvent(
        flow_run=ingest_pb2.WorkspaceEvent.FlowRun(**flow_run(tenant)["flow_run"])
    )
    return ingest_pb2.IngestWorkspaceEventsRequest(events=[event])


def _tracked(tenant: Tenant) -> Message:
    event = {"name": "screen_view", "path": f"https://{tenant.site.host}/{tenant.word}"}
    content = _json([event | {"websiteId": tenant.site.id}])
    return ingest_pb2.TrackEventsRequest(website_id=tenant.site.id, content=content)


def _metric(tenant: Tenant) -> Message:
    start, end = _hour()
    return metrics_pb2.GetMetricRequest(
        metric="flow_per_user", time_start=Timestamp(seconds=start), time_end=Timestamp(seconds=end)
    )


def _metric_document(tenant: Tenant) -> Message:
    start, end = _moments()
    return metrics_pb2.GetMetricDocumentRequest(
        metric="flow_per_user", time_start=start, time_end=end
    )


def _days(start: str, end: str) -> dict[str, str]:
    """Return yesterday to tomorrow, under these names."""
    today = datetime.now(UTC).date()
    day = timedelta(days=1)
    return {start: (today - day).isoformat(), end: (today + day).isoformat()}


def _custom_query(tenant: Tenant) -> Message:
    return custom_queries_pb2.RunCustomQueryRequest(
        website_id=tenant.site.id,
        table="pageviews",
        selects=[custom_queries_pb2.CustomSelect(field="path", aggregate="uniq")],
        group_by=["path"],
        **_days("start_date", "end_date"),
    )


def _ranged(kind: type[Message], **more: Any) -> Callable[[Tenant], Message]:
    def make(tenant: Tenant) -> Message:
        start, end = _hour()
        if "range_start" in kind.DESCRIPTOR.fields_by_name:
            return kind(range_start=str(start), range_end=str(end), **more)
        return kind(start=start, end=end, **more)

    return make


def _of_site(kind: type[Message], name: str = "site", **more: Any) -> Callable[[Tenant], Message]:
    return lambda tenant: kind(**{name: tenant.site.id}, **more)


def _plain(kind: type[Message], **more: Any) -> Callable[[Tenant], Message]:
    return lambda tenant: kind(**more)


_QUERY = queries_pb2.Query(parameters=[queries_pb2.QueryParameter(name="pages")], preset="last_7d")
_SELECT = "SELECT path, title FROM pageviews"

#: Written by hand, for the credentials are what is promised: a method that is new fails the test
#: that walks the descriptors until it stands here.
RECIPES: Mapping[str, Recipe] = {
    "IngestService/IngestApiRequests": Recipe("application write", _api_request),
    "IngestService/CollectApiRequests": Recipe(
        "application write",
        lambda t: ingest_pb2.CollectApiRequestsRequest(content=_json([api_request(t)])),
    ),
    "IngestService/StreamApiRequests": Recipe("application write", _api_request),
    "IngestService/IngestWebEvents": Recipe("site write", _web_request),
    "IngestService/CollectWebEvents": Recipe(
        "site write or browser",
        lambda t: ingest_pb2.CollectWebEventsRequest(site=t.site.id, content=_json([page_view(t)])),
    ),
    "IngestService/StreamWebEvents": Recipe("site write", _web_request),
    "IngestService/TrackEvents": Recipe("website write or browser", _tracked),
    "IngestService/IngestWorkspaceEvents": Recipe("workspace", _workspace_request),
    "IngestService/CollectWorkspaceEvents": Recipe(
        "workspace",
        lambda t: ingest_pb2.CollectWorkspaceEventsRequest(content=_json([flow_run(t)])),
    ),
    "IngestService/StreamWorkspaceEvents": Recipe("workspace", _workspace_request),
    "TimeseriesService/QueryTimeseries": Recipe(
        "application read", _ranged(timeseries_pb2.QueryTimeseriesRequest, group="consumer_id")
    ),
    "TimeseriesService/GetTimeseries": Recipe(
        "application read", _ranged(timeseries_pb2.GetTimeseriesRequest, group="url")
    ),
    "ExportService/ExportApiRequests": Recipe(
        "application read", _ranged(export_pb2.ExportApiRequestsRequest)
    ),
    "ExportService/DownloadApiRequests": Recipe(
        "application read", _ranged(export_pb2.DownloadApiRequestsRequest)
    ),
    "ExportService/ExportWebEvents": Recipe(
        "website", _of_site(export_pb2.ExportWebEventsRequest, "website_id")
    ),
    "ExportService/DownloadWebEvents": Recipe(
        "website", _of_site(export_pb2.DownloadWebEventsRequest, "website_id")
    ),
    "RealtimeService/GetRealtime": Recipe("site read", _of_site(realtime_pb2.GetRealtimeRequest)),
    "RealtimeService/GetSources": Recipe("site read", _of_site(realtime_pb2.GetSourcesRequest)),
    "RealtimeService/WatchRealtime": Recipe(
        "site read", _of_site(realtime_pb2.WatchRealtimeRequest)
    ),
    "RealtimeService/StreamRealtime": Recipe(
        "site read", _of_site(realtime_pb2.StreamRealtimeRequest)
    ),
    "ChartsService/GetOverview": Recipe("site read", _of_site(charts_pb2.GetOverviewRequest)),
    "ChartsService/GetCharts": Recipe("site read", _of_site(charts_pb2.GetChartsRequest)),
    "ChartsService/GetEngagement": Recipe("site read", _of_site(charts_pb2.GetEngagementRequest)),
    "PaceService/GetPace": Recipe("site read", _of_site(pace_pb2.GetPaceRequest)),
    "MetricsService/ListMetrics": Recipe("workspace", _plain(metrics_pb2.ListMetricsRequest)),
    "MetricsService/GetMetric": Recipe("workspace", _metric),
    "MetricsService/GetMetricDocument": Recipe("workspace", _metric_document),
    "AccountsService/CreateApplication": Recipe(
        "admin", lambda t: accounts_pb2.CreateApplicationRequest(name=f"{t.word} {next(_serial)}")
    ),
    "AccountsService/CreateKey": Recipe(
        "admin", lambda t: accounts_pb2.CreateKeyRequest(sites=[t.site.id])
    ),
    "AccountsService/ListKeys": Recipe("admin", _plain(accounts_pb2.ListKeysRequest)),
    "AccountsService/RotateKey": Recipe(
        "admin", lambda t: accounts_pb2.RotateKeyRequest(id=t.key("read")[0])
    ),
    "AccountsService/RevokeKey": Recipe(
        "admin", lambda t: accounts_pb2.RevokeKeyRequest(id=t.key("read")[0])
    ),
    "AccountsService/CreateSite": Recipe(
        "admin", lambda t: accounts_pb2.CreateSiteRequest(host=f"{t.word}{next(_serial)}.example")
    ),
    "AccountsService/ListSites": Recipe("member", _plain(accounts_pb2.ListSitesRequest)),
    "AccountsService/UpdateSite": Recipe(
        "admin", _of_site(accounts_pb2.UpdateSiteRequest, "id", public=False)
    ),
    "AccountsService/DeleteSite": Recipe(
        "admin", lambda t: accounts_pb2.DeleteSiteRequest(id=t.spare_site())
    ),
    "AccountsService/DeleteVisitor": Recipe(
        "admin", _of_site(accounts_pb2.DeleteVisitorRequest, "site", visitor_id="nobody")
    ),
    "AccountsService/CreateMember": Recipe(
        "admin",
        lambda t: accounts_pb2.CreateMemberRequest(
            email=f"{t.word}-{next(_serial)}@example.org", password=t.password
        ),
    ),
    "AccountsService/ListMembers": Recipe("member", _plain(accounts_pb2.ListMembersRequest)),
    "AccountsService/UpdateMember": Recipe(
        "admin", lambda t: accounts_pb2.UpdateMemberRequest(id=t.member.id, role="member")
    ),
    "AccountsService/RemoveMember": Recipe(
        "admin", lambda t: accounts_pb2.RemoveMemberRequest(id=t.user().id)
    ),
    "SessionService/Login": Recipe(
        "login", lambda t: sessions_pb2.LoginRequest(email=t.admin.email, password=t.password)
    ),
    "SessionService/Refresh": Recipe("refresh", _plain(sessions_pb2.RefreshRequest)),
    "SessionService/Logout": Recipe("logout", _plain(sessions_pb2.LogoutRequest)),
    "SessionService/GetMe": Recipe("any key or session", _plain(sessions_pb2.GetMeRequest)),
    "SessionService/SelectTracker": Recipe(
        "session", _of_site(sessions_pb2.SelectTrackerRequest, "tracker")
    ),
    "QueryService/RunQueries": Recipe(
        "website or public",
        _of_site(queries_pb2.RunQueriesRequest, "website_id", queries=[_QUERY]),
    ),
    "QueryService/PostQuery": Recipe(
        "website or public",
        _of_site(
            queries_pb2.PostQueryRequest,
            "website_id",
            body=_json({"parameters": ["pages"], "preset": "last_7d"}),
        ),
    ),
    "QueryService/ListQueryTypes": Recipe("anyone", _plain(queries_pb2.ListQueryTypesRequest)),
    "QueryService/GetQueryTypes": Recipe("anyone", _plain(queries_pb2.GetQueryTypesRequest)),
    "QueryService/ListWebsites": Recipe("account", _plain(queries_pb2.ListWebsitesRequest)),
    "QueryService/GetWebsites": Recipe("account", _plain(queries_pb2.GetWebsitesRequest)),
    "CustomQueryService/RunCustomQuery": Recipe("website", _custom_query),
    "CustomQueryService/PostCustomQuery": Recipe(
        "website",
        lambda t: custom_queries_pb2.PostCustomQueryRequest(
            website_id=t.site.id,
            body=_json(
                {
                    "table": "pageviews",
                    "selects": [{"field": "path", "aggregate": "uniq"}],
                    "groupBy": ["path"],
                }
                | _days("startDate", "endDate")
            ),
        ),
    ),
    "CustomQueryService/ExecuteSql": Recipe(
        "website", _of_site(custom_queries_pb2.ExecuteSqlRequest, "website_id", query=_SELECT)
    ),
    "CustomQueryService/PostSql": Recipe(
        "website",
        _of_site(custom_queries_pb2.PostSqlRequest, "website_id", body=_json({"query": _SELECT})),
    ),
    "CustomQueryService/ListViews": Recipe("anyone", _plain(custom_queries_pb2.ListViewsRequest)),
    "CustomQueryService/GetSqlSchema": Recipe(
        "anyone", _plain(custom_queries_pb2.GetSqlSchemaRequest)
    ),
    "UsageService/GetUsage": Recipe("account", _plain(usage_pb2.GetUsageRequest)),
    "StatusService/GetStatus": Recipe("anyone", _plain(status_pb2.GetStatusRequest)),
}


@dataclass(frozen=True)
class Outcome:
    """How a call ended, for whoever compares: "OK" or a code, the reason, the text, and all of
    it as bytes.
    """

    code: str
    reason: str
    message: str
    everything: bytes
    headers: Mapping[str, str]


def by_grpc(
    channel: grpc.Channel, name: str, message: Message | bytes, headers: Headers
) -> Outcome:
    """Send one call; of an answer that is a stream, take the first message."""
    method = METHODS[name]
    raw = message if isinstance(message, bytes) else message.SerializeToString()
    given: Any
    if method.request_streaming:
        call, given = channel.stream_unary(method.path), iter([raw])
    elif method.response_streaming:
        call, given = channel.unary_stream(method.path), raw
    else:
        call, given = channel.unary_unary(method.path), raw
    try:
        if method.response_streaming:
            answer = call(given, metadata=headers, timeout=20)
            first = next(answer, b"")
            answer.cancel()
            return Outcome("OK", "", "", first, {})
        body, done = call.with_call(given, metadata=headers, timeout=20)
        told = {
            key: str(value) for key, value in (*done.initial_metadata(), *done.trailing_metadata())
        }
        return Outcome("OK", "", "", body + repr(told).encode(), told)
    except grpc.RpcError as error:
        told = dict(error.trailing_metadata() or ())
        everything = f"{error.details()} {told!r} {unquote(told.get('footfall-message', ''))}"
        return Outcome(
            error.code().name,
            told.get("footfall-reason", ""),
            error.details() or "",
            everything.encode(),
            told,
        )


@dataclass(frozen=True)
class Binding:
    """A path of REST for a method."""

    name: str
    verb: str
    template: str
    body: str

    def target(self, message: Message) -> tuple[str, bytes | None, dict[str, str]]:
        """Return path and query, body, and headers of a message."""
        fields = MessageToDict(message, preserving_proto_field_name=True)
        raw: HttpBody | None = getattr(message, self.body) if self.body not in ("", "*") else None
        fields.pop(self.body, None)
        path = re.sub(r"\{(\w+)\}", lambda m: quote(str(fields.pop(m[1], "")), ""), self.template)
        if raw is not None:
            body, headers = raw.data, {"content-type": raw.content_type}
        elif self.body == "*":
            body, headers = json.dumps(fields).encode(), {"content-type": "application/json"}
            fields = {}
        else:
            body, headers = None, {}
        query = urlencode(fields, doseq=True)
        return path + (f"?{query}" if query else ""), body, headers


def _bindings() -> Iterator[Binding]:
    for service, descriptor in DESCRIPTORS.items():
        for method in descriptor.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            for one in (rule, *rule.additional_bindings):
                verb = one.WhichOneof("pattern")
                if verb:
                    name = f"{service}/{method.name}"
                    yield Binding(name, verb.upper(), getattr(one, verb), one.body)


BINDINGS = tuple(_bindings())


def by_rest(
    port: int,
    verb: str,
    path: str,
    headers: Headers,
    body: bytes | None = None,
    *,
    stream: bool = False,
) -> Answer:
    """Send one request; of a stream, take what comes first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(verb, path, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        if not stream or answer.status >= 400:
            return read(answer)
        headed = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headed, answer.read1(65536))
    finally:
        connection.close()
