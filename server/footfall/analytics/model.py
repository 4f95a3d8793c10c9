"""Questions and answers, as frozen values: equal by value, so they are cache keys and test
expectations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple


class ApiRequestField(StrEnum):
    """The fields of an API request that group and filter a time series."""

    CONSUMER_ID = "consumer_id"
    METHOD = "method"
    URL = "url"
    FUNCTION = "function"
    STATUS_CODE = "status_code"


@dataclass(frozen=True, slots=True)
class Granularity:
    """Buckets of `seconds`, one of which starts at `offset_s` after the Unix epoch."""

    seconds: int
    offset_s: int = 0

    def floor(self, time_s: int) -> int:
        """Return the start of the bucket that holds the second."""
        return (time_s - self.offset_s) // self.seconds * self.seconds + self.offset_s

    def ceil(self, time_s: int) -> int:
        """Return the first bucket start that is not before the second."""
        return -((self.offset_s - time_s) // self.seconds) * self.seconds + self.offset_s


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How response times become one number; `percentile` is from 1 to 99 and set for `percentile`
    only.
    """

    function: Literal["count", "mean", "min", "max", "sum", "percentile"]
    percentile: int | None = None


@dataclass(frozen=True, slots=True)
class TimeseriesQuery:
    """One question about an application's API requests over [start_s, end_s), already widened to
    whole buckets.
    """

    application_id: str
    start_s: int
    end_s: int
    granularity: Granularity | None
    aggregation: Aggregation
    group: ApiRequestField | None
    #: Alternatives a field, by field; all fields must match. A missing value matches "".
    include: tuple[tuple[ApiRequestField, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one group in time order: bucket starts in epoch seconds, and a value for
    each.
    """

    key: str
    times: Sequence[int]
    values: Sequence[int] | Sequence[float]


@dataclass(frozen=True, slots=True)
class ApiRequestRow:
    """A stored API request; `data` is JSON text or ""."""

    seq: int
    event_id: str
    ts_us: int
    consumer_id: str
    method: str
    url: str
    function: str
    status_code: int | None
    response_us: int
    data: str


class WebEventRow(NamedTuple):
    """A stored web event, with what is known of its page; texts are "" where nothing is known.

    A tuple, since exports make millions of them.
    """

    seq: int
    event_id: str
    ts_us: int
    #: A WebEventKind and an Exclusion.
    kind: int
    excluded: int
    visitor_id: str
    host: str
    path: str
    title: str
    author: str
    pubdate: str
    og_image: str
    referrer: str
    referrer_host: str
    medium: str
    source: str
    source_detail: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    utm_term: str
    utm_content: str
    browser: str
    os: str
    device: str
    country: str
    city: str
    language: str
    timezone: str
    screen: str
    name: str
    #: JSON text or "".
    properties: str
    engaged_s: float


#: What pages may be ranked by.
Ranking = Literal["pageviews", "engaged_s"]


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A site's local days from `first_day` to `last_day`, both included (days since the epoch),
    and the top pages among them.
    """

    site_id: str
    first_day: int
    last_day: int
    #: How many pages are asked for; 0: none.
    pages_max: int = 0
    #: Keeps the pages whose address (host and path), title or author contains this text, whatever
    #: its case; a pasted address may have its scheme. "": all pages.
    search: str = ""
    #: What pages are ranked by, descending; then by path and host.
    rank_by: Ranking = "pageviews"


@dataclass(frozen=True, slots=True)
class DayCount:
    """What was counted on a local day (days since the epoch); visits are those that began on it."""

    local_day: int
    pageviews: int
    visits: int
    #: Seconds of engagement that heartbeats reported.
    engaged_s: float


@dataclass(frozen=True, slots=True)
class PageCount:
    """What was counted of a page; visits are those that began on it, unknown texts are ""."""

    host: str
    path: str
    title: str
    author: str
    pubdate: str
    og_image: str
    pageviews: int
    visits: int
    engaged_s: float


@dataclass(frozen=True, slots=True)
class History:
    """The answer to a HistoryQuery, all of it of one moment."""

    #: Local day of the site's first counted page view; None for a site without any.
    first_day: int | None
    #: The days on which anything was counted, ascending.
    days: Sequence[DayCount]
    #: Pages with a page view (ranked by engagement: with any), at most `pages_max`.
    pages: Sequence[PageCount]


@dataclass(frozen=True, slots=True)
class PaceQuery:
    """A site's local day (days since the epoch), to be compared with the day before."""

    site_id: str
    local_day: int
    #: What the day before had counted when this instant came, in microseconds since the epoch.
    before_us: int


@dataclass(frozen=True, slots=True)
class SlotCount:
    """What was counted in a quarter of an hour on a local day; `slot_us` is its start, since the
    epoch. Visits are those that began in it.
    """

    local_day: int
    slot_us: int
    pageviews: int
    visits: int


@dataclass(frozen=True, slots=True)
class PaceCounts:
    """The answer to a PaceQuery."""

    #: The quarters with any count of both days, by `local_day` and `slot_us`.
    slots: Sequence[SlotCount]
    #: Page views of the day before whose time is before the query's instant.
    pageviews_before: int
    #: The visits that began with them.
    visits_before: int


@dataclass(frozen=True, slots=True)
class SourceCount:
    """Active users of one (medium, source, detail); detail is a search host, a campaign or ""."""

    medium: str
    source: str
    detail: str
    count: int


@dataclass(frozen=True, slots=True)
class LivePage:
    host: str
    path: str
    title: str
    og_image: str
    active: int
    pageviews_today: int
    sources: Sequence[SourceCount]

    def __hash__(self) -> int:
        # Of what tells pages apart: all sources would cost more than what is looked up by it.
        return hash((self.path, self.active, self.pageviews_today))


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """What live state knows of a site at one moment; every number is exact."""

    active: int
    pageviews_today: int
    visitors_today: int
    devices: Mapping[str, int]
    countries: Mapping[str, int]
    cities: Mapping[str, int]
    sources: Sequence[SourceCount]
    #: The pages with most active users, at most 50.
    pages: Sequence[LivePage]


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What live state needs of a counted page view or heartbeat."""

    visitor_id: str
    ts_ms: int
    #: Days since the epoch of the site's local date.
    local_day: int
    pageview: bool
    host: str
    path: str
    title: str
    og_image: str
    medium: str
    source: str
    detail: str
    country: str
    city: str
    device: str
