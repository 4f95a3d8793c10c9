"""The services' methods, out of their descriptors: what is in the protos is served, all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from footfall.rpc.call import Method
from footfall.rpc.policy import POLICIES
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

PACKAGE = "footfall.v1"

#: Every service, by its name without the package.
DESCRIPTORS: Mapping[str, ServiceDescriptor] = {
    name: descriptor
    for file in (
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
    for name, descriptor in file.DESCRIPTOR.services_by_name.items()
}


def methods() -> dict[str, Method]:
    """Return every method of the protos by its path; raises KeyError for one without a policy."""
    return {
        _path(descriptor): Method(
            path=_path(descriptor),
            request_type=GetMessageClass(descriptor.input_type),
            request_streaming=descriptor.client_streaming,
            response_streaming=descriptor.server_streaming,
            policy=POLICIES[f"{service}/{descriptor.name}"],
        )
        for service, service_descriptor in DESCRIPTORS.items()
        for descriptor in service_descriptor.methods
    }


def add_servicers(server: grpc.aio.Server, servicers: Mapping[str, object]) -> None:
    """Register a servicer for each service; raises AttributeError for a method that it lacks."""
    for service, descriptor in DESCRIPTORS.items():
        servicer = servicers[service]
        handlers = {
            method.name: _handler(method, getattr(servicer, method.name))
            for method in descriptor.methods
        }
        server.add_registered_method_handlers(f"{PACKAGE}.{service}", handlers)


def _path(descriptor: MethodDescriptor) -> str:
    return f"/{descriptor.containing_service.full_name}/{descriptor.name}"


def _handler(descriptor: MethodDescriptor, function: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler for the chain to wrap, which decodes requests itself."""
    serialize = GetMessageClass(descriptor.output_type).SerializeToString
    match descriptor.client_streaming, descriptor.server_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler(function, None, serialize)
        case False, True:
            return grpc.unary_stream_rpc_method_handler(function, None, serialize)
        case True, False:
            return grpc.stream_unary_rpc_method_handler(function, None, serialize)
    raise NotImplementedError(f"{descriptor.full_name} streams both ways, which nothing here does")
