"""Admission: more calls than can be answered soon are refused at once.

A server that takes every call answers none in time: each waits behind the others until its caller
has gone, and the work is done for nobody. So the calls under way are bounded, by number and by the
bytes of their messages, and the next one is told to come again, before it costs anything. Calls
that ask the event store have a bound of their own below the whole: they take many times an
ingest call's time, and would fill all places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from footfall.errors import OverloadedError
from footfall.rpc.call import Call, Method, Step
from footfall.rpc.services import PACKAGE

#: Calls with one answer that may be under way, which is half a second's worth of small ones. A
#: gateway lets a quarter of it through (gateway/envoy.yaml), and refuses for less.
CALLS_MAX: Final = 512
#: Of these, calls that ask the event store.
READS_MAX: Final = 64
#: The bytes of messages that may be under way; one message may always.
BYTES_MAX: Final = 64 * 1024 * 1024
RETRY_AFTER_S: Final = 1

_READS: Final = tuple(
    f"/{PACKAGE}.{service}/"
    for service in (
        "TimeseriesService",
        "ChartsService",
        "PaceService",
        "MetricsService",
        "QueryService",
        "CustomQueryService",
    )
)
#: Asked by whoever wants to know whether the server is well, and answered from memory.
_ALWAYS: Final = f"/{PACKAGE}.StatusService/"


@dataclass(slots=True)
class _Places:
    """Calls under way, and how many there may be."""

    most: int
    taken: int = 0


class Admission:
    """Lets calls in while there is room. Streams are not counted: they wait most of the time, and
    what they do to the stores is bounded there.
    """

    def __init__(
        self,
        *,
        calls_max: int = CALLS_MAX,
        reads_max: int = READS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._all = _Places(calls_max)
        self._reads = _Places(reads_max)
        self._bytes_max = bytes_max
        self._bytes = 0
        #: Calls that were refused.
        self.refused = 0

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that lets `proceed` happen, or raises OverloadedError."""
        if method.streaming or method.path.startswith(_ALWAYS):
            return proceed
        everything = self._all
        own = self._reads if method.path.startswith(_READS) else _Places(everything.most)

        async def step(call: Call) -> None:
            # None of a call whose caller ended without a message.
            size = len(call.raw or b"")
            if (
                everything.taken >= everything.most
                or own.taken >= own.most
                or (self._bytes and self._bytes + size > self._bytes_max)
            ):
                self.refused += 1
                raise OverloadedError(
                    "The server has as much to do as it can; try again in a moment.",
                    retry_after_s=RETRY_AFTER_S,
                )
            everything.taken += 1
            own.taken += 1
            self._bytes += size
            try:
                await proceed(call)
            finally:
                everything.taken -= 1
                own.taken -= 1
                self._bytes -= size

        return step
