"""Group commit: requests that arrive together become durable together.

Requests queue in memory. One writer thread takes all that wait, commits them in one transaction,
and answers them in one hop to the event loop. It never lingers: the commit in flight is the window
in which the next group gathers, so a lone request pays for one commit and a crowd shares one.
Removals of events wait in the same queue, so that there is one order of all that happens.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from footfall.errors import FootfallError, OverloadedError, UnavailableError
from footfall.ingest.model import CommitOutcome, EventBatch, EventTable, Removal
from footfall.ingest.ports import EventWriter, LiveSink

log = structlog.get_logger(__name__)

#: How long nothing must have come before the store is told to rest.
_IDLE_S: Final = 0.2


@dataclass(slots=True)
class CommitStats:
    """Counters and gauges of the committer since it was made; only the event loop moves them."""

    #: Events and their requests that wait or are being committed now.
    queued_events: int = 0
    queued_requests: int = 0
    #: Commits that succeeded, the events they stored, and those they found stored before.
    commits: int = 0
    events: int = 0
    duplicates: int = 0
    #: Time spent in commits, failed ones included.
    commit_seconds: float = 0.0
    #: Requests that were answered with an error of the store, and that were refused unqueued.
    failed_requests: int = 0
    refused_requests: int = 0


@dataclass(slots=True, eq=False)
class _Ticket:
    batches: Sequence[EventBatch]
    events: int
    text_size: int
    answer: asyncio.Future[Sequence[CommitOutcome]]


@dataclass(slots=True, eq=False)
class _Order:
    """A removal, which takes its turn among the tickets; it is answered with the number of events
    that were removed.
    """

    removal: Removal
    answer: asyncio.Future[int]


#: What became of a ticket: an outcome a batch, or why there is none.
_Verdict = Sequence[CommitOutcome] | Exception


class GroupCommitter:
    """Commits batches in groups and answers each request when it is durable.

    Belongs to the event loop on which `start` was called, as do all calls.
    """

    def __init__(
        self,
        writer: EventWriter,
        sink: LiveSink | None = None,
        *,
        queue_events_max: int = 200_000,
        queue_requests_max: int = 50_000,
        queue_text_max: int = 256 * 1024 * 1024,
        commit_rows_max: int = 20_000,
        commit_text_max: int = 64 * 1024 * 1024,
    ) -> None:
        """Bounds: what may wait in all (events, requests, characters of their texts), and what one
        commit takes at most (rows, characters; always at least one batch).
        """
        self._writer = writer
        self._sink = sink
        self._queue_events_max = queue_events_max
        self._queue_requests_max = queue_requests_max
        self._queue_text_max = queue_text_max
        self._commit_rows_max = commit_rows_max
        self._commit_text_max = commit_text_max
        self._queued_text = 0
        self._waiting: deque[_Ticket | _Order] = deque()
        self._wake = threading.Condition()
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.stats = CommitStats()

    def start(self) -> None:
        """Start the writer thread; called once, on the event loop that will commit."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._write, args=(self._loop,), name="event-writer", daemon=True
        )
        self._thread.start()

    async def commit(self, batch: EventBatch) -> CommitOutcome:
        """Return what became of the batch once it is durable.

        Raises OverloadedError if too much waits already, UnavailableError if the store does not
        answer or the committer drains; then nothing of the batch is stored. A caller that is
        cancelled learns nothing: its batch is stored as a whole or not at all.
        """
        (outcome,) = await self.commit_together((batch,))
        return outcome

    async def commit_together(self, batches: Sequence[EventBatch]) -> Sequence[CommitOutcome]:
        """Return what became of each batch of a request; all are stored, or none. See `commit`."""
        if self._draining or self._loop is None:
            raise UnavailableError("The server is shutting down; try again in a moment.")
        stats = self.stats
        events = sum(map(len, batches))
        text_size = sum(batch.text_size for batch in batches)
        if stats.queued_requests and (
            stats.queued_events + events > self._queue_events_max
            or stats.queued_requests >= self._queue_requests_max
            or self._queued_text + text_size > self._queue_text_max
        ):
            stats.refused_requests += 1
            raise OverloadedError(
                f"{stats.queued_events} events wait to be stored already; try again in a second.",
                retry_after_s=1,
            )
        ticket = _Ticket(batches, events, text_size, self._loop.create_future())
        stats.queued_events += events
        stats.queued_requests += 1
        self._queued_text += text_size
        with self._wake:
            self._waiting.append(ticket)
            self._wake.notify()
        return await ticket.answer

    async def remove(self, removal: Removal) -> int:
        """Remove events, after all that were committed before the call and before all that come
        later, and return how many there were. Raises UnavailableError; see EventWriter.remove.
        """
        if self._draining or self._loop is None:
            raise UnavailableError("The server is shutting down; try again in a moment.")
        order = _Order(removal, self._loop.create_future())
        with self._wake:
            self._waiting.append(order)
            self._wake.notify()
        return await order.answer

    async def drain(self) -> None:
        """Refuse new batches, commit all that wait, answer them, and stop the writer thread."""
        with self._wake:
            self._draining = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit groups and carry out orders until drained; the body of the writer thread."""
        while True:
            idle_s: float | None = _IDLE_S
            while not self._arrives(idle_s):
                idle_s = self._rest()
            group = self._take()
            if not group:
                return
            if isinstance(group, _Order):
                self._carry_out(loop, group)
                continue
            started = time.perf_counter()
            verdicts = self._commit_group(group)
            seconds = time.perf_counter() - started
            try:
                loop.call_soon_threadsafe(self._deliver, group, verdicts, seconds)
            except RuntimeError:
                # The loop was closed under its callers; the events are stored all the same.
                log.warning("commit_without_loop", requests=len(group))

    def _carry_out(self, loop: asyncio.AbstractEventLoop, order: _Order) -> None:
        found: int | Exception
        try:
            found = self._writer.remove(order.removal)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the caller
            found = error
        try:
            loop.call_soon_threadsafe(_answer, order, found)
        except RuntimeError:
            log.warning("removal_without_loop")

    def _arrives(self, timeout_s: float | None) -> bool:
        """Wait for work, or the end; returns whether there is any before the timeout."""
        with self._wake:
            return bool(self._wake.wait_for(lambda: self._waiting or self._draining, timeout_s))

    def _rest(self) -> float | None:
        try:
            return self._writer.rest()
        except UnavailableError:
            log.debug("no_rest_without_store")
        except Exception:
            # Whatever it was can wait longer; commits go on.
            log.exception("rest_failed")
        return None

    def _take(self) -> list[_Ticket] | _Order:
        """Take an order, or as many batches as one commit may hold; none: drained."""
        group: list[_Ticket] = []
        rows = text = 0
        with self._wake:
            while self._waiting:
                first = self._waiting[0]
                if isinstance(first, _Order):
                    if not group:
                        self._waiting.popleft()
                        return first
                    break
                rows += first.events
                text += first.text_size
                if group and (rows > self._commit_rows_max or text > self._commit_text_max):
                    break
                group.append(first)
                self._waiting.popleft()
        return group

    def _commit_group(self, group: Sequence[_Ticket]) -> list[_Verdict]:
        """Commit all, or else each by itself, so that one bad request does not fail the others."""
        batches = [batch for ticket in group for batch in ticket.batches]
        try:
            outcomes = iter(self._writer.commit(batches))
            return [list(islice(outcomes, len(ticket.batches))) for ticket in group]
        except UnavailableError as error:
            return [error] * len(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the callers
            if len(group) == 1:
                return [_presentable(error, batches)]
        verdicts: list[_Verdict] = []
        for ticket in group:
            verdicts += self._commit_group([ticket])
        return verdicts

    def _deliver(
        self, group: Sequence[_Ticket], verdicts: Sequence[_Verdict], seconds: float
    ) -> None:
        """Answer the group's callers, then pass its web events on; runs on the event loop."""
        stats = self.stats
        stats.commit_seconds += seconds
        stats.queued_requests -= len(group)
        committed = False
        for ticket, verdict in zip(group, verdicts, strict=True):
            stats.queued_events -= ticket.events
            self._queued_text -= ticket.text_size
            if isinstance(verdict, Exception):
                stats.failed_requests += 1
                if not ticket.answer.done():
                    ticket.answer.set_exception(verdict)
                continue
            committed = True
            duplicates = sum(len(outcome.duplicate_rows) for outcome in verdict)
            stats.events += ticket.events - duplicates
            stats.duplicates += duplicates
            if not ticket.answer.done():
                ticket.answer.set_result(verdict)
        stats.commits += committed
        if self._sink is None:
            return
        for ticket, verdict in zip(group, verdicts, strict=True):
            if not isinstance(verdict, Exception):
                self._publish(self._sink, ticket, verdict)

    @staticmethod
    def _publish(sink: LiveSink, ticket: _Ticket, outcomes: Sequence[CommitOutcome]) -> None:
        for batch, outcome in zip(ticket.batches, outcomes, strict=True):
            if batch.table is EventTable.WEB_EVENTS:
                try:
                    sink.publish(batch, outcome)
                except Exception:
                    # Live state can be rebuilt; the answer that was given stays true.
                    log.exception("live_publish_failed")


def _answer(order: _Order, found: int | Exception) -> None:
    if order.answer.done():
        return
    if isinstance(found, Exception):
        order.answer.set_exception(found)
    else:
        order.answer.set_result(found)


def _presentable(error: Exception, batches: Sequence[EventBatch]) -> FootfallError:
    """Return the error for the caller: a domain error as it is, anything else without its text."""
    if isinstance(error, FootfallError):
        return error
    log.error(
        "batch_not_stored",
        tables=[batch.table.value for batch in batches],
        rows=sum(map(len, batches)),
        exc_info=error,
    )
    return FootfallError("The events could not be stored; nothing of this request was kept.")
