"""What every call goes through, in every shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from structlog.testing import capture_logs

from footfall.accounts.clients import ClientSubjects
from footfall.accounts.model import ApplicationAccess, Role, Scope, Site
from footfall.accounts.salts import SaltCache
from footfall.errors import UnavailableError
from footfall.rpc import chain as chain_module
from footfall.rpc.admission import Admission
from footfall.rpc.call import Call, Method
from footfall.rpc.chain import (
    Authenticate,
    Authorise,
    Chain,
    Deadline,
    Decode,
    Errors,
    Log,
    Measure,
    RateLimit,
    RequestId,
    TellAllowance,
)
from footfall.rpc.metrics import Metrics
from footfall.rpc.peers import Peers
from footfall.rpc.policy import (
    POLICIES,
    Anyone,
    ApplicationKey,
    SignedIn,
    SigningIn,
    WebsiteWriter,
    WorkspaceKey,
)
from footfall.rpc.recording import Record
from footfall.rpc.services import DESCRIPTORS, methods
from footfall.rpc.turns import Turns
from footfall.v1 import ingest_pb2, realtime_pb2, timeseries_pb2
from tests.accounts.values import cheap_hash
from tests.rpc.conftest import App, Metadata, Service, eventually, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

METHODS = methods()
SHAPES = {
    "unary": METHODS["/footfall.v1.TimeseriesService/QueryTimeseries"],
    "response stream": METHODS["/footfall.v1.ExportService/ExportApiRequests"],
    "request stream": METHODS["/footfall.v1.IngestService/StreamApiRequests"],
}


async def test_every_method_has_a_policy_and_no_policy_is_left_over() -> None:
    in_protos = {
        f"{service}/{method.name}"
        for service, descriptor in DESCRIPTORS.items()
        for method in descriptor.methods
    }
    assert set(POLICIES) == in_protos
    assert len(METHODS) == len(in_protos)


async def test_the_order_of_the_chain(service: Service) -> None:
    assert [type(item) for item in service.server.server.chain.middlewares] == [
        RequestId,
        Log,
        Measure,
        Record,
        Errors,
        Admission,
        Deadline,
        Authenticate,
        TellAllowance,
        Decode,
        Authorise,
        RateLimit,
        Turns,
    ]


class Note:
    """Notes when calls pass, before and after."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    def wrap(self, method: Method, proceed: chain_module.Step) -> chain_module.Step:
        self._notes.append(f"wrap {self._name} {method.path}")

        async def step(call: Call) -> None:
            self._notes.append(f"{self._name} in")
            try:
                await proceed(call)
            finally:
                self._notes.append(f"{self._name} out")

        return step


