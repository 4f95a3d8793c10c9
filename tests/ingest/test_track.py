"""Events of Databuddy's SDK as web events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from footfall.ingest.enrich.geo import NoGeo
from footfall.ingest.model import (
    BrowserContext,
    EventBatch,
    InvalidEventsError,
    RejectedEvent,
    WebEventKind,
)
from footfall.ingest.track import tracked_batches, unwrapped
from tests.ingest.values import FIREFOX, NOW_S, NOW_US, SALTS, SITE

OTHER = replace(SITE, id="othersiteoth", host="other.example")


def tracked(
    *documents: Any, sites: Any = None, origin: str | None = None, **options: Any
) -> tuple[list[EventBatch], list[RejectedEvent]]:
    batches, rejected = tracked_batches(
        sites or [SITE] * len(documents),
        documents,
        origin,
        **({"idempotency_key": None, "browser": None} | options),
        salts=SALTS,
        geo=NoGeo(),
        now_us=NOW_US,
    )
    return list(batches), list(rejected)


def one(document: Any, **options: Any) -> dict[str, Any]:
    """The stored columns of a single good event, and its page."""
    (batch,), rejected = tracked(document, **options)
    assert rejected == []
    page = next(iter(batch.pages.values()))
    row = {name: column[0] for name, column in batch.columns.items()}
    return row | {"host": page.host, "path": page.path, "title": page.title}


def test_what_the_sdk_sends() -> None:
    row = one(
        {
            "name": "signup",
            "namespace": "auth",
            "timestamp": NOW_S * 1000 - 1500,
            "properties": {"plan": "pro", "n": 3, "nested": {"a": [1]}, "none": None},
            "anonymousId": "anon_1",
            "profileId": "p1",
            "sessionId": "sess_1",
            "websiteId": SITE.id,
            "source": "backend",
        }
    )
    assert row["kind"] == WebEventKind.CUSTOM
    assert row["name"] == "signup"
    assert row["ts_us"] == NOW_US - 1_500_000
    assert row["properties"] == (
        '{"plan":"pro","n":3,"nested":{"a":[1]},"none":null,"namespace":"auth","source":"backend"}'
    )
    assert (row["host"], row["path"]) == (SITE.host, "/")


def test_visitors_are_digests_unless_told_otherwise() -> None:
    named = one({"name": "a", "anonymousId": "ann@example.com"})["visitor_id"]
    assert "ann" not in named
    assert named == one({"name": "b", "anonymousId": "ann@example.com"})["visitor_id"]
    assert named != one({"name": "b", "anonymousId": "bob@example.com"})["visitor_id"]
    # Another site knows the same visitor by another digest.
    elsewhere = one({"name": "a", "anonymousId": "ann@example.com"}, sites=[OTHER])
    assert named != elsewhere["visitor_id"]
    as_sent = {"name": "a", "anonymousId": "anon_1", "anonymizeVisitorIds": False}
    assert one(as_sent)["visitor_id"] == "anon_1"
    assert (
        one({"name": "a", "profileId": "p"})["visitor_id"]
        == (one({"name": "a", "anonymousId": "p"})["visitor_id"])
    )


@pytest.mark.parametrize("name", ["screen_view", "page_view", "pageview"])
def test_page_views(name: str) -> None:
    row = one(
        {
            "name": name,
            "eventId": "e1",
            "path": "https://www.example.com/pricing/?b=1#top",
            "title": "Pricing",
            "referrer": "https://www.google.com/",
            "screen_resolution": "1920x1080",
            "language": "de-CH",
            "timezone": "Europe/Zurich",
            "utm_source": "news letter",
            "utm_medium": "email",
        }
    )
    assert row["kind"] == WebEventKind.PAGEVIEW
    assert (row["host"], row["path"], row["title"]) == (
        "www.example.com",
        "/pricing?b=1",
        "Pricing",
    )
    assert (row["utm_source"], row["utm_medium"]) == ("news letter", "email")
    assert (row["screen"], row["language"]) == ("1920x1080", "de-CH")
    assert row["event_id"] == "e1"


def test_what_stands_among_the_properties() -> None:
    row = one(
        {
            "name": "screen_view",
            "properties": {
                "__path": "/docs",
                "__title": "Docs",
                "__referrer": "https://duckduckgo.com/",
                "__timestamp_ms": NOW_S * 1000 - 5,
                "utm_campaign": "c",
                "language": 7,
            },
        }
    )
    assert (row["path"], row["title"], row["utm_campaign"]) == ("/docs", "Docs", "c")
    assert row["ts_us"] == NOW_US - 5000
    assert row["language"] == ""
    custom = one({"name": "x", "properties": {"__path": "/docs", "a": 1}})
    assert (custom["path"], custom["properties"]) == ("/docs", '{"a":1}')


def test_tags_of_the_address_itself_win() -> None:
    url = "https://example.com/?utm_source=url"
    row = one({"name": "screen_view", "path": url, "utm_source": "field", "utm_medium": "m"})
    assert (row["utm_source"], row["utm_medium"]) == ("url", "")


def test_links_that_lead_out() -> None:
    row = one({"name": "link_out", "properties": {"href": "https://elsewhere.example/"}})
    assert (row["name"], row["properties"]) == (
        "outbound_link",
        '{"href":"https://elsewhere.example/"}',
    )


def test_an_envelope_is_opened() -> None:
    event = {"name": "a"}
    assert unwrapped({"type": "track", "payload": event}) is event
    assert unwrapped({"type": "custom", "name": "a", "payload": {}})["name"] == "a"
    assert unwrapped(7) == 7


def test_there_is_room_for_all_properties_of_theirs() -> None:
    properties = {f"p{n}": n for n in range(50)}
    row = one({"name": "a", "namespace": "n", "properties": properties})
    assert "namespace" not in row["properties"]
    (_, rejected) = tracked({"name": "a"}, {"name": "a", "properties": properties | {"more": 1}})
    assert [bad.index for bad in rejected] == [1]


def test_bad_events_are_named_in_their_words() -> None:
    batches, rejected = tracked(
        {"name": "good"},
        {"name": ""},
        {"name": 5},
        {"name": "a", "eventId": 7},
        {"name": "a", "timestamp": "yesterday"},
        {"name": "a", "properties": [1]},
        {"name": "a", "anonymousId": {}},
        {"name": "a", "path": 5},
        3,
        None,
        {"name": ["screen_view"]},
        {"name": "a", "timestamp": (NOW_S + 2 * 86_400) * 1000},
        {"name": "a", "timestamp": 1e300},
    )
    assert [len(batch) for batch in batches] == [1]
    assert [bad.index for bad in rejected] == list(range(1, 13))
    assert "`eventId`" in rejected[2].message
    assert "`anonymousId`" in rejected[5].message
    with pytest.raises(InvalidEventsError) as caught:
        tracked({"name": "a", "eventId": 7}, {"name": "b" * 257})
    assert [found.field for found in caught.value.violations] == ["[0].eventId", "[1].name"]


def test_events_of_several_sites() -> None:
    documents = [{"name": "a"}, {"name": ""}, {"name": "b"}, {"name": "c"}]
    sites = [SITE, OTHER, OTHER, SITE]
    batches, rejected = tracked(*documents, sites=sites)
    assert [(batch.tenant_id, batch.columns["name"]) for batch in batches] == [
        (SITE.id, ["a", "c"]),
        (OTHER.id, ["b"]),
    ]
    assert [bad.index for bad in rejected] == [1]
    batches, rejected = tracked(*documents[:2], sites=sites[:2])
    assert ([batch.tenant_id for batch in batches], [bad.index for bad in rejected]) == (
        [SITE.id],
        [1],
    )
    with pytest.raises(InvalidEventsError) as caught:
        tracked({"name": ""}, {"name": ""}, {"name": 1}, sites=[OTHER, SITE, OTHER])
    assert [bad.index for bad in caught.value.rejected] == [0, 1, 2]


def test_a_browser_is_believed_what_its_request_says() -> None:
    browser = BrowserContext("192.0.2.1", FIREFOX, "", NOW_US)
    event = {"name": "screen_view", "anonymousId": "me", "timestamp": 1, "path": "/a"}
    row = one(event, browser=browser, origin="https://www.example.com")
    assert (row["host"], row["browser"], row["ts_us"]) == ("www.example.com", "Firefox", NOW_US)
    with pytest.raises(InvalidEventsError, match=r"must be a page of example\.com"):
        tracked(event, browser=browser, origin="https://elsewhere.example")
