"""What the way out needs of the stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from footfall.analytics.metrics.questions import (
    Calls,
    CallsQuery,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.analytics.model import (
    ApiRequestRow,
    History,
    HistoryQuery,
    LiveCounts,
    LiveEvent,
    PaceCounts,
    PaceQuery,
    Series,
    TimeseriesQuery,
    WebEventRow,
)
from footfall.analytics.queries.model import EventScan, Take


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

    async def web_events(
        self,
        site_id: str,
        start_us: int,
        end_us: int,
        *,
        after_seq: int,
        through_seq: int,
        rows_max: int,
        timeout_s: float,
    ) -> list[WebEventRow]:
        """Return rows of the range with after_seq < seq <= through_seq, by seq, at most
        `rows_max`; excluded events are among them.
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

    async def pace(self, query: PaceQuery, timeout_s: float) -> PaceCounts:
        """Return the quarters of an hour of a local day and of the day before it, and what that
        day had counted before an instant; all of it of one moment, where the engine has such.

        The quarters come from the rollup (and the raw tail). What is counted before the instant
        is the sum of the quarters of `local_day - 1` that end by then and, since the instant may
        lie within a quarter, of that day's events from the quarter's start up to the instant,
        without it: a raw read of at most 15 minutes. An engine without snapshots reads those
        events first, so that the whole is never less than its part.
        """

    async def history_version(self, site_id: str, timeout_s: float) -> str:
        """Return a text that changes whenever what `history` and `pace` return may have changed;
        it costs next to nothing, so that it can be part of a cache's key.
        """


class Cache(Protocol):
    """Keeps values for a while, which may be no time at all: it forgets what it likes, never
    fails, and never holds its callers up for long. A value that it returns is the one that was
    put under exactly this key.
    """

    async def get(self, key: bytes) -> bytes | None:
        """Return the value of the key; None if there is none."""

    async def put(self, key: bytes, value: bytes) -> None:
        """Keep a value under the key."""


class WorkspaceHistory(Protocol):
    """Reads a workspace's events in their latest state, to the last committed one. Each answer is
    of one moment. Time limits and errors are those of EventReader.
    """

    async def tallies(self, query: TallyQuery, timeout_s: float) -> list[Tally]:
        """Return the measures of every group or bucket that has a row, in any order; of a query
        without groups and buckets exactly one, also over nothing.
        """

    async def usage(self, query: UsageQuery, timeout_s: float) -> list[Usage]:
        """Return what operations used: one for each combination that has an operation, in any
        order.
        """

    async def api_calls(self, query: CallsQuery, timeout_s: float) -> Calls:
        """Return a page of API calls by time and order of storage, descending, and their number
        in the range.
        """


class QueryReader(Protocol):
    """Reads the events behind batch queries. Time limits and errors are those of EventReader."""

    async def scan_events(self, scans: Sequence[tuple[EventScan, Take]], timeout_s: float) -> None:
        """Give each scan's events to what takes them, in parts; without any event, not at all.

        All scans see the store as it is at one moment. What takes events is called in another
        thread, one part at a time. A part holds visitors whole, in the order of EventRows, and at
        most a few million events, unless a visitor has more.
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