class Handlers:
    """A server with handlers of the test's own behind a chain of its own."""

    def __init__(self, *middlewares: chain_module.Middleware) -> None:
        self.chain = Chain(middlewares, METHODS)
        self.server = grpc.aio.server(interceptors=(self.chain,))

    def add(self, method: Method, handler: Any) -> None:
        make = (
            grpc.stream_unary_rpc_method_handler
            if method.request_streaming
            else grpc.unary_stream_rpc_method_handler
            if method.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        _, service, name = method.path.split("/")
        self.server.add_registered_method_handlers(
            service, {name: make(handler, None, lambda message: message.SerializeToString())}
        )

    async def __aenter__(self) -> grpc.aio.Channel:
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self.channel

    async def __aexit__(self, *exc: object) -> None:
        await self.channel.close()
        await self.server.stop(None)


async def echo(request: Any, call: Call) -> HttpBody:
    if call.method.request_streaming:
        sizes = [len(message.events) async for message in request]
        return HttpBody(data=repr(sizes).encode())
    return HttpBody(data=request.SerializeToString())


async def echo_stream(request: Any, call: Call) -> AsyncIterator[HttpBody]:
    yield HttpBody(data=request.SerializeToString())
    yield HttpBody(data=call.request_id.encode())


def start(channel: grpc.aio.Channel, method: Method, raw: bytes, **options: Any) -> Any:
    """Begin a call of any shape with raw bytes."""
    if method.request_streaming:
        return channel.stream_unary(method.path)(iter([raw]), **options)
    if method.response_streaming:
        return channel.unary_stream(method.path)(raw, **options)
    return channel.unary_unary(method.path)(raw, **options)


async def answers(call: Any) -> list[bytes]:
    if hasattr(call, "__aiter__"):
        return [message async for message in call]
    return [await call]


@pytest.mark.parametrize("shape", SHAPES)
async def test_all_shapes_pass_through_all_middlewares(shape: str) -> None:
    method = SHAPES[shape]
    notes: list[str] = []
    handlers = Handlers(Note("outer", notes), Decode(1000), Note("inner", notes))
    handlers.add(method, echo_stream if method.response_streaming else echo)
    async with handlers as channel:
        raw = method.request_type().SerializeToString()
        first = await answers(start(channel, method, raw))
        assert await answers(start(channel, method, raw)) == first
    passed = ["outer in", "inner in", "inner out", "outer out"]
    # The steps are nested once, for the first call.
    assert notes == [f"wrap inner {method.path}", f"wrap outer {method.path}", *passed, *passed]


async def test_a_call_that_is_given_up_says_so_and_is_not_cancelled() -> None:
    begun = asyncio.Event()

    async def hanging(request: Any, call: Call) -> HttpBody:
        begun.set()
        await asyncio.Event().wait()
        return HttpBody()

    deadline = Deadline()
    handlers = Handlers(RequestId(), Errors(), deadline, Decode(1000))
    handlers.add(SHAPES["unary"], hanging)
    async with handlers as channel:
        # Of a call without a deadline of its caller's.
        call = start(channel, SHAPES["unary"], b"")
        await begun.wait()
        deadline.expire_all()
        error = await refused(call)
    # The gateway repeats what was cancelled, and this may have been done.
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_nobody_expected_stays_inside(shape: str) -> None:
    method = SHAPES[shape]

    async def broken(request: Any, call: Call) -> HttpBody:
        raise ZeroDivisionError("secret of " + call.request_id)

    async def broken_stream(request: Any, call: Call) -> AsyncIterator[HttpBody]:
        yield HttpBody()
        raise ZeroDivisionError("secret of " + call.request_id)

    handlers = Handlers(RequestId(), Errors(), Decode(1000))
    handlers.add(method, broken_stream if method.response_streaming else broken)
    async with handlers as channel:
        with capture_logs() as lines:
            error = await refused(start(channel, method, b"", metadata=(("x-request-id", "r-7"),)))
    # The log has it whole.
    assert [(line["request_id"], line["exc_info"]) for line in lines] == [("r-7", True)]
    assert (error.code, error.message, error.reason, error.http) == (
        grpc.StatusCode.INTERNAL,
        "internal error",
        "INTERNAL",
        500,
    )
    assert error.trailing["x-request-id"] == "r-7"
    assert error.details["RequestInfo"].request_id == "r-7"
    everything = repr((error.trailing, error.details, error.message))
    assert "secret" not in everything
    assert "ZeroDivision" not in everything


@pytest.mark.parametrize("shape", ["unary", "request stream"])
async def test_a_call_with_one_answer_ends_at_the_cap(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_module, "UNARY_DEADLINE_S", 0.05)
    cancelled = asyncio.Event()
    method = SHAPES["unary"]

    async def slow(request: Any, call: Call) -> HttpBody:
        assert 0 < call.timeout_s() <= 0.05
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return HttpBody()

    handlers = Handlers(RequestId(), Errors(), Deadline(), Decode(1000))
    handlers.add(method, slow)
    async with handlers as channel:
        error = await refused(start(channel, method, b""))
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        504,
    )
    assert cancelled.is_set()


