"""The way in: raw events of a tenant are validated, enriched, committed, and acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from footfall.accounts.model import Site
from footfall.ingest.api_requests import api_request_batch
from footfall.ingest.dedup import checked_idempotency_key
from footfall.ingest.enrich.visitors import day_salts
from footfall.ingest.model import (
    BrowserContext,
    CommitOutcome,
    EventBatch,
    IngestResult,
    RawColumns,
    RejectedEvent,
)
from footfall.ingest.ports import GeoSource, PriceSource, SaltSource
from footfall.ingest.track import tracked_batches
from footfall.ingest.web_events import web_event_batch
from footfall.ingest.workspace_events import RawWorkspaceEvents, workspace_event_batches


class Committer(Protocol):
    """Makes batches durable; `GroupCommitter` is the one."""

    async def commit(self, batch: EventBatch) -> CommitOutcome: ...

    async def commit_together(self, batches: Sequence[EventBatch]) -> Sequence[CommitOutcome]: ...


def system_clock_us() -> int:
    """Return the time in microseconds since the epoch."""
    return time.time_ns() // 1000


class IngestService:
    """Takes events of all kinds.

    All methods store the good events of a batch and list the bad ones; when they return, what was
    accepted is durable. They raise InvalidEventsError if no event is good, TooLargeError for too
    many, InvalidInputError for a bad Idempotency-Key, OverloadedError when too much waits, and
    UnavailableError if a store does not answer; in each case nothing was stored.
    """

    def __init__(
        self,
        committer: Committer,
        salts: SaltSource,
        geo: GeoSource,
        prices: PriceSource,
        clock: Callable[[], int] = system_clock_us,
    ) -> None:
        """`clock` returns the time in microseconds since the epoch."""
        self._committer = committer
        self._salts = salts
        self._geo = geo
        self._prices = prices
        self._clock = clock

    async def ingest_api_requests(
        self, application_id: str, columns: RawColumns, idempotency_key: str | None = None
    ) -> IngestResult:
        """Store API requests of an application; fields as in `API_REQUEST_FIELDS`."""
        batch, rejected = api_request_batch(
            application_id, columns, checked_idempotency_key(idempotency_key), self._clock()
        )
        return await self._commit(batch, rejected)

    async def ingest_web(
        self,
        site: Site,
        columns: RawColumns,
        idempotency_key: str | None = None,
        browser: BrowserContext | None = None,
    ) -> IngestResult:
        """Store web events of a site; fields as in `WEB_EVENT_FIELDS`.

        With `browser`, the events come from one: their time, visitor, user agent and address are
        those of the request, and each page's host must be the site's.
        """
        key = checked_idempotency_key(idempotency_key)
        now_us = self._clock() if browser is None else browser.received_us
        batch, rejected = web_event_batch(
            site,
            columns,
            idempotency_key=key,
            browser=browser,
            salts=await day_salts(self._salts, now_us),
            geo=self._geo,
            now_us=now_us,
        )
        return await self._commit(batch, rejected)

    async def ingest_tracked(
        self,
        sites: Sequence[Site],
        documents: Sequence[Any],
        idempotency_key: str | None = None,
        browser: BrowserContext | None = None,
        origin: str | None = None,
    ) -> IngestResult:
        """Store events as `track.py` knows them; there is a site for each document.

        The good ones are stored together, whatever sites they are of. `origin` is where a page
        without a host is, None: at the site's host.
        """
        key = checked_idempotency_key(idempotency_key)
        now_us = self._clock() if browser is None else browser.received_us
        batches, rejected = tracked_batches(
            sites,
            documents,
            origin,
            idempotency_key=key,
            browser=browser,
            salts=await day_salts(self._salts, now_us),
            geo=self._geo,
            now_us=now_us,
        )
        outcomes = await self._committer.commit_together(batches)
        duplicates = sum(len(outcome.duplicate_rows) for outcome in outcomes)
        return IngestResult(sum(map(len, batches)) - duplicates, duplicates, rejected)

    async def ingest_workspace(
        self, workspace_id: str, events: RawWorkspaceEvents, idempotency_key: str | None = None
    ) -> IngestResult:
        """Store events of a workspace; those of one call are stored together."""
        key = checked_idempotency_key(idempotency_key)
        batches, rejected = workspace_event_batches(
            workspace_id, events, key, self._prices, self._clock()
        )
        outcomes = await self._committer.commit_together(batches)
        duplicates = sum(len(outcome.duplicate_rows) for outcome in outcomes)
        return IngestResult(sum(map(len, batches)) - duplicates, duplicates, rejected)

    async def _commit(self, batch: EventBatch, rejected: Sequence[RejectedEvent]) -> IngestResult:
        outcome = await self._committer.commit(batch)
        duplicates = len(outcome.duplicate_rows)
        return IngestResult(len(batch) - duplicates, duplicates, rejected)
