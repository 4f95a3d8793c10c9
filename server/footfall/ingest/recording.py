"""The service's own record of what a workspace calls: API calls as events of the workspace.

Recording costs a call nothing but an append to a queue. What has gathered is committed once a
second at the latest, so a crash loses no more than that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from footfall.errors import FootfallError, OverloadedError, UnavailableError
from footfall.ingest.model import NO_KEY, EventBatch, EventTable
from footfall.ingest.service import Committer, system_clock_us

log = structlog.get_logger(__name__)

#: How long calls gather before they are committed together.
INTERVAL_S: Final = 0.5
#: How many calls may wait; a server under full load has fewer in two intervals.
QUEUE_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call that has ended."""

    workspace_id: str
    #: The route's template, or the name of a gRPC method.
    endpoint: str
    #: The HTTP method, or "GRPC".
    method: str
    #: The HTTP status; of a gRPC call the one that it would have had over REST.
    status: int
    #: When it began, in microseconds since the epoch.
    ts_us: int
    duration_us: int


@dataclass(slots=True)
class RecorderStats:
    """Counters since the recorder was made."""

    recorded: int = 0
    #: Calls that were not recorded since too many waited, or the store refused them.
    dropped: int = 0


class CallRecorder:
    """Turns calls into events; belongs to one event loop."""

    def __init__(
        self,
        committer: Committer,
        *,
        queue_max: int = QUEUE_MAX,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], int] = system_clock_us,
    ) -> None:
        self._committer = committer
        self._queue_max = queue_max
        self._interval_s = interval_s
        self._clock = clock
        self._waiting: deque[RecordedCall] = deque()
        self._gathered = asyncio.Event()
        self.stats = RecorderStats()

    def record(self, call: RecordedCall) -> None:
        """Take a call; drops it if too many wait."""
        if len(self._waiting) >= self._queue_max:
            self.stats.dropped += 1
            return
        self._waiting.append(call)
        self._gathered.set()

    async def run(self) -> None:
        """Commit what gathers, until cancelled."""
        while True:
            await self._gathered.wait()
            await asyncio.sleep(self._interval_s)
            await self.flush()

    async def flush(self) -> None:
        """Commit what waits. What a store that does not answer refuses waits on."""
        self._gathered.clear()
        by_workspace: defaultdict[str, list[RecordedCall]] = defaultdict(list)
        while self._waiting:
            call = self._waiting.popleft()
            by_workspace[call.workspace_id].append(call)
        await asyncio.gather(*map(self._commit, by_workspace.values()))

    async def _commit(self, calls: list[RecordedCall]) -> None:
        try:
            await self._committer.commit(self._batch(calls))
            self.stats.recorded += len(calls)
        except (UnavailableError, OverloadedError):
            for call in calls:
                self.record(call)
        except FootfallError as error:
            self.stats.dropped += len(calls)
            log.warning("calls_not_recorded", calls=len(calls), error=repr(error))

    def _batch(self, calls: list[RecordedCall]) -> EventBatch:
        return EventBatch(
            table=EventTable.API_CALLS,
            tenant_id=calls[0].workspace_id,
            received_us=self._clock(),
            columns={
                "event_id": [""] * len(calls),
                "ts_us": [call.ts_us for call in calls],
                "endpoint": [call.endpoint for call in calls],
                "method": [call.method for call in calls],
                "status": [call.status for call in calls],
                "duration_us": [call.duration_us for call in calls],
            },
            dedup_keys=[NO_KEY] * len(calls),
            text_size=sum(len(call.endpoint) for call in calls),
        )
