# ruff: noqa: N802 - servicers have the RPCs' names
"""A gRPC server that gives every answer on demand, so that the gateway's part is seen alone.

A text of a call (`site`, `range_start`, `email`, …) may be a scenario, a JSON object:

    {"abort": CODE, "details": TEXT, "trailing": [[key, value], …]}   fails the call
    {"raise": TEXT}          raises an exception that nobody catches
    {"initial": [[k, v], …]} sends initial metadata before anything else
    {"sleep": SECONDS}       waits before it answers
    {"size": N}              answers with N bytes
    {"messages": N}          streams N messages, then goes on with "abort", if there is one

Values of keys that end with `-bin` are in base64. Anything else is answered plainly. HttpBody
answers tell what reached the server, and so does `CannedServer.told`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from footfall.v1 import (
    accounts_pb2,
    charts_pb2,
    custom_queries_pb2,
    export_pb2,
    export_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    metrics_pb2,
    pace_pb2,
    queries_pb2,
    realtime_pb2,
    realtime_pb2_grpc,
    sessions_pb2,
    status_pb2,
    timeseries_pb2,
    timeseries_pb2_grpc,
    usage_pb2,
)

#: What is answered by its texts alone.
ECHOED = [
    file.DESCRIPTOR
    for file in (
        accounts_pb2,
        charts_pb2,
        custom_queries_pb2,
        metrics_pb2,
        pace_pb2,
        queries_pb2,
        sessions_pb2,
        status_pb2,
        usage_pb2,
    )
]


def scenario(text: str) -> dict[str, Any]:
    """Return the scenario that `text` asks for, {} for none."""
    try:
        wanted = json.loads(text)
    except ValueError:
        return {}
    return wanted if isinstance(wanted, dict) else {}


def seen(context: grpc.aio.ServicerContext, **more: Any) -> bytes:
    """Return what reached the server as JSON."""
    metadata = [
        [key, value if isinstance(value, str) else value.decode("latin-1")]
        for key, value in context.invocation_metadata() or ()
    ]
    remaining = context.time_remaining()
    return json.dumps({"metadata": metadata, "remaining": remaining, **more}).encode()


async def play(text: str, context: grpc.aio.ServicerContext) -> dict[str, Any]:
    """Act out the part of a scenario that comes before the answer."""
    wanted = scenario(text)
    if "initial" in wanted:
        await context.send_initial_metadata([tuple(pair) for pair in wanted["initial"]])
    if "sleep" in wanted:
        await asyncio.sleep(wanted["sleep"])
    if "raise" in wanted:
        raise RuntimeError(wanted["raise"])
    if "abort" in wanted and "messages" not in wanted:
        await fail(wanted, context)
    return wanted


async def fail(wanted: dict[str, Any], context: grpc.aio.ServicerContext) -> None:
    """Abort the call as the scenario says."""
    await context.abort(
        grpc.StatusCode[wanted["abort"]],
        wanted.get("details", ""),
        tuple(
            (key, base64.b64decode(value) if key.endswith("-bin") else value)
            for key, value in wanted.get("trailing", ())
        ),
    )


def echo(service: ServiceDescriptor) -> grpc.GenericRpcHandler[Any, Any]:
    """Return a handler of a service's unary calls that gives back the texts that it is given."""

    def handler(method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        request_type, answer_type = map(GetMessageClass, (method.input_type, method.output_type))

        async def answer(request: Any, context: Any) -> Any:
            texts = {
                field.name: value
                for field, value in request.ListFields()
                if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
            }
            for text in texts.values():
                await play(text, context)
            if answer_type is httpbody_pb2.HttpBody:
                return httpbody_pb2.HttpBody(
                    content_type="application/json", data=seen(context, **texts)
                )
            names = answer_type.DESCRIPTOR.fields_by_name
            return answer_type(**{name: text for name, text in texts.items() if name in names})

        return grpc.unary_unary_rpc_method_handler(
            answer, request_type.FromString, answer_type.SerializeToString
        )

    return grpc.method_handlers_generic_handler(
        service.full_name, {method.name: handler(method) for method in service.methods}
    )


class Listener(grpc.aio.ServerInterceptor):
    """Keeps the metadata of the last call."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | bytes]] = []
        self.calls = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        if "/footfall." in handler_call_details.method:
            self.told = list(handler_call_details.invocation_metadata)
            self.calls += 1
        return await continuation(handler_call_details)


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    async def IngestApiRequests(self, request: Any, context: Any) -> Any:
        return ingest_pb2.IngestResponse(accepted=len(request.events))

    async def CollectApiRequests(self, request: Any, context: Any) -> Any:
        return await self._collect(request.content, context)

    async def CollectWebEvents(self, request: Any, context: Any) -> Any:
        await play(request.site, context)
        return await self._collect(request.content, context)

    async def CollectWorkspaceEvents(self, request: Any, context: Any) -> Any:
        return await self._collect(request.content, context)

    async def TrackEvents(self, request: Any, context: Any) -> Any:
        return httpbody_pb2.HttpBody(content_type="application/json", data=seen(context))

    async def StreamApiRequests(self, batches: Any, context: Any) -> Any:
        accepted = 0
        async for batch in batches:
            accepted += len(batch.events)
        return ingest_pb2.StreamIngestResponse(accepted=accepted)

    async def _collect(self, content: Any, context: Any) -> Any:
        # The content type comes back as a rejection's code: tests see what the server was told.
        row = ingest_pb2.Rejection(index=len(content.data), code=content.content_type)
        return ingest_pb2.IngestResponse(accepted=1, rejected=[row])


class Realtime(realtime_pb2_grpc.RealtimeServiceServicer):
    async def GetRealtime(self, request: Any, context: Any) -> Any:
        await play(request.site, context)
        return realtime_pb2.RealtimeSnapshot(site=request.site, window_seconds=300)

    async def GetSources(self, request: Any, context: Any) -> Any:
        await play(request.site, context)
        row = realtime_pb2.SourceRow(medium="search", source="Google", count=2, percent=100)
        return realtime_pb2.GetSourcesResponse(site=request.site, sources=[row])

    async def WatchRealtime(self, request: Any, context: Any) -> AsyncIterator[Any]:
        wanted = await play(request.site, context)
        for _ in range(wanted.get("messages", 2)):
            yield realtime_pb2.WatchRealtimeResponse(heartbeat=realtime_pb2.Heartbeat())

    async def StreamRealtime(self, request: Any, context: Any) -> AsyncIterator[Any]:
        wanted = await play(request.site, context)
        for index in range(wanted.get("messages", 2)):
            yield httpbody_pb2.HttpBody(
                content_type="text/event-stream", data=b"event: snapshot\ndata: %d\n\n" % index
            )
        if "abort" in wanted:
            await fail(wanted, context)


class Export(export_pb2_grpc.ExportServiceServicer):
    async def ExportApiRequests(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield export_pb2.ExportApiRequestsResponse()

    async def DownloadApiRequests(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for line in self._lines(request.range_start, context):
            yield line

    async def DownloadWebEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for line in self._lines(request.website_id, context):
            yield line

    async def _lines(self, text: str, context: Any) -> AsyncIterator[Any]:
        wanted = await play(text, context)
        for index in range(wanted.get("messages", 2)):
            yield httpbody_pb2.HttpBody(
                content_type="application/x-ndjson", data=b'{"index":%d}\n' % index
            )


class Timeseries(timeseries_pb2_grpc.TimeseriesServiceServicer):
    async def QueryTimeseries(self, request: Any, context: Any) -> Any:
        return timeseries_pb2.QueryTimeseriesResponse(start=request.start, end=request.end)

    async def GetTimeseries(self, request: Any, context: Any) -> Any:
        wanted = await play(request.range_start, context)
        if "size" in wanted:
            data = b'"%s"' % (b"x" * (wanted["size"] - 2))
            return httpbody_pb2.HttpBody(content_type="application/json", data=data)
        data = seen(
            context,
            range_start=request.range_start,
            range_end=request.range_end,
            value=request.value,
            group=request.group,
            include=list(request.include),
        )
        return httpbody_pb2.HttpBody(content_type="application/json", data=data)


class CannedServer:
    """The server, in a thread with an event loop of its own; start and stop as often as wanted."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: grpc.aio.Server | None = None
        self._listener = Listener()

    @property
    def calls(self) -> int:
        """How many calls have reached it, but for health checks."""
        return self._listener.calls

    @property
    def told(self) -> list[tuple[str, str | bytes]]:
        """The metadata of the last call."""
        return self._listener.told

    def start(self) -> None:
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _start(self) -> None:
        server = grpc.aio.server(
            interceptors=[self._listener], options=[("grpc.max_receive_message_length", 9 << 20)]
        )
        server.add_generic_rpc_handlers(
            [echo(service) for file in ECHOED for service in file.services_by_name.values()]
        )
        export_pb2_grpc.add_ExportServiceServicer_to_server(Export(), server)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(Ingest(), server)
        realtime_pb2_grpc.add_RealtimeServiceServicer_to_server(Realtime(), server)
        timeseries_pb2_grpc.add_TimeseriesServiceServicer_to_server(Timeseries(), server)
        status = health.aio.HealthServicer()
        await status.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        reflection.enable_server_reflection(
            ["footfall.v1.RealtimeService", reflection.SERVICE_NAME], server
        )
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        self._server = server

    async def _stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None
