"""The middleware that hands a workspace's calls to their record."""

from __future__ import annotations

import re
import time

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from footfall.ingest.recording import CallRecorder, RecordedCall
from footfall.rpc.call import TRANSCODED, Call, Method, Step
from footfall.rpc.policy import WorkspaceKey

#: The gateway's transcoder leaves a REST request's path here.
_PATH = "x-envoy-original-path"
#: What a call without an HTTP method goes by.
_GRPC = "GRPC"
#: The caller has gone before the answer was there; the word of web servers for it.
_GONE = 499


class Record:
    """Records the calls whose credentials name a workspace, however they end."""

    def __init__(self, recorder: CallRecorder) -> None:
        self._recorder = recorder

    def wrap(self, method: Method, proceed: Step) -> Step:
        if not isinstance(method.policy.credentials, WorkspaceKey):
            return proceed
        recorder = self._recorder
        name = method.path.removeprefix("/")
        routes = _routes(method)

        async def step(call: Call) -> None:
            began_us = time.time_ns() // 1000
            try:
                await proceed(call)
            finally:
                if call.tenant is not None:
                    rest = call.metadata.get(TRANSCODED)
                    recorder.record(
                        RecordedCall(
                            workspace_id=call.tenant.id,
                            endpoint=name if rest is None else _route(routes, call) or name,
                            method=rest or _GRPC,
                            status=_status(call),
                            ts_us=began_us,
                            duration_us=round((time.perf_counter() - call.started) * 1_000_000),
                        )
                    )

        return step


def _routes(method: Method) -> list[tuple[re.Pattern[str], str]]:
    """Return the templates of a method's REST paths, each with what matches it."""
    descriptor: MethodDescriptor = descriptor_pool.Default().FindMethodByName(
        method.path.removeprefix("/").replace("/", ".")
    )
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    templates = [
        getattr(binding, binding.WhichOneof("pattern"))
        for binding in (rule, *rule.additional_bindings)
        if binding.WhichOneof("pattern") is not None
    ]
    return [(_pattern(template), template) for template in templates]


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", template)
    return re.compile("[^/]+".join(map(re.escape, parts)) + "/?")


def _route(routes: list[tuple[re.Pattern[str], str]], call: Call) -> str:
    """Return the template of the path that was asked for; "" if there is none."""
    path = call.metadata.get(_PATH, "").partition("?")[0]
    return next((template for pattern, template in routes if pattern.fullmatch(path)), "")


def _status(call: Call) -> int:
    if call.failure is not None:
        return int(dict(call.failure.trailing)["footfall-status"])
    if call.code is grpc.StatusCode.OK:
        return 200
    return _GONE if call.code is grpc.StatusCode.CANCELLED else 500
