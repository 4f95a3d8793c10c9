"""What can be asked for, one entry a name. A new breakdown is one entry here.

Serves the answers' columns, the published catalogue and the table in docs/queries.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from footfall.analytics.queries.model import EventField

LIMIT_MAX = 10_000
DEFAULT_LIMIT = 100


class Shape(Enum):
    """How an answer comes about."""

    #: One row of sums over page views and sessions.
    TOTALS = auto()
    #: The same over today, whatever the query's dates.
    TODAY = auto()
    #: A row of sums for each day or hour.
    SERIES = auto()
    #: A row for each value of a text of page views.
    PAGEVIEWS = auto()
    #: A row for each page that sessions begin with.
    ENTRIES = auto()
    #: A row for each page that sessions end with.
    EXITS = auto()
    #: A row for each name of custom events.
    EVENTS = auto()
    #: A row for each property of custom events.
    PROPERTIES = auto()
    #: A row for each address that clicks led to.
    LINKS = auto()
    #: One row out of the live state.
    LIVE = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer."""

    name: str
    type: Literal["string", "integer", "number", "date"]
    label: str
    description: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class QueryType:
    """A question that can be asked by name."""

    name: str
    title: str
    description: str
    category: str
    shape: Shape
    columns: tuple[Column, ...]
    aliases: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    #: What the rows of a breakdown are about.
    field: EventField | None = None
    #: What a missing value is called; None: it has no row.
    missing: str | None = None
    #: Whether page views that were reached from another page of the site are left out.
    sourced: bool = False
    tags: tuple[str, ...] = ()
    visualization: str = "table"

    @property
    def supports_granularity(self) -> bool:
        return self.shape is Shape.SERIES

    @property
    def default_limit(self) -> int:
        """Rows without a limit of the query's own; 0: all."""
        return DEFAULT_LIMIT if self.visualization == "table" else 0

    @property
    def needs_dates(self) -> bool:
        return self.shape not in {Shape.TODAY, Shape.LIVE}


@dataclass(frozen=True, slots=True)
class FilterField:
    """A name that page views are filtered by."""

    name: str
    field: EventField
    #: What a missing value goes by in answers.
    missing: str = ""
    #: Brings a value into the form in which it is stored.
    stored: Callable[[str], str] = str


def _stored_path(text: str) -> str:
    return text.rstrip("/") or "/"


def _stored_referrer(text: str) -> str:
    return text.removeprefix("https://").removeprefix("http://").rstrip("/").lower()


FILTERS: Mapping[str, FilterField] = {
    entry.name: entry
    for entry in (
        FilterField("path", EventField.PATH, stored=_stored_path),
        FilterField("country", EventField.COUNTRY, "Unknown", str.upper),
        FilterField("device_type", EventField.DEVICE, "Unknown", str.lower),
        FilterField("browser_name", EventField.BROWSER, "Unknown"),
        FilterField("os_name", EventField.OS, "Unknown"),
        FilterField("referrer", EventField.REFERRER_HOST, "direct", _stored_referrer),
        FilterField("utm_source", EventField.UTM_SOURCE),
        FilterField("utm_medium", EventField.UTM_MEDIUM),
        FilterField("utm_campaign", EventField.UTM_CAMPAIGN),
        FilterField("utm_term", EventField.UTM_TERM),
        FilterField("utm_content", EventField.UTM_CONTENT),
    )
}
_ALL = tuple(FILTERS)

