"""What every call goes through before and after its handler.

The chain is one interceptor with an ordered tuple of middlewares. Each method's steps are nested
once, when its first call arrives, and kept: a call costs one function a step, and nothing is
looked up on the way. All shapes of calls have one form here, a coroutine of a `Call`; what reads
and writes messages is the innermost step.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from footfall.errors import (
    DeadlineError,
    FootfallError,
    InvalidInputError,
    OverloadedError,
    TooLargeError,
)
from footfall.rpc.access import Access
from footfall.rpc.admission import Admission
from footfall.rpc.call import TRANSCODED, Call, Context, Method, Step
from footfall.rpc.guard import guarded, only_message
from footfall.rpc.limits import RateLimit, TellAllowance
from footfall.rpc.metrics import Metrics
from footfall.rpc.recording import Record
from footfall.rpc.status import failure, internal_failure
from footfall.rpc.turns import Turns

#: The longest that a call with one answer may take, whatever deadline its caller set, in seconds.
UNARY_DEADLINE_S = 30.0
#: How often calls are looked at that should have ended, in seconds.
DEADLINE_STEP_S = 0.05
#: A call that took longer is worth a line in the log, in seconds.
SLOW_CALL_S = 1.0
#: Room in a message for what is around the 8 MiB of a body: ids, types and lengths.
ENVELOPE_BYTES_MAX = 16 * 1024

log = structlog.get_logger("footfall.rpc")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
_SERVER_FAULTS = frozenset(
    {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


class Middleware(Protocol):
    """A step that something is done before or after."""

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that does this middleware's work around `proceed`."""


class RequestId:
    """Names each call: by the caller's `x-request-id` if it is one, else by a new id."""

    def __init__(self) -> None:
        # Random a process, counted a call: unique without a system call for each.
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def wrap(self, method: Method, proceed: Step) -> Step:  # noqa: ARG002  # same for all methods
        prefix, numbers = self._prefix, self._numbers

        async def step(call: Call) -> None:
            given = call.metadata.get("x-request-id")
            if given is not None and _REQUEST_ID.fullmatch(given):
                call.request_id = given
            else:
                call.request_id = f"{prefix}-{next(numbers):x}"
            await proceed(call)

        return step


class Log:
    """Writes a line about a call that failed or was slow, and about every call at debug level.

    Of calls that were refused because there are too many, a metric tells: lines about them would
    cost more than they did.
    """

    def __init__(self, *, every_call: bool = False) -> None:
        self._every_call = every_call

    def wrap(self, method: Method, proceed: Step) -> Step:
        every_call = self._every_call
        slow_s = math.inf if method.streaming else SLOW_CALL_S

        async def step(call: Call) -> None:
            try:
                await proceed(call)
            finally:
                seconds = time.perf_counter() - call.started
                if every_call or _is_worth_a_line(call) or seconds > slow_s:
                    _write_line(call, seconds)

        return step


def _is_worth_a_line(call: Call) -> bool:
    if call.code is grpc.StatusCode.OK:
        return False
    return call.failure is None or call.failure.reason != OverloadedError.default_reason


def _write_line(call: Call, seconds: float) -> None:
    fields: dict[str, Any] = {
        "method": call.method.path,
        "code": call.code.name,
        "ms": round(seconds * 1000, 3),
        "request_id": call.request_id,
    }
    if call.failure is not None:
        fields["reason"] = call.failure.reason
        fields["message"] = call.failure.message
    if call.code is grpc.StatusCode.OK:
        write = log.warning if seconds > SLOW_CALL_S and not call.method.streaming else log.debug
    else:
        write = log.warning if call.code in _SERVER_FAULTS else log.info
    write("call", **fields)


