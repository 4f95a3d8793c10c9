"""Events as the public SDK of Databuddy sends them, as web events.

`docs/track.md` says what becomes of each field. Whatever is not as it should be goes on as it is,
so that there is one judge of events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any
from urllib.parse import urlencode

from footfall.accounts.model import Site
from footfall.errors import FieldViolation
from footfall.ingest.columns import columns_of_documents
from footfall.ingest.enrich.url import page_address
from footfall.ingest.enrich.visitors import DaySalts
from footfall.ingest.model import (
    BrowserContext,
    EventBatch,
    InvalidEventsError,
    RejectedEvent,
)
from footfall.ingest.ports import GeoSource
from footfall.ingest.validate import MEMBERS_MAX
from footfall.ingest.web_events import WEB_EVENT_FIELDS, web_event_batch

#: Their names of a page view.
PAGE_VIEWS = frozenset({"screen_view", "page_view", "pageview"})
#: Their names of events that are known here by another one.
_RENAMED: Mapping[str, str] = {"link_out": "outbound_link"}
#: Our field of a page or a visitor, and what they call it, best first.
_PAGE_FIELDS: Mapping[str, Sequence[str]] = {
    "title": ("title", "__title"),
    "referrer": ("referrer", "__referrer"),
    "language": ("language",),
    "timezone": ("timezone",),
    "screen": ("screen_resolution",),
}
_TAGS = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
_UNKNOWN: Mapping[str, Any] = {}
#: What a member of the event says that is kept among the properties of a custom event.
_KEPT = ("namespace", "source")
#: Our names of fields, where theirs are others: for what people are told.
_THEIR_NAMES: Mapping[str, str] = {
    "event_id": "eventId",
    "visitor_id": "anonymousId",
    "screen": "screen_resolution",
    "url": "path",
}


def unwrapped(document: Any) -> Any:
    """Return the event of a document `{"type": …, "payload": event}`, and others as they are."""
    if isinstance(document, dict) and "name" not in document:
        payload = document.get("payload")
        if isinstance(payload, dict):
            return payload
    return document


def website_of(document: Any, default: str) -> str:
    """Return the id of the website that an event is about; `default` where it names none."""
    named = document.get("websiteId") if isinstance(document, dict) else None
    return named if isinstance(named, str) and named else default


def is_page_view(document: Any) -> bool:
    """Return whether an event is a page view."""
    # A name may be anything, also what cannot be in a set.
    name = document.get("name") if isinstance(document, dict) else None
    return isinstance(name, str) and name in PAGE_VIEWS


def event_id_of(document: Any) -> str:
    """Return the event's own id, "" for none."""
    named = document.get("eventId") if isinstance(document, dict) else None
    return named if isinstance(named, str) else ""


def web_event(document: Any, site: Site, origin: str) -> Any:
    """Return an event of a site with the fields of a web event.

    `origin` (such as "https://example.com") is where a path without a host is.
    """
    if not isinstance(document, dict):
        return document
    sent = document.get("properties")
    properties = sent if isinstance(sent, dict) else _UNKNOWN
    event: dict[str, Any] = {
        "event_id": document.get("eventId"),
        "timestamp": _time(document, properties),
        "url": _url(document, properties, origin),
        "visitor_id": _visitor(document, site.id),
    }
    for field, names in _PAGE_FIELDS.items():
        event[field] = _first(document, properties, names)
    if is_page_view(document):
        return event
    name = document.get("name")
    event["type"] = "custom"
    event["name"] = _RENAMED.get(name, name) if isinstance(name, str) else name
    event["properties"] = (
        sent if sent is not None and not isinstance(sent, dict) else _kept(document, properties)
    )
    return event


