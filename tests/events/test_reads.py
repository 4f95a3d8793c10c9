"""Export pages, and what live state is rebuilt from."""

from __future__ import annotations

from footfall.analytics.model import LiveEvent
from footfall.events import EventStore
from footfall.ingest.model import Exclusion, WebEventKind
from tests.events.traffic import APP, DAY, MINUTE, NOW, SITE, api_batch, page, web_batch


async def test_an_empty_store(store: EventStore) -> None:
    await store.ping(10)
    assert await store.last_seq(10) == 0
    assert await store.active_sites(0, 2**62) == []
    assert await store.recent_events(SITE, 0, 2**62) == []
    assert await store.day_pageviews(SITE, 0, 2**62) == []
    assert await store.day_visitors(SITE, 0, 2**62) == []


async def test_pages_of_an_export_follow_the_order_of_storing(store: EventStore) -> None:
    # Times run against the order of storing.
    for part in range(5):
        store.commit(
            [
                api_batch(
                    [{"ts_us": NOW - part * 10 - n, "url": f"/{part}/{n}"} for n in range(4)]
                ),
                api_batch([{}], tenant_id="other"),
            ]
        )
    through_seq = await store.last_seq(10)
    store.commit([api_batch([{"url": "/later"}])])
    found, after_seq = [], 0
    while True:
        rows = await store.api_requests(
            APP,
            NOW - 42,
            NOW,
            after_seq=after_seq,
            through_seq=through_seq,
            rows_max=3,
            timeout_s=10,
        )
        if not rows:
            break
        assert len(rows) <= 3
        found += rows
        after_seq = rows[-1].seq
    # From NOW - 42 on, NOW itself excluded, and nothing that came after the export began.
    expected = [
        f"/{part}/{n}"
        for part in range(5)
        for n in range(4)
        if NOW - 42 <= NOW - part * 10 - n < NOW
    ]
    assert [row.url for row in found] == expected
    assert [row.seq for row in found] == sorted({row.seq for row in found})


async def test_history_for_live_state(store: EventStore) -> None:
    today = NOW // DAY
    known = [page("/a", title="Tïtle", og_image="a.png")]
    events = [
        {"visitor_id": "anna", "path": "/a", "ts_us": NOW + 999, "country": "CH", "city": "Genève"},
        {
            "visitor_id": "anna",
            "path": "/b",
            "kind": WebEventKind.HEARTBEAT.value,
            "ts_us": NOW + 60 * MINUTE,  # by a clock that is fast; it was seen when it arrived
        },
        {"visitor_id": "bot", "path": "/a", "excluded": Exclusion.BOT.value},
        {"visitor_id": "anna", "path": "/a", "kind": WebEventKind.CUSTOM.value},
        {"visitor_id": "carl", "path": "/b", "ts_us": NOW - 10 * MINUTE, "medium": "search"},
    ]
    store.commit([web_batch(events, pages=known)])
    old = {"visitor_id": "old", "path": "/a", "ts_us": NOW - DAY}
    bot = {"visitor_id": "bot", "excluded": Exclusion.REFERRER_SPAM.value}
    (mark, *_) = store.commit(
        [web_batch([old]), web_batch([bot], tenant_id="bots"), web_batch([old], tenant_id="old")]
    )
    later = [{"visitor_id": "dora", "path": "/a"}]
    store.commit([web_batch(later), web_batch(later, tenant_id="new")])
    seq = mark.last_seq

    assert await store.active_sites(NOW - 5 * MINUTE, seq) == [SITE]
    assert await store.active_sites(NOW - 2 * DAY, 2**62) == ["new", "old", SITE]
    blank = {"medium": "", "source": "", "detail": "", "country": "", "city": "", "device": ""}
    at_a = {"host": "example.com", "path": "/a", "title": "Tïtle", "og_image": "a.png"}
    at_b = {"host": "example.com", "path": "/b", "title": "", "og_image": ""}
    anna = LiveEvent(
        "anna", NOW // 1000, today, True, **at_a, **(blank | {"country": "CH", "city": "Genève"})
    )
    beat = LiveEvent("anna", NOW // 1000, today, False, **at_b, **blank)
    carl = LiveEvent(
        "carl", (NOW - 10 * MINUTE) // 1000, today, True, **at_b, **(blank | {"medium": "search"})
    )
    assert await store.recent_events(SITE, NOW - 5 * MINUTE, seq) == [anna, beat]
    assert await store.recent_events(SITE, NOW - 10 * MINUTE, seq) == [anna, beat, carl]
    assert sorted(await store.day_pageviews(SITE, today, seq)) == [
        ("example.com", "/a", 1),
        ("example.com", "/b", 1),
    ]
    assert sorted(await store.day_pageviews(SITE, today, 2**62)) == [
        ("example.com", "/a", 2),
        ("example.com", "/b", 1),
    ]
    assert sorted(await store.day_visitors(SITE, today, seq)) == ["anna", "carl"]
    assert await store.day_visitors(SITE, today - 1, seq) == ["old"]