class Measure:
    """Counts calls and their time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def wrap(self, method: Method, proceed: Step) -> Step:
        metrics, path, streaming = self._metrics, method.path, method.streaming

        async def step(call: Call) -> None:
            metrics.started()
            try:
                await proceed(call)
            finally:
                seconds = None if streaming else time.perf_counter() - call.started
                metrics.ended(path, call.code, seconds)

        return step


class Errors:
    """Ends a call that raised: domain errors by the error table, all others as "internal error"."""

    def wrap(self, method: Method, proceed: Step) -> Step:
        async def step(call: Call) -> None:
            try:
                await proceed(call)
            except FootfallError as error:
                if type(error) is FootfallError:
                    log.exception("call failed", method=method.path, request_id=call.request_id)
                call.failure = failure(error, request_id=call.request_id, headers=call.headers)
            except asyncio.CancelledError:
                call.code = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.BaseError:
                # The caller has gone; nobody is left to be answered.
                call.code = grpc.StatusCode.CANCELLED
                raise
            except Exception:
                log.exception("call failed", method=method.path, request_id=call.request_id)
                call.failure = internal_failure(call.request_id)
            if call.failure is not None:
                call.code = call.failure.code
                await call.context.abort(
                    call.failure.code, call.failure.message, call.failure.trailing
                )

        return step


class Deadline:
    """Ends a call at its caller's deadline, and one with a single answer after 30 s at most.

    Readers stop the engine at the deadline themselves, and the transport cancels a call whose
    caller stopped waiting. What is left are calls that hang elsewhere: for those, looking a few
    times a second is exact enough, and costs a call much less than a timer of its own.
    """

    def __init__(self) -> None:
        self._waiting: dict[Call, asyncio.Task[Any]] = {}
        self._looking = False

    def wrap(self, method: Method, proceed: Step) -> Step:
        cap = math.inf if method.streaming else UNARY_DEADLINE_S
        waiting = self._waiting

        async def step(call: Call) -> None:
            remaining: float | None = call.context.time_remaining()
            limit = cap if remaining is None else min(remaining, cap)
            if limit == math.inf:
                await proceed(call)
                return
            call.deadline = time.monotonic() + limit
            loop = asyncio.get_running_loop()
            waiting[call] = task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
            if not self._looking:
                self._looking = True
                loop.call_later(DEADLINE_STEP_S, self._look, loop)
            try:
                await proceed(call)
            except asyncio.CancelledError:
                if call in waiting or task.uncancel():
                    raise
                raise DeadlineError("The deadline passed before the answer was there.") from None
            finally:
                waiting.pop(call, None)

        return step

    def expire_all(self) -> None:
        """End all calls that have a deadline as if it had passed."""
        self._expire(math.inf)

    def _expire(self, now: float) -> None:
        """Cancel the calls whose time is up; a cancelled one is waited for no more."""
        for call, task in list(self._waiting.items()):
            if call.deadline is not None and call.deadline <= now:
                del self._waiting[call]
                task.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expire(time.monotonic())
        self._looking = bool(self._waiting)
        if self._looking:
            loop.call_later(DEADLINE_STEP_S, self._look, loop)


class Authenticate:
    """Finds out who calls: credentials present, then valid."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def wrap(self, method: Method, proceed: Step) -> Step:
        authenticate = self._access.authenticator(method.policy)

        async def step(call: Call) -> None:
            await authenticate(call)
            await proceed(call)

        return step


class Decode:
    """Turns bytes into messages; what cannot be read is the caller's fault, and is told so."""

    def __init__(self, message_bytes_max: int) -> None:
        self._bytes_max = message_bytes_max + ENVELOPE_BYTES_MAX

    def wrap(self, method: Method, proceed: Step) -> Step:
        parse = method.request_type.FromString
        name = method.request_type.DESCRIPTOR.full_name
        bytes_max = self._bytes_max

        def decode(raw: bytes | None) -> Message:
            if raw is None:
                raise InvalidInputError("The call ended without a whole message.")
            if len(raw) > bytes_max:
                raise TooLargeError(
                    f"The message has {len(raw)} bytes, but at most "
                    f"{bytes_max - ENVELOPE_BYTES_MAX} are allowed.",
                    metadata={"bytes_max": str(bytes_max - ENVELOPE_BYTES_MAX)},
                )
            try:
                return parse(raw)
            except DecodeError:
                raise InvalidInputError(f"The request is not a valid {name} message.") from None

        async def decode_all(stream: AsyncIterator[bytes]) -> AsyncIterator[Message]:
            async for raw in stream:
                yield decode(raw)

        if method.request_streaming:

            async def step(call: Call) -> None:
                call.request = decode_all(call.raw)
                await proceed(call)

        else:

            async def step(call: Call) -> None:
                call.request = decode(call.raw)
                call.raw = None
                await proceed(call)

        return step