def tracked_batches(
    sites: Sequence[Site],
    documents: Sequence[Any],
    origin: str | None,
    *,
    idempotency_key: str | None,
    browser: BrowserContext | None,
    salts: DaySalts,
    geo: GeoSource,
    now_us: int,
) -> tuple[Sequence[EventBatch], Sequence[RejectedEvent]]:
    """Return the good events, a batch for each site, and the bad ones by their places.

    There is a site for each document; for the other arguments and the errors see
    `web_event_batch`.
    """
    by_site: dict[str, list[int]] = {}
    for place, site in enumerate(sites):
        by_site.setdefault(site.id, []).append(place)
    batches: list[EventBatch] = []
    rejected: list[RejectedEvent] = []
    failures: list[InvalidEventsError] = []
    for places in by_site.values():
        site = sites[places[0]]
        where = f"https://{site.host}" if origin is None else origin
        events = [web_event(documents[place], site, where) for place in places]
        try:
            batch, bad = web_event_batch(
                site,
                columns_of_documents(events, WEB_EVENT_FIELDS),
                idempotency_key=idempotency_key,
                browser=browser,
                salts=salts,
                geo=geo,
                now_us=now_us,
            )
            batches.append(batch)
        except InvalidEventsError as error:
            failures.append(_in_their_words(error, places))
            bad = error.rejected
        rejected += [
            RejectedEvent(places[row.index], row.code, _theirs(row.message)) for row in bad
        ]
    if failures and not batches:
        raise InvalidEventsError(
            " ".join(error.message for error in failures),
            rejected=sorted(rejected, key=attrgetter("index")),
            violations=[violation for error in failures for violation in error.violations],
        )
    return batches, sorted(rejected, key=attrgetter("index"))


def _in_their_words(error: InvalidEventsError, places: Sequence[int]) -> InvalidEventsError:
    """Return the error of one site's events as one of the whole batch."""
    violations = []
    # There is a violation for each rejected event, in the same order.
    for row, found in zip(error.rejected, error.violations, strict=True):
        field = found.field.rpartition("]")[2].removeprefix(".")
        field = _THEIR_NAMES.get(field, field)
        path = f"[{places[row.index]}]" + (f".{field}" if field else "")
        violations.append(FieldViolation(path, _theirs(found.message), found.code))
    return InvalidEventsError(_theirs(error.message), violations=violations)


def _theirs(message: str) -> str:
    for ours, theirs in _THEIR_NAMES.items():
        message = message.replace(f"`{ours}`", f"`{theirs}`")
    return message


def _first(document: Mapping[str, Any], properties: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first text of these names, beside the event's name or among its properties."""
    for holder in (document, properties):
        for name in names:
            value = holder.get(name)
            if value is not None and value != "" and (holder is document or isinstance(value, str)):
                return value
    return None


def _time(document: Mapping[str, Any], properties: Mapping[str, Any]) -> Any:
    """Return the event's time in seconds, or as the text that it is."""
    value: Any = document.get("timestamp")
    if value is None:
        value = properties.get("__timestamp_ms")
    return value / 1000 if type(value) in (int, float) else value


def _url(document: Mapping[str, Any], properties: Mapping[str, Any], origin: str) -> Any:
    """Return the address of the event's page, the site's first one for an event without any, with
    the campaign tags that the event has beside it.
    """
    url = _first(document, properties, ("path", "__path", "url"))
    if url is None:
        url = "/"
    if not isinstance(url, str):
        return url
    if not url.lower().startswith(("http://", "https://")):
        url = f"{origin}/{url.removeprefix('/')}"
    tags = {
        tag: value
        for tag in _TAGS
        if isinstance(value := _first(document, properties, (tag,)), str)
    }
    if tags:
        address = page_address(url)
        if address is not None and not any(address.campaign[:5]):
            before, _, fragment = url.partition("#")
            query = urlencode(tags, errors="replace")
            url = f"{before}{'&' if '?' in before else '?'}{query}"
            url += f"#{fragment}" if fragment else ""
    return url


def _visitor(document: Mapping[str, Any], site_id: str) -> Any:
    """Return who it is: a digest of the id, unless the sender wants the id itself to be kept."""
    visitor = document.get("anonymousId")
    if visitor is None or visitor == "":
        visitor = document.get("profileId")
    if not isinstance(visitor, str) or not visitor or document.get("anonymizeVisitorIds") is False:
        return visitor
    text = f"{site_id}\0{visitor}".encode("utf-8", "replace")
    return blake2b(text, digest_size=16).hexdigest()


def _kept(document: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties, with the other words of the event where there is room for them."""
    kept = {name: value for name, value in properties.items() if not name.startswith("__")}
    for name in _KEPT:
        value = document.get(name)
        if isinstance(value, str) and value and name not in kept and len(kept) < MEMBERS_MAX:
            kept[name] = value[:64]
    return kept