_PAGEVIEWS = Column("pageviews", "integer", "Page views", "Pages that were viewed.")
_VISITORS = Column("visitors", "integer", "Visitors", "Distinct visitors with a page view.")
_UNIQUE = Column("unique_visitors", "integer", "Unique visitors", _VISITORS.description)
_SESSIONS = Column(
    "sessions", "integer", "Sessions", "Sessions that began; one ends after 30 minutes without."
)
_BOUNCE_RATE = Column(
    "bounce_rate", "number", "Bounce rate", "Share of sessions with one page view.", "percent"
)
_DURATION = Column(
    "avg_session_duration",
    "number",
    "Session duration",
    "Mean time from a session's first page view to its last; bounces count as 0.",
    "seconds",
)
_PER_SESSION = Column(
    "pages_per_session", "number", "Pages per session", "Page views divided by sessions."
)
_TOTAL_EVENTS = Column(
    "total_events", "integer", "Events", "Page views and custom events together."
)
_PERCENTAGE = Column(
    "percentage", "number", "Share", "Share of all page views of the range.", "percent"
)


def _name(label: str) -> Column:
    return Column("name", "string", label, "What the row is about.")


def _breakdown(
    name: str,
    title: str,
    category: str,
    field: EventField,
    *,
    missing: str | None = None,
    aliases: tuple[str, ...] = (),
    sourced: bool = False,
    note: str = "",
) -> QueryType:
    return QueryType(
        name,
        title,
        f"Page views and their visitors by {title.lower()}{note}.",
        category,
        Shape.PAGEVIEWS,
        (_name(title), _PAGEVIEWS, _VISITORS, _PERCENTAGE),
        aliases,
        _ALL,
        field,
        missing,
        sourced,
        (category.lower(),),
    )


def _landing(name: str, title: str, shape: Shape, verb: str) -> QueryType:
    return QueryType(
        name,
        title,
        f"Sessions by the page that they {verb} with.",
        "Content",
        shape,
        (
            _name("Page"),
            Column("pageviews", "integer", "Sessions", f"Sessions that {verb} with the page."),
            Column("visitors", "integer", "Visitors", "Their distinct visitors."),
            Column("percentage", "number", "Share", "Share of all sessions.", "percent"),
        ),
        filters=_ALL,
        field=EventField.PATH,
        tags=("content", "sessions"),
    )


_EVENTS = Column("total_events", "integer", "Events", "Custom events.")
_EVENT_VISITORS = Column("visitors", "integer", "Visitors", "Distinct visitors with such an event.")
_EVENT_SHARE = Column("percentage", "number", "Share", "Share of all custom events.", "percent")

