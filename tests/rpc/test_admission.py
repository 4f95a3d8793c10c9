"""How many calls may be under way, and what becomes of the next."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from structlog.testing import capture_logs

from footfall.rpc.admission import Admission
from footfall.rpc.call import Call
from footfall.rpc.chain import Decode, Errors, Log, RequestId
from footfall.rpc.services import methods
from tests.rpc.conftest import eventually, refused
from tests.rpc.test_chain import Handlers

pytestmark = pytest.mark.asyncio(loop_scope="session")

METHODS = methods()
READ = METHODS["/footfall.v1.TimeseriesService/QueryTimeseries"]
LIVE = METHODS["/footfall.v1.RealtimeService/GetRealtime"]
STATUS = METHODS["/footfall.v1.StatusService/GetStatus"]
STREAM = METHODS["/footfall.v1.IngestService/StreamApiRequests"]


class Waiting(Handlers):
    """A server whose calls are answered when the test says so."""

    def __init__(self, admission: Admission) -> None:
        super().__init__(RequestId(), Log(), Errors(), admission, Decode(1 << 20))
        self.go = asyncio.Event()
        self.under_way = 0
        for method in (READ, LIVE, STATUS, STREAM):
            self.add(method, self._answer)

    async def _answer(self, request: Any, call: Call) -> HttpBody:
        self.under_way += 1
        if call.method.request_streaming:
            _ = [message async for message in request]
        try:
            await self.go.wait()
        finally:
            self.under_way -= 1
        return HttpBody()

    async def begin(self, *calls: Any) -> list[asyncio.Task[Any]]:
        """Begin calls that all find a place."""
        wanted = self.under_way + len(calls)
        tasks = [asyncio.ensure_future(_of(call)) for call in calls]
        await eventually(lambda: self.under_way == wanted)
        return tasks


async def _of(call: Any) -> Any:
    return await call


def ask(channel: grpc.aio.Channel, method: Any, raw: bytes = b"") -> Any:
    if method.request_streaming:
        return channel.stream_unary(method.path)(iter([raw]))
    return channel.unary_unary(method.path)(raw)


async def test_one_more_than_there_is_room_for_is_told_when_to_come_again() -> None:
    admission = Admission(calls_max=3, reads_max=2)
    waiting = Waiting(admission)
    async with waiting as channel:
        begun = await waiting.begin(ask(channel, READ), ask(channel, READ))
        with capture_logs() as lines:
            told = await refused(ask(channel, READ))
        assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (told.reason, told.http) == ("OVERLOADED", 503)
        assert told.trailing["retry-after"] == "1"
        assert told.details["RetryInfo"].retry_delay.seconds == 1
        # What asks the event store leaves a place to others.
        begun += await waiting.begin(ask(channel, LIVE))
        assert (await refused(ask(channel, LIVE))).reason == "OVERLOADED"
        assert admission.refused == 2
        assert lines == [], "a line would cost more than the refusal"
        # Neither streams nor who asks how the server is.
        begun += await waiting.begin(ask(channel, STATUS), ask(channel, STREAM))
        waiting.go.set()
        await asyncio.gather(*begun)
        await asyncio.gather(*(ask(channel, READ) for _ in range(2)))
    assert admission.refused == 2


async def test_a_call_that_fails_or_whose_caller_leaves_gives_its_place_back() -> None:
    waiting = Waiting(Admission(calls_max=1))
    async with waiting as channel:
        for _ in range(3):
            assert (await refused(ask(channel, READ, b"\xff"))).reason == "INVALID_PARAMETER"
        call = ask(channel, READ)
        await eventually(lambda: waiting.under_way == 1)
        call.cancel()
        await eventually(lambda: waiting.under_way == 0)
        waiting.go.set()
        await ask(channel, READ)


async def test_messages_under_way_are_bounded_and_one_may_always() -> None:
    waiting = Waiting(Admission(bytes_max=1000))
    large = READ.request_type(group="x" * 1500).SerializeToString()  # type: ignore[call-arg]
    async with waiting as channel:
        begun = await waiting.begin(ask(channel, READ, large))
        assert (await refused(ask(channel, READ, large))).reason == "OVERLOADED"
        waiting.go.set()
        await asyncio.gather(*begun)
        await ask(channel, READ, large)