async def test_a_callers_deadline_reaches_the_handler_and_cancels_it() -> None:
    method = SHAPES["unary"]
    seen: list[float] = []
    cancelled = asyncio.Event()

    async def slow(request: Any, call: Call) -> HttpBody:
        seen.append(call.timeout_s())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return HttpBody()

    handlers = Handlers(RequestId(), Errors(), Deadline(), Decode(1000))
    handlers.add(method, slow)
    async with handlers as channel:
        await channel.channel_ready()
        error = await refused_code(start(channel, method, b"", timeout=1))
        await asyncio.wait_for(cancelled.wait(), 10)
    assert error is grpc.StatusCode.DEADLINE_EXCEEDED
    # The wire has the deadline in few digits, rounded up.
    assert 0 < seen[0] < 1.1


async def refused_code(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_caller_that_goes_away_cancels_the_handler() -> None:
    method = SHAPES["unary"]
    begun, cancelled = asyncio.Event(), asyncio.Event()
    metrics = Metrics()

    async def slow(request: Any, call: Call) -> HttpBody:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return HttpBody()

    handlers = Handlers(RequestId(), Measure(metrics), Errors(), Deadline(), Decode(1000))
    handlers.add(method, slow)
    async with handlers as channel:
        call = start(channel, method, b"")
        call_task = asyncio.ensure_future(answers(call))
        await asyncio.wait_for(begun.wait(), 10)
        assert metrics.in_flight == 1
        call.cancel()
        await asyncio.gather(call_task, return_exceptions=True)
        await asyncio.wait_for(cancelled.wait(), 10)
        await asyncio.wait_for(metrics.idle(), 10)
    labels = {"method": method.path, "code": "CANCELLED"}
    assert metrics.registry.get_sample_value("footfall_calls_total", labels) == 1


async def test_request_ids_are_the_callers_or_new_ones() -> None:
    method = SHAPES["response stream"]
    handlers = Handlers(RequestId(), Decode(1000))
    handlers.add(method, echo_stream)

    async def request_id(given: str | None) -> str:
        metadata = (("x-request-id", given),) if given is not None else ()
        return HttpBody.FromString(
            (await answers(start(channel, method, b"", metadata=metadata)))[1]
        ).data.decode()

    async with handlers as channel:
        assert await request_id("abc-1.2_3:/+=") == "abc-1.2_3:/+="
        made = [await request_id(given) for given in (None, None, "", "two words", "x" * 129)]
    assert len(set(made)) == len(made)
    assert all(name and name not in {"two words", "x" * 129} for name in made)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.path)
async def test_bytes_that_are_no_message_are_the_callers_fault(
    service: Service, app: App, site: Site, method: Method
) -> None:
    metadata: Metadata
    match method.policy.credentials:
        case ApplicationKey(access):
            metadata = app.writes if access is ApplicationAccess.WRITE else app.reads
        case WorkspaceKey():
            made = service.manager.create_workspace(service.account, method.path)
            metadata = (("x-api-key", made.api_key),)
        case SignedIn():
            user = service.store.create_user(
                service.account, "chain@example.com", cheap_hash("password"), Role.MEMBER
            )
            metadata = await service.session(user, "password")
        case SigningIn():
            metadata = ()
        case _:
            metadata = service.key([site], Scope.READ, Scope.WRITE, Scope.ADMIN)
    # A field that is longer than its message, and no fields at all.
    for raw in (b"\x0a\xff\x01x", b"\xff" * 40):
        error = await refused(start(service.channel, method, raw, metadata=metadata))
        assert (error.code, error.reason) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_PARAMETER",
        ), raw
        assert "Error" not in error.message
        assert method.request_type.DESCRIPTOR.full_name in error.message


async def test_bytes_of_strangers_are_not_looked_at(service: Service) -> None:
    for method in METHODS.values():
        credentials = method.policy.credentials
        if isinstance(credentials, SigningIn | Anyone | WebsiteWriter):
            continue
        if getattr(credentials, "browsers", False) or getattr(credentials, "public", False):
            continue
        error = await refused(start(service.channel, method, b"\xff\xff"))
        assert error.code is grpc.StatusCode.UNAUTHENTICATED, method.path


