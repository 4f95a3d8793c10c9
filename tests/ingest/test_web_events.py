"""Web events: validation, enrichment, pages, and what a browser may say."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.ingest.columns import columns_of_documents
from footfall.ingest.enrich.url import page_id
from footfall.ingest.enrich.visitors import derive_visitor_ids
from footfall.ingest.model import (
    BrowserContext,
    EventBatch,
    EventTable,
    Exclusion,
    InvalidEventsError,
    Page,
    RejectedEvent,
    WebEventKind,
)
from footfall.ingest.web_events import WEB_EVENT_FIELDS, local_days, web_event_batch
from tests.ingest.values import (
    DAY_US,
    FIREFOX,
    GOOGLEBOT,
    NOW_S,
    NOW_US,
    SALTS,
    SITE,
    FixedPlaces,
)

GOOD = {"url": "https://example.com/a"}
BROWSER = BrowserContext("192.0.2.9", FIREFOX, "ch", NOW_US)
PLACES = FixedPlaces({"192.0.2.9": ("DE", "Berlin"), "192.0.2.10": ("FR", "")})


def judge(
    *documents: Any, browser: BrowserContext | None = None, key: str | None = None
) -> tuple[EventBatch, list[RejectedEvent]]:
    batch, rejected = web_event_batch(
        SITE,
        columns_of_documents(documents, WEB_EVENT_FIELDS),
        idempotency_key=key,
        browser=browser,
        salts=SALTS,
        geo=PLACES,
        now_us=NOW_US,
    )
    return batch, list(rejected)


def taken(browser: BrowserContext | None = None, **fields: Any) -> dict[str, Any]:
    """Return the stored columns of one good event."""
    batch, rejected = judge(GOOD | fields, browser=browser)
    assert rejected == []
    return {name: column[0] for name, column in batch.columns.items()}


def refused(browser: BrowserContext | None = None, **fields: Any) -> RejectedEvent:
    """Return why an event is refused, between good ones that are not."""
    batch, rejected = judge(GOOD, GOOD | fields, GOOD, browser=browser)
    assert (len(batch), [row.index for row in rejected]) == (2, [1])
    return rejected[0]


def test_a_whole_page_view() -> None:
    batch, rejected = judge(
        {
            "event_id": "e1",
            "type": "pageview",
            "timestamp": NOW_S - 60,
            "url": "https://WWW.Example.com/Art/?id=7&utm_source=s&utm_medium=m&utm_campaign=c"
            "&utm_term=t&utm_content=k#x",
            "title": "Títle",
            "author": "Ann",
            "pubdate": "2023-11-14",
            "og_image": "https://example.com/i.png",
            "referrer": "https://www.google.com/",
            "visitor_id": "v1",
            "user_agent": FIREFOX,
            "ip": "192.0.2.9",
            "country": "ch",
            "city": "Zürich",
            "language": "de-CH",
            "timezone": "Europe/Zurich",
            "screen": "1920x1080",
            "name": "ignored",
            "properties": {"ignored": 1},
            "engaged_seconds": 5,
        }
    )
    assert rejected == []
    identity = page_id(SITE.id, "www.example.com", "/Art?id=7")
    assert (batch.table, batch.tenant_id) == (EventTable.WEB_EVENTS, SITE.id)
    assert {name: column[0] for name, column in batch.columns.items()} == {
        "event_id": "e1",
        "ts_us": NOW_US - 60_000_000,
        "local_day": (date(2023, 11, 14) - date(1970, 1, 1)).days,
        "kind": WebEventKind.PAGEVIEW,
        "excluded": Exclusion.NONE,
        "visitor_id": "v1",
        "page_id": identity,
        "medium": "m",
        "source": "s",
        "source_detail": "c",
        "referrer_host": "www.google.com",
        "referrer": "https://www.google.com/",
        "utm_source": "s",
        "utm_medium": "m",
        "utm_campaign": "c",
        "utm_term": "t",
        "utm_content": "k",
        "browser": "Firefox",
        "os": "Linux",
        "device": "desktop",
        "country": "CH",
        "city": "Zürich",
        "language": "de-CH",
        "timezone": "Europe/Zurich",
        "screen": "1920x1080",
        "name": "",
        "properties": "",
        "engaged_s": 0.0,
    }
    assert batch.pages == {
        identity: Page(
            SITE.id,
            "www.example.com",
            "/Art?id=7",
            "Títle",
            "Ann",
            "2023-11-14",
            "https://example.com/i.png",
        )
    }


def test_kinds_keep_what_is_theirs() -> None:
    everything = {"name": "n", "properties": {"a": [1, None]}, "engaged_seconds": 2.5}
    rows = [taken(type=kind, **everything) for kind in ("", "pageview", "heartbeat", "custom")]
    assert [row["kind"] for row in rows] == [1, 1, 2, 3]
    assert [row["engaged_s"] for row in rows] == [0.0, 0.0, 2.5, 0.0]
    assert [row["name"] for row in rows] == ["", "", "", "n"]
    assert [row["properties"] and json.loads(row["properties"]) for row in rows] == [
        "", "", "", {"a": [1, None]},
    ]  # fmt: skip
    assert "`name` is required" in refused(type="custom").message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": None}, "`url` is required"),
        ({"url": ""}, "`url` is required"),
        ({"url": "/a"}, "absolute"),
        ({"url": 5}, "must be a text"),
        ({"type": "click"}, '`type` must be one of "pageview", "heartbeat", "custom", but is'),
        ({"type": 1}, "must be a text"),
        ({"timestamp": NOW_S + 90_000}, "in the future"),
        ({"country": "CHE"}, "at most 2"),
        ({"country": "1a"}, "two-letter"),
        ({"engaged_seconds": -1}, "from 0 to 86400"),
        ({"engaged_seconds": 86_401}, "from 0 to 86400"),
        ({"engaged_seconds": float("nan")}, "from 0 to 86400"),
        ({"engaged_seconds": True}, "is true"),
        ({"properties": []}, "must be an object"),
        ({"properties": {str(n): n for n in range(51)}}, "51 members"),
        ({"title": "x" * 1025}, "1025 characters"),
    ],
)
def test_what_is_rejected(fields: dict[str, Any], said: str) -> None:
    row = refused(**fields)
    assert row.code == "INVALID_FIELD"
    assert said in row.message


def test_deep_and_large_properties() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    assert "JSON values" in refused(type="custom", name="n", properties={"a": deep}).message
    large = refused(type="custom", name="n", properties={"a": "x" * 70_000})
    assert large.code == "EVENT_TOO_LARGE"
    row = taken(type="custom", name="n", properties={"a": 2**70, "b": "\ud800\0"})
    assert json.loads(row["properties"]) == {"a": 2**70, "b": "\ufffd\0"}


def test_bots_and_spam_are_marked_and_kept() -> None:
    assert taken(user_agent=GOOGLEBOT)["excluded"] == Exclusion.BOT
    assert taken(referrer="http://semalt.com/")["excluded"] == Exclusion.REFERRER_SPAM
    assert taken(user_agent=GOOGLEBOT, referrer="http://semalt.com/")["excluded"] == Exclusion.BOT
    assert taken(user_agent="")["excluded"] == Exclusion.NONE


def test_visitors_are_given_or_derived() -> None:
    batch, _ = judge(
        GOOD | {"visitor_id": "mine"},
        GOOD | {"ip": "192.0.2.1", "user_agent": "UA"},
        GOOD | {"ip": "192.0.2.1", "user_agent": "UA", "timestamp": NOW_S - 5 * 86_400},
    )
    times = [NOW_US, NOW_US - 5 * DAY_US]
    derived = derive_visitor_ids(SALTS, SITE.id, times, ["192.0.2.1"] * 2, ["UA"] * 2)
    assert batch.columns["visitor_id"] == ["mine", *derived]
    assert "192.0.2.1" not in repr(batch), "no address is stored"


def test_places() -> None:
    assert (row := taken(ip="192.0.2.9"))["country"] == "DE"
    assert row["city"] == "Berlin"
    row = taken(ip="192.0.2.9", country="AT")
    assert (row["country"], row["city"]) == ("AT", ""), "Berlin is not in Austria"
    row = taken(ip="192.0.2.9", country="de", city="Bonn")
    assert (row["country"], row["city"]) == ("DE", "Bonn")
    unknown = replace(BROWSER, ip="10.0.0.1")
    assert taken(browser=unknown)["country"] == "CH", "the proxy's header"
    assert taken(browser=replace(unknown, country="XX"))["country"] == ""
    assert taken(browser=BROWSER)["country"] == "DE", "the database knows better"
    assert taken(browser=unknown, country="US")["country"] == "US"


def test_a_browser_cannot_say_who_and_when_it_is() -> None:
    lies = {
        "timestamp": "no time at all",
        "visitor_id": "x" * 1000,
        "user_agent": GOOGLEBOT,
        "ip": ["1"],
    }
    row = taken(browser=BROWSER, **lies)
    (visitor,) = derive_visitor_ids(SALTS, SITE.id, [NOW_US], [BROWSER.ip], [FIREFOX])
    assert (row["ts_us"], row["visitor_id"], row["excluded"], row["browser"]) == (
        NOW_US,
        visitor,
        Exclusion.NONE,
        "Firefox",
    )


def test_a_browsers_page_is_the_sites() -> None:
    for host in ("example.com", "www.example.com", "blog.example.com", "EXAMPLE.COM:8080"):
        assert taken(browser=BROWSER, url=f"https://{host}/x")["kind"] == 1
    row = refused(browser=BROWSER, url="https://evil.test/x")
    assert row.code == "HOST_MISMATCH"
    assert "example.com" in row.message
    assert "evil.test" in row.message
    assert taken(url="https://evil.test/x")["kind"] == 1, "a server is believed"


def test_over_long_user_agents_of_browsers_are_cut() -> None:
    browser = replace(BROWSER, user_agent="x" * 5000)
    row = taken(browser=browser)
    (visitor,) = derive_visitor_ids(SALTS, SITE.id, [NOW_US], [BROWSER.ip], ["x" * 1024])
    assert row["visitor_id"] == visitor


def test_pages_of_a_batch() -> None:
    url, bot = "https://example.com/p", {"user_agent": GOOGLEBOT}
    batch, _ = judge(
        {"url": url, "title": "Old", "author": "Ann"},
        {"url": url, "title": "Bot's", **bot},
        {"url": url, "title": "New", "og_image": "i"},
        {"url": url},
        {"url": url, "type": "heartbeat", "title": "Heartbeat's"},
        {"url": "https://example.com/only-beats", "type": "heartbeat", "title": "T"},
        {"url": "https://example.com/only-bots", "title": "T", **bot},
    )
    described = {
        page.path: (page.title, page.author, page.og_image) for page in batch.pages.values()
    }
    assert described == {"/p": ("New", "Ann", "i"), "/only-beats": ("", "", "")}


def test_all_bad_is_an_error() -> None:
    with pytest.raises(InvalidEventsError) as caught:
        judge({"url": "https://evil.test/"}, {"url": "x"}, 7, browser=BROWSER)
    assert [row.code for row in caught.value.rejected] == [
        "HOST_MISMATCH",
        "INVALID_FIELD",
        "INVALID_FIELD",
    ]


ZONES = [
    "UTC",
    "Europe/Zurich",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Pacific/Apia",
]


@pytest.mark.parametrize("zone", ZONES)
def test_local_days_follow_the_zones_rules(zone: str) -> None:
    dice = random.Random(zone)
    times = [dice.randrange(2_000_000_000_000_000) for _ in range(300)]
    # Around midnights of change: Sao Paulo had none on 2018-11-04, Apia no 2011-12-30 at all.
    for moment in (datetime(2018, 11, 4, tzinfo=UTC), datetime(2011, 12, 30, tzinfo=UTC)):
        times += [int((moment.timestamp() + s) * 1e6) for s in range(-90_000, 90_000, 1799)]
    expected = [
        (datetime.fromtimestamp(t // 1_000_000, ZoneInfo(zone)).date() - date(1970, 1, 1)).days
        for t in times
    ]
    assert local_days(zone, times) == expected


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(FIREFOX)


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(WEB_EVENT_FIELDS, VALUES)) | VALUES,
        max_size=4,
    ),
    st.booleans(),
)
def test_anything_is_judged(documents: list[Any], from_browser: bool) -> None:
    batch, rejected = judge(*documents, GOOD, browser=BROWSER if from_browser else None)
    assert len(batch) + len(rejected) == len(documents) + 1
    assert all(len(column) == len(batch) for column in batch.columns.values())
    for column in batch.columns.values():
        for value in column:
            if isinstance(value, str):
                value.encode()
                assert "\0" not in value