_TYPES = (
    QueryType(
        "summary_metrics",
        "Summary",
        "The figures of the range in one row.",
        "Overview",
        Shape.TOTALS,
        (_PAGEVIEWS, _UNIQUE, _SESSIONS, _BOUNCE_RATE, _DURATION, _TOTAL_EVENTS),
        ("summary",),
        _ALL,
        tags=("overview",),
        visualization="metric",
    ),
    QueryType(
        "today_metrics",
        "Today",
        "The figures of today so far, whatever the dates.",
        "Overview",
        Shape.TODAY,
        (_PAGEVIEWS, _VISITORS, _SESSIONS),
        filters=_ALL,
        tags=("overview",),
        visualization="metric",
    ),
    QueryType(
        "events_by_date",
        "By date",
        "A row for each day or hour of the range, also for one without any page view.",
        "Overview",
        Shape.SERIES,
        (
            Column("date", "date", "Date", "The local day, or the hour that the clock shows."),
            _PAGEVIEWS,
            _VISITORS,
            _SESSIONS,
            _BOUNCE_RATE,
            _DURATION,
            _PER_SESSION,
        ),
        filters=_ALL,
        tags=("overview", "time"),
        visualization="line",
    ),
    QueryType(
        "active_stats",
        "Active now",
        "Visitors with a page view or heartbeat in the live window, whatever the dates.",
        "Realtime",
        Shape.LIVE,
        (
            Column("active_users", "integer", "Active users", "Active visitors."),
            Column("active_sessions", "integer", "Active sessions", "One for each active visitor."),
        ),
        tags=("realtime",),
        visualization="metric",
    ),
    _breakdown("top_pages", "Page", "Content", EventField.PATH, aliases=("pages",)),
    _landing("entry_pages", "Entry pages", Shape.ENTRIES, "began"),
    _landing("exit_pages", "Exit pages", Shape.EXITS, "ended"),
    _breakdown(
        "traffic_sources",
        "Source",
        "Traffic",
        EventField.SOURCE,
        missing="(direct)",
        aliases=("traffic",),
        sourced=True,
        note="; page views reached from another page of the site have none",
    ),
    _breakdown(
        "top_referrers",
        "Referrer",
        "Traffic",
        EventField.REFERRER_HOST,
        sourced=True,
        note="; the host of another site",
    ),
    _breakdown("utm_sources", "UTM source", "Traffic", EventField.UTM_SOURCE),
    _breakdown("utm_mediums", "UTM medium", "Traffic", EventField.UTM_MEDIUM),
    _breakdown("utm_campaigns", "UTM campaign", "Traffic", EventField.UTM_CAMPAIGN),
    _breakdown("utm_terms", "UTM term", "Traffic", EventField.UTM_TERM),
    _breakdown("utm_content", "UTM content", "Traffic", EventField.UTM_CONTENT),
    _breakdown(
        "browser_name",
        "Browser",
        "Technology",
        EventField.BROWSER,
        missing="Unknown",
        aliases=("browsers",),
    ),
    _breakdown("os_name", "Operating system", "Technology", EventField.OS, missing="Unknown"),
    _breakdown("device_types", "Device type", "Technology", EventField.DEVICE, missing="Unknown"),
    _breakdown("screen_resolutions", "Screen", "Technology", EventField.SCREEN, missing="Unknown"),
    _breakdown("country", "Country", "Geography", EventField.COUNTRY, missing="Unknown"),
    _breakdown("city", "City", "Geography", EventField.CITY, missing="Unknown"),
    _breakdown("language", "Language", "Geography", EventField.LANGUAGE, missing="Unknown"),
    _breakdown("timezone", "Time zone", "Geography", EventField.TIMEZONE, missing="Unknown"),
    QueryType(
        "custom_events",
        "Custom events",
        "Custom events and their visitors by name.",
        "Events",
        Shape.EVENTS,
        (_name("Event"), _EVENTS, _EVENT_VISITORS, _EVENT_SHARE),
        filters=_ALL,
        field=EventField.NAME,
        tags=("events",),
    ),
    QueryType(
        "custom_event_properties",
        "Properties of custom events",
        "Custom events and their visitors by name, property and value.",
        "Events",
        Shape.PROPERTIES,
        (
            _name("Event"),
            Column("property", "string", "Property", "The property's name."),
            Column("value", "string", "Value", "Its value; what is no text as JSON."),
            _EVENTS,
            _EVENT_VISITORS,
            _EVENT_SHARE,
        ),
        filters=_ALL,
        tags=("events",),
    ),
    QueryType(
        "session_metrics",
        "Sessions",
        "The figures of the sessions that began in the range, in one row.",
        "Sessions",
        Shape.TOTALS,
        (
            _SESSIONS,
            Column("bounces", "integer", "Bounces", "Sessions with one page view."),
            _BOUNCE_RATE,
            _DURATION,
            _PER_SESSION,
        ),
        filters=_ALL,
        tags=("sessions",),
        visualization="metric",
    ),
    QueryType(
        "outbound_links",
        "Outbound links",
        "Custom events named outbound_link by their property href (or url).",
        "Events",
        Shape.LINKS,
        (
            _name("Address"),
            Column("total_events", "integer", "Clicks", "Clicks on the link."),
            _EVENT_VISITORS,
            Column("percentage", "number", "Share", "Share of all such clicks.", "percent"),
        ),
        filters=_ALL,
        tags=("events",),
    ),
)

#: Everything that can be asked for, by name.
TYPES: Mapping[str, QueryType] = {entry.name: entry for entry in _TYPES}
#: The same by name and alias.
BY_NAME: Mapping[str, QueryType] = {
    name: entry for entry in _TYPES for name in (entry.name, *entry.aliases)
}
