"""A call on its way through the chain, and the methods that calls are of."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from footfall.rpc.policy import Policy
from footfall.rpc.status import Failure

#: The gateway's transcoder leaves this on calls that it has made of REST requests: their method.
TRANSCODED = "x-envoy-original-method"

#: What reads call metadata, writes messages and ends a call; grpc.aio's servicer context.
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC: its name, its message types, its shape, and its policy."""

    #: As on the wire: "/footfall.v1.RealtimeService/GetRealtime".
    path: str
    request_type: type[Message]
    request_streaming: bool
    response_streaming: bool
    policy: Policy

    @property
    def streaming(self) -> bool:
        """Whether either side may send more than one message."""
        return self.request_streaming or self.response_streaming


class Call:
    """One call: what came in, what the chain found out about it, and how it ended."""

    __slots__ = (
        "code",
        "context",
        "deadline",
        "failure",
        "headers",
        "metadata",
        "method",
        "principal",
        "raw",
        "recheck",
        "request",
        "request_id",
        "response",
        "started",
        "tenant",
    )

    def __init__(self, method: Method, raw: Any, context: Context) -> None:
        self.method = method
        self.context = context
        #: The request as it arrived: bytes, None if it did not; of a request stream, an iterator.
        self.raw = raw
        #: Metadata by key; of a key that came twice, the last value.
        self.metadata: dict[str, str] = dict(context.invocation_metadata() or ())  # type: ignore[arg-type]  # text, but for -bin keys
        self.started = time.perf_counter()
        self.request_id = ""
        #: The decoded request: a message, or an iterator of messages.
        self.request: Any = None
        self.response: Message | None = None
        #: Who calls, as `rpc/access.py` found out; its type follows the policy's credentials.
        self.principal: Any = None
        #: What the call is about: a site, an application or an account, by the policy.
        self.tenant: Any = None
        #: When the call must have been answered, by `time.monotonic`; None: never.
        self.deadline: float | None = None
        #: Initial metadata of a success, trailing metadata of an error.
        self.headers: list[tuple[str, str]] = []
        #: Raises what a new call of this caller would meet; for streams, which may outlive a key.
        self.recheck: Callable[[], Awaitable[None]] | None = None
        self.code: grpc.StatusCode = grpc.StatusCode.OK
        self.failure: Failure | None = None

    def timeout_s(self, default: float = 30.0) -> float:
        """Return the seconds left to answer; `default` for a call without a deadline."""
        if self.deadline is None:
            return default
        return max(self.deadline - time.monotonic(), 0.001)


#: A servicer's method: takes the decoded request and the call.
UnaryHandler = Callable[[Any, Call], Awaitable[Message]]
StreamHandler = Callable[[Any, Call], AsyncIterator[Message]]
#: A step of the chain, with everything behind it.
Step = Callable[[Call], Awaitable[None]]
