"""RealtimeService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToDict

from footfall.analytics import realtime as domain
from footfall.rpc.call import Call
from footfall.v1 import realtime_pb2 as pb

#: How often the credentials of a watcher are looked at again while there is nothing to send, in
#: seconds: with the half second that a look-up is remembered, a revoked key stops within a second.
RECHECK_S = 0.4

_HEARTBEAT = b": heartbeat\n\n"


class RealtimeServicer:
    """Live snapshots, asked for or watched."""

    def __init__(self, realtime: domain.RealtimeService, draining: asyncio.Event) -> None:
        """Streams end when `draining` is set."""
        self._realtime = realtime
        self._draining = draining

    async def GetRealtime(
        self,
        request: pb.GetRealtimeRequest,  # noqa: ARG002  # the chain has read the site
        call: Call,
    ) -> pb.RealtimeSnapshot:
        return _snapshot(await self._realtime.snapshot(call.tenant))

    async def GetSources(
        self,
        request: pb.GetSourcesRequest,  # noqa: ARG002  # the chain has read the site
        call: Call,
    ) -> pb.GetSourcesResponse:
        answer = await self._realtime.sources(call.tenant)
        return pb.GetSourcesResponse(
            site=answer.site,
            updated_at=answer.updated_at,
            total_visitors=answer.total_visitors,
            sources=_sources(answer.sources),
        )

    async def WatchRealtime(
        self,
        request: pb.WatchRealtimeRequest,  # noqa: ARG002  # the chain has read the site
        call: Call,
    ) -> AsyncIterator[pb.WatchRealtimeResponse]:
        async for snapshot in self._watch(call):
            if snapshot is None:
                yield pb.WatchRealtimeResponse(heartbeat=pb.Heartbeat())
            else:
                yield pb.WatchRealtimeResponse(snapshot=_snapshot(snapshot))

    async def StreamRealtime(
        self,
        request: pb.StreamRealtimeRequest,  # noqa: ARG002  # the chain has read the site
        call: Call,
    ) -> AsyncIterator[HttpBody]:
        async for snapshot in self._watch(call):
            data = _HEARTBEAT if snapshot is None else _server_sent_event(snapshot)
            yield HttpBody(content_type="text/event-stream", data=data)

    async def _watch(self, call: Call) -> AsyncIterator[domain.RealtimeSnapshot | None]:
        """Yield what the site's watch yields, until the server drains or the caller may not watch
        any more.
        """
        drained = asyncio.ensure_future(self._draining.wait())
        pending: asyncio.Future[domain.RealtimeSnapshot | None] | None = None
        watch = self._realtime.watch(call.tenant)
        try:
            while not drained.done():
                if pending is None:
                    pending = asyncio.ensure_future(anext(watch))
                await asyncio.wait(
                    (pending, drained),
                    timeout=RECHECK_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if pending.done():
                    snapshot, pending = pending.result(), None
                    yield snapshot
                elif call.recheck is not None:
                    await call.recheck()
        finally:
            drained.cancel()
            if pending is not None:
                pending.cancel()


def _snapshot(snapshot: domain.RealtimeSnapshot) -> pb.RealtimeSnapshot:
    message = pb.RealtimeSnapshot(
        site=snapshot.site,
        updated_at=snapshot.updated_at,
        window_seconds=snapshot.window_seconds,
        total_realtime=snapshot.total_realtime,
        total_pageviews_today=snapshot.total_pageviews_today,
        total_unique_visitors_today=snapshot.total_unique_visitors_today,
        devices=snapshot.devices,
        countries=[
            pb.CountryRow(code=row.code, name=row.name, count=row.count)
            for row in snapshot.countries
        ],
        sources_top5=_sources(snapshot.sources_top5),
    )
    pages = [_page(page) for page in snapshot.top_pages]
    cities = [_city(row.name, row.count) for row in snapshot.cities]
    message.MergeFromString(b"".join(pages + cities))
    return message


# Thousands of rows, nearly all of them as in the answer before: encoded once, as snapshots that
# have nothing else, and merged.


@lru_cache(maxsize=2048)
def _page(page: domain.RealtimePage) -> bytes:
    row = pb.RealtimePage(
        url=page.url,
        host=page.host,
        title=page.title,
        og_image=page.og_image,
        realtime_users=page.realtime_users,
        pageviews_today=page.pageviews_today,
        sources=_sources(page.sources),
    )
    return pb.RealtimeSnapshot(top_pages=[row]).SerializeToString()


@lru_cache(maxsize=16_384)
def _city(name: str, count: int) -> bytes:
    return pb.RealtimeSnapshot(cities=[pb.CityRow(name=name, count=count)]).SerializeToString()


def _sources(rows: Iterable[domain.SourceRow]) -> list[pb.SourceRow]:
    return [
        pb.SourceRow(
            medium=row.medium,
            source=row.source,
            count=row.count,
            percent=row.percent,
            children=[pb.SourceChild(label=item.label, count=item.count) for item in row.children],
        )
        for row in rows
    ]


def _server_sent_event(snapshot: domain.RealtimeSnapshot) -> bytes:
    """Return a snapshot as an event; its data is what GET /v1/realtime answers."""
    document = orjson.dumps(
        MessageToDict(
            _snapshot(snapshot),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
    )
    head = f"event: snapshot\nid: {snapshot.updated_at}\ndata: ".encode()
    return b"".join((head, document, b"\n\n"))
