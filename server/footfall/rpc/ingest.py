"""IngestService."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from google.api.httpbody_pb2 import HttpBody

from footfall.errors import FootfallError, InvalidInputError
from footfall.ingest.api_requests import API_REQUEST_FIELDS
from footfall.ingest.columns import columns_of_documents
from footfall.ingest.model import BrowserContext, IngestResult, InvalidEventsError, RawColumns
from footfall.ingest.service import IngestService
from footfall.ingest.web_events import WEB_EVENT_FIELDS
from footfall.ingest.workspace_events import RawWorkspaceEvents, workspace_events_of_documents
from footfall.rpc.call import Call
from footfall.rpc.convert import (
    api_request_columns,
    ingest_response,
    parse_documents,
    rejections,
    require_identity,
    require_json,
    web_event_columns,
    workspace_events,
)
from footfall.rpc.peers import Peers
from footfall.rpc.tracking import track_events
from footfall.v1 import ingest_pb2 as pb

_Raw = TypeVar("_Raw")

#: Most rejected events that the answer to a stream lists.
STREAM_REJECTED_MAX = 1_000


class IngestServicer:
    """Events in, unary, as JSON, and in bulk."""

    def __init__(self, ingest: IngestService, peers: Peers) -> None:
        self._ingest = ingest
        self._peers = peers

    async def IngestApiRequests(
        self, request: pb.IngestApiRequestsRequest, call: Call
    ) -> pb.IngestResponse:
        return ingest_response(
            await self._ingest.ingest_api_requests(
                call.tenant.id, api_request_columns(request.events), _idempotency_key(call)
            )
        )

    async def CollectApiRequests(
        self, request: pb.CollectApiRequestsRequest, call: Call
    ) -> pb.IngestResponse:
        require_json(request.content, call.metadata)
        documents = parse_documents(request.content, single=False)
        return ingest_response(
            await self._ingest.ingest_api_requests(
                call.tenant.id,
                columns_of_documents(documents, API_REQUEST_FIELDS),
                _idempotency_key(call),
            )
        )

    async def StreamApiRequests(
        self, requests: AsyncIterator[pb.IngestApiRequestsRequest], call: Call
    ) -> pb.StreamIngestResponse:
        async def store(columns: RawColumns, key: str | None) -> IngestResult:
            return await self._ingest.ingest_api_requests(call.tenant.id, columns, key)

        return await _load(requests, call, api_request_columns, store)

    async def IngestWebEvents(
        self, request: pb.IngestWebEventsRequest, call: Call
    ) -> pb.IngestResponse:
        return ingest_response(
            await self._ingest.ingest_web(
                call.tenant, web_event_columns(request.events), _idempotency_key(call)
            )
        )

    async def CollectWebEvents(
        self, request: pb.CollectWebEventsRequest, call: Call
    ) -> pb.IngestResponse:
        require_identity(call.metadata)
        documents = parse_documents(request.content, single=True)
        return ingest_response(
            await self._ingest.ingest_web(
                call.tenant,
                columns_of_documents(documents, WEB_EVENT_FIELDS),
                _idempotency_key(call),
                self._browser(call) if call.principal is None else None,
            )
        )

    async def StreamWebEvents(
        self, requests: AsyncIterator[pb.IngestWebEventsRequest], call: Call
    ) -> pb.StreamIngestResponse:
        async def store(columns: RawColumns, key: str | None) -> IngestResult:
            return await self._ingest.ingest_web(call.tenant, columns, key)

        async def of_one_site() -> AsyncIterator[pb.IngestWebEventsRequest]:
            async for request in requests:
                if request.site and request.site != call.tenant.id:
                    raise InvalidInputError(
                        "A stream is about one site, the one that its first message names.",
                        metadata={"parameter": "site"},
                    )
                yield request

        return await _load(of_one_site(), call, web_event_columns, store)

    async def TrackEvents(self, request: pb.TrackEventsRequest, call: Call) -> HttpBody:
        require_identity(call.metadata)
        browser = self._browser(call) if call.principal is None else None
        return await track_events(self._ingest, request, call, browser, _idempotency_key(call))

    async def IngestWorkspaceEvents(
        self, request: pb.IngestWorkspaceEventsRequest, call: Call
    ) -> pb.IngestResponse:
        return ingest_response(
            await self._ingest.ingest_workspace(
                call.tenant.id, workspace_events(request.events), _idempotency_key(call)
            )
        )

    async def CollectWorkspaceEvents(
        self, request: pb.CollectWorkspaceEventsRequest, call: Call
    ) -> pb.IngestResponse:
        require_json(request.content, call.metadata)
        documents = parse_documents(request.content, single=True)
        return ingest_response(
            await self._ingest.ingest_workspace(
                call.tenant.id, workspace_events_of_documents(documents), _idempotency_key(call)
            )
        )

    async def StreamWorkspaceEvents(
        self, requests: AsyncIterator[pb.IngestWorkspaceEventsRequest], call: Call
    ) -> pb.StreamIngestResponse:
        async def store(events: RawWorkspaceEvents, key: str | None) -> IngestResult:
            return await self._ingest.ingest_workspace(call.tenant.id, events, key)

        return await _load(requests, call, workspace_events, store)

    def _browser(self, call: Call) -> BrowserContext:
        metadata = call.metadata
        # A native call's user-agent is the gRPC library; the gateway hands on the browser's.
        return BrowserContext(
            ip=self._peers.client_ip(call),
            user_agent=metadata.get("user-agent", ""),
            country=self._peers.country(call),
            received_us=time.time_ns() // 1000,
        )


def _idempotency_key(call: Call) -> str | None:
    return call.metadata.get("idempotency-key")


async def _load(
    requests: AsyncIterator[Any],
    call: Call,
    columns_of: Callable[[Any], _Raw],
    store: Callable[[_Raw, str | None], Awaitable[IngestResult]],
) -> pb.StreamIngestResponse:
    """Store a stream, message by message, and sum up.

    A message without a good event is counted as rejected and does not end the stream. Whatever
    else ends it leaves the messages before it stored; the error's metadata says how many events
    they had.
    """
    total = pb.StreamIngestResponse()
    key = _idempotency_key(call)
    offset = number = 0
    try:
        async for request in requests:
            events = request.events
            try:
                result = await store(
                    columns_of(events), f"{key}\0{number}" if key is not None else None
                )
            except InvalidEventsError as error:
                result = IngestResult(0, 0, error.rejected)
            total.accepted += result.accepted
            total.duplicates += result.duplicates
            total.rejected_total += len(result.rejected)
            room = STREAM_REJECTED_MAX - len(total.rejected)
            total.rejected.extend(rejections(result.rejected[:room], offset))
            offset += len(events)
            number += 1
    except FootfallError as error:
        error.metadata = {
            **error.metadata,
            "accepted": str(total.accepted),
            "duplicates": str(total.duplicates),
            "messages": str(number),
        }
        raise
    return total
