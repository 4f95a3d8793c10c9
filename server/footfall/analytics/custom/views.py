"""The views that custom queries read: their columns, and what callers are told of them.

A view holds nothing but one website's events. What is kept out of every count (bots, referrer
spam) is in none of them; nor is what only the service itself needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ColumnType(StrEnum):
    """What the values of a view's column are."""

    TEXT = "text"
    NUMBER = "number"
    TIMESTAMP = "timestamp"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view."""

    name: str
    type: ColumnType
    description: str


@dataclass(frozen=True, slots=True)
class View:
    """What custom queries call a table."""

    name: str
    description: str
    #: The events that it has, by their types.
    kinds: tuple[str, ...]
    columns: Mapping[str, ViewColumn]


_TEXT: Final = ColumnType.TEXT

_EVERY: Final = (
    ViewColumn("time", ColumnType.TIMESTAMP, "When it happened, UTC, to the microsecond."),
    ViewColumn("local_time", ColumnType.TIMESTAMP, "What clocks showed in the query's time zone."),
    ViewColumn("local_date", ColumnType.DATE, "The day on which local_time lies."),
    ViewColumn("visitor_id", _TEXT, "The visitor's pseudonym; without a client's own, for a day."),
    ViewColumn("host", _TEXT, "The page's host, in lower case."),
    ViewColumn("path", _TEXT, "The page's path, as in /articles/1."),
    ViewColumn("title", _TEXT, "The page's title, as it was last seen."),
    ViewColumn("medium", _TEXT, "How the visitor came, as in search; empty: from the site itself."),
    ViewColumn("source", _TEXT, "Who sent the visitor, as in Google."),
    ViewColumn("source_detail", _TEXT, "What is known of the source beyond its name."),
    ViewColumn("referrer_host", _TEXT, "The referrer's host."),
    ViewColumn("referrer", _TEXT, "The referrer's address."),
    ViewColumn("utm_source", _TEXT, "The campaign tag utm_source."),
    ViewColumn("utm_medium", _TEXT, "The campaign tag utm_medium."),
    ViewColumn("utm_campaign", _TEXT, "The campaign tag utm_campaign."),
    ViewColumn("utm_term", _TEXT, "The campaign tag utm_term."),
    ViewColumn("utm_content", _TEXT, "The campaign tag utm_content."),
    ViewColumn("browser", _TEXT, "The browser's name."),
    ViewColumn("os", _TEXT, "The operating system's name."),
    ViewColumn("device", _TEXT, "The kind of device, as in mobile."),
    ViewColumn("country", _TEXT, "Two letters (ISO 3166-1)."),
    ViewColumn("city", _TEXT, "The city's name."),
    ViewColumn("language", _TEXT, "The browser's first language, as in de-CH."),
    ViewColumn("timezone", _TEXT, "The browser's time zone (IANA)."),
    ViewColumn("screen", _TEXT, "The screen's size, as in 1920x1080."),
)
_TYPE: Final = ViewColumn("type", _TEXT, "pageview, heartbeat or custom.")
_NAMED: Final = (
    ViewColumn("name", _TEXT, "The custom event's name."),
    ViewColumn("properties", _TEXT, "The custom event's properties, a JSON object."),
)
_ENGAGED: Final = ViewColumn(
    "engaged_seconds", ColumnType.NUMBER, "The seconds of attention that a heartbeat reports."
)


def _view(name: str, description: str, kinds: tuple[str, ...], *columns: ViewColumn) -> View:
    return View(name, description, kinds, {column.name: column for column in columns})


VIEWS: Final[Mapping[str, View]] = {
    view.name: view
    for view in (
        _view(
            "events",
            "All events: page views, heartbeats and custom events.",
            ("pageview", "heartbeat", "custom"),
            _TYPE,
            *_EVERY,
            *_NAMED,
            _ENGAGED,
        ),
        _view("pageviews", "Page views.", ("pageview",), *_EVERY),
        _view("custom_events", "Custom events.", ("custom",), *_EVERY, *_NAMED),
    )
}