async def test_messages_over_the_limit_are_refused(service: Service, app: App) -> None:
    limit = service.settings.message_bytes_max
    fits = ingest_pb2.CollectApiRequestsRequest(
        content=HttpBody(data=b'[{"response_us": 1}]' + b" " * (limit - 20))
    )
    assert (await service.ingest.CollectApiRequests(fits, metadata=app.writes)).accepted == 1
    over = ingest_pb2.CollectApiRequestsRequest(content=HttpBody(data=b" " * (limit + 20_000)))
    error = await refused(service.ingest.CollectApiRequests(over, metadata=app.writes))
    assert (error.reason, error.http) == ("PAYLOAD_TOO_LARGE", 413)
    assert str(limit) in error.message
    enormous = ingest_pb2.CollectApiRequestsRequest(content=HttpBody(data=b" " * (5 * limit)))
    code = await refused_code(service.ingest.CollectApiRequests(enormous, metadata=app.writes))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_unknown_methods_are_unimplemented(service: Service) -> None:
    for path in ("/footfall.v1.IngestService/Nothing", "/other.Service/Method"):
        call = service.channel.unary_unary(path)(b"")
        assert await refused_code(call) is grpc.StatusCode.UNIMPLEMENTED


class BrokenLimiter:
    async def decide(self, windows: Any, cost: int = 1) -> Any:
        raise UnavailableError("Live state is away.", "REDIS_UNAVAILABLE")


async def test_an_allowance_that_cannot_be_asked_for_is_unavailable(service: Service) -> None:
    method = SHAPES["unary"]

    class Tenant:
        def wrap(self, method: Method, proceed: chain_module.Step) -> chain_module.Step:
            async def step(call: Call) -> None:
                call.tenant = type(
                    "T", (), {"id": "a", "plan": type("P", (), {"application_reads_per_10s": 1})}
                )
                await proceed(call)

            return step

    limit = RateLimit(
        BrokenLimiter(),
        Peers(()),
        ClientSubjects(SaltCache(service.store)),
        authentication_per_minute=30,
        public_per_minute=100,
    )
    handlers = Handlers(RequestId(), Errors(), Tenant(), limit)
    handlers.add(method, echo)
    async with handlers as channel:
        error = await refused(start(channel, method, b""))
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.UNAVAILABLE,
        "REDIS_UNAVAILABLE",
        503,
    )


async def test_failures_and_nothing_else_are_logged(service: Service, app: App) -> None:
    request = timeseries_pb2.QueryTimeseriesRequest(start=0, end=1)
    with capture_logs() as lines:
        await service.timeseries.QueryTimeseries(request, metadata=app.reads)
        assert [line for line in lines if line["event"] == "call"] == []
        error = await refused(service.timeseries.QueryTimeseries(request))
        # The line is written once the caller has its answer.
        await eventually(lambda: any(line["event"] == "call" for line in lines))
    [line] = [line for line in lines if line["event"] == "call"]
    assert (line["code"], line["reason"], line["log_level"]) == (
        "UNAUTHENTICATED",
        "MISSING_CREDENTIALS",
        "info",
    )
    assert line["request_id"] == error.trailing["x-request-id"]


async def test_calls_are_counted_by_method_and_code(service: Service, site: Site) -> None:
    registry = service.server.metrics.registry
    path = "/footfall.v1.RealtimeService/GetSources"

    def count(code: str) -> float:
        labels = {"method": path, "code": code}
        return registry.get_sample_value("footfall_calls_total", labels) or 0

    before = count("OK"), count("UNAUTHENTICATED")
    request = realtime_pb2.GetSourcesRequest(site=site.id)
    await service.realtime.GetSources(request, metadata=service.key([site], Scope.READ))
    await refused(service.realtime.GetSources(request))
    after = before[0] + 1, before[1] + 1
    await eventually(lambda: (count("OK"), count("UNAUTHENTICATED")) == after)