class Authorise:
    """Finds out what the call is about, from the decoded message: tenant named, then allowed.

    A stream outlives what was found out: each of its messages asks again, by what is remembered of
    keys for half a second, so that a revoked key ends it within a second like a new call.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def wrap(self, method: Method, proceed: Step) -> Step:
        check, recheck = self._access.authoriser(method), self._access.recheck
        if check is None and not method.streaming:
            return proceed
        long_lived, request_streaming = method.streaming, method.request_streaming

        async def step(call: Call) -> None:
            if check is not None:
                await check(call)
            if long_lived:
                call.recheck = partial(recheck, call)
            if request_streaming:
                call.request = _while_allowed(call, call.request)
            await proceed(call)

        return step


async def _while_allowed(call: Call, stream: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """Yield what the caller sends for as long as it may."""
    async for message in stream:
        if call.recheck is not None:
            await call.recheck()
        yield message


def build_chain(
    admission: Admission,
    access: Access,
    rate_limit: RateLimit,
    metrics: Metrics,
    record: Record,
    *,
    message_bytes_max: int,
    debug: bool,
) -> tuple[Middleware, ...]:
    """Return the middlewares, outermost first."""
    return (
        # First, since whatever is written about a call names it.
        RequestId(),
        # Around all that can fail, so that a line tells how the call ended.
        Log(every_call=debug),
        # Inside the log, whose own time is not the call's.
        Measure(metrics),
        # Outside of what decides how a call ended, which is part of its record.
        record,
        # Inside what observes codes, which it decides; around all that raises.
        Errors(),
        # A refusal is an error; it must cost less than any of the rest.
        admission,
        # Inside the errors, since a passed deadline is one; before any store is asked.
        Deadline(),
        # Strangers are turned away before their bytes are looked at.
        Authenticate(access),
        # Around all that may fail for a caller who is known, before the limit tells it.
        TellAllowance(rate_limit),
        # Authorisation reads the message, not what a path or a header claims of it.
        Decode(message_bytes_max),
        # Only who may ask spends the tenant's allowance.
        Authorise(access),
        # After all other reasons to refuse a call, so that one that was refused costs nothing.
        rate_limit,
        # Last, since a refusal waits for nobody.
        Turns(),
    )


class Chain(grpc.aio.ServerInterceptor):
    """The interceptor: puts the middlewares around the handlers of this service's methods. Of
    others (health, reflection) it only reads the requests.
    """

    def __init__(self, middlewares: Sequence[Middleware], methods: Mapping[str, Method]) -> None:
        self.middlewares = tuple(middlewares)
        self._methods = methods
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any] | None] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the wrapped handler of the method; None for a method that nobody serves."""
        path: str = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            # Not kept: anybody may ask for any number of names.
            return None
        method = self._methods.get(path)
        wrapped = guarded(handler) if method is None else self.wrap(method, handler)
        self._wrapped[path] = wrapped
        return wrapped

    def nest(self, method: Method, innermost: Step) -> Step:
        """Return the innermost step with every middleware around it."""
        step = innermost
        for middleware in reversed(self.middlewares):
            step = middleware.wrap(method, step)
        return step

    def wrap(self, method: Method, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler of raw requests that sends each call through the chain.

        To the library all requests are streams, so that the chain is what reads them.
        """
        serialize = handler.response_serializer
        if method.response_streaming:
            steps = self.nest(method, _stream_step(handler.unary_stream))

            async def stream(_: Any, context: Context) -> None:
                await steps(Call(method, await only_message(context), context))

            return grpc.stream_stream_rpc_method_handler(stream, None, serialize)
        steps = self.nest(
            method,
            _unary_step(handler.stream_unary if method.request_streaming else handler.unary_unary),
        )

        streaming = method.request_streaming

        async def unary(stream: Any, context: Context) -> Message | None:
            # The library would wait for ever for the message of a call that ends without one.
            call = Call(method, stream if streaming else await only_message(context), context)
            await steps(call)
            return call.response

        return grpc.stream_unary_rpc_method_handler(unary, None, serialize)


def _unary_step(handler: Callable[[Any, Call], Awaitable[Message]]) -> Step:
    async def step(call: Call) -> None:
        call.response = await handler(call.request, call)
        if call.headers and TRANSCODED in call.metadata:
            await call.context.send_initial_metadata(call.headers)
        elif call.headers:
            # With the answer, as on a failure: metadata in front of it costs a write of its own,
            # a tenth of a small call. Only HTTP's headers have to come first.
            call.context.set_trailing_metadata(call.headers)

    return step


def _stream_step(handler: Callable[[Any, Call], AsyncIterator[Message]]) -> Step:
    async def step(call: Call) -> None:
        pending = call.headers
        async for message in handler(call.request, call):
            if call.recheck is not None:
                # Nothing leaves for a caller who may not have it any more.
                await call.recheck()
            if pending:
                await call.context.send_initial_metadata(pending)
                pending = []
            await call.context.write(message)
        if pending:
            await call.context.send_initial_metadata(pending)

    return step
