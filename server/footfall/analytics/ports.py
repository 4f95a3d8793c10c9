"""What the way out needs of the stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from footfall.analytics.model import (
    ApiRequestRow,
    History,
    HistoryQuery,
    LiveCounts,
    LiveEvent,
    Series,
    SlotCount,
    TimeseriesQuery,
)


class EventReader(Protocol):
    """Reads committed events.

    `timeout_s` bounds the engine's work: past it, or when the awaiting task is cancelled, the
    engine is interrupted and DeadlineError (or the cancellation) is raised. UnavailableError if
    the store does not answer.
    """

    async def timeseries(self, query: TimeseriesQuery, timeout_s: float) -> list[Series]:
        """Return a series a group, by key, each with at least one point; no rows, no series."""

    async def api_requests(
        self,
        application_id: str,
        start_us: int,
        end_us: int,
        *,
        after_seq: int,
        through_seq: int,
        rows_max: int,
        timeout_s: float,
    ) -> list[ApiRequestRow]:
        """Return rows of the range with after_seq < seq <= through_seq, by seq, at most
        `rows_max`.
        """

    async def last_seq(self, timeout_s: float) -> int:
        """Return the highest sequence number committed so far; 0 for an empty store."""

    async def ping(self, timeout_s: float) -> None:
        """Raise UnavailableError unless the store answers."""


class WebHistory(Protocol):
    """Reads what was counted of a site's web events, to the last committed one; bots and spam are
    left out. Costs by days, slots and pages, not by events. Time limits and errors are those of
    EventReader.
    """

    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        """Return the daily counts and the top pages of a range of local days."""

    async def slots(
        self, site_id: str, start_us: int, end_us: int, timeout_s: float
    ) -> list[SlotCount]:
        """Return the quarters of an hour in [start_us, end_us) with any count, ascending; both are
        multiples of a quarter of an hour since the epoch.
        """

    async def history_version(self, site_id: str, timeout_s: float) -> str:
        """Return a text that changes whenever what `history` and `slots` return may have changed;
        it costs next to nothing, so that it can be part of a cache's key.
        """


class LiveHistory(Protocol):
    """Reads what live state is rebuilt from; excluded events are left out. Runs up to
    `through_seq`, inclusive.
    """

    async def active_sites(self, since_us: int, through_seq: int) -> list[str]:
        """Return the sites with a page view or heartbeat since then."""

    async def recent_events(
        self, site_id: str, since_us: int, through_seq: int
    ) -> Sequence[LiveEvent]:
        """Return page views and heartbeats since then, in commit order."""

    async def day_pageviews(
        self, site_id: str, local_day: int, through_seq: int
    ) -> Sequence[tuple[str, str, int]]:
        """Return (host, path, page views) of every page with a view on the local day."""

    async def day_visitors(self, site_id: str, local_day: int, through_seq: int) -> Sequence[str]:
        """Return the distinct visitors with a page view on the local day."""


class LiveState(Protocol):
    """Reads and moves live state. Raises UnavailableError (REDIS_UNAVAILABLE) if it cannot be had
    or is stale.
    """

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts: ...
    async def ping(self) -> None: ...
