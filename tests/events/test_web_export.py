"""Pages of raw web events, on every engine."""

from __future__ import annotations

from footfall.analytics.model import WebEventRow
from footfall.events import EventStore
from footfall.ingest.model import Exclusion, WebEventKind
from tests.events.traffic import MINUTE, NOW, SITE, page, web_batch


async def rows_of(store: EventStore, start_us: int = 0, end_us: int = 2**60) -> list[WebEventRow]:
    """All rows of the range, in pages of three."""
    through_seq = await store.last_seq(10)
    found: list[WebEventRow] = []
    while True:
        rows = await store.web_events(
            SITE,
            start_us,
            end_us,
            after_seq=found[-1].seq if found else 0,
            through_seq=through_seq,
            rows_max=3,
            timeout_s=10,
        )
        found += rows
        if len(rows) < 3:
            return found


async def test_pages_follow_the_order_of_storing(store: EventStore) -> None:
    for part in range(4):
        store.commit(
            [
                web_batch([{"ts_us": NOW - part * 10 - n, "path": f"/{part}"} for n in range(4)]),
                web_batch([{}], tenant_id="other"),
            ]
        )
    rows = await rows_of(store, NOW - 31, NOW)
    assert [(row.path, row.ts_us) for row in rows] == [
        (f"/{part}", NOW - part * 10 - n)
        for part in range(4)
        for n in range(4)
        if NOW - 31 <= NOW - part * 10 - n < NOW
    ]
    assert [row.seq for row in rows] == sorted({row.seq for row in rows})
    assert await rows_of(store, 5, 6) == []


async def test_every_field_comes_back(store: EventStore) -> None:
    texts = {
        name: f"{name} ü'\"\n,"
        for name in WebEventRow._fields[5:32]
        if name not in {"host", "path", "title", "author", "pubdate", "og_image"}
    }
    custom = {"kind": WebEventKind.CUSTOM.value, "event_id": "e", **texts}
    beat = {"kind": WebEventKind.HEARTBEAT.value, "engaged_s": 1.5, "path": "/b"}
    bot = {"excluded": Exclusion.BOT.value, "path": "/unseen"}
    batch = web_batch([custom, beat, bot], pages=[page("/", SITE), page("/b", SITE)])
    unseen = next(key for key, known in batch.pages.items() if known.path == "/unseen")
    del batch.pages[unseen]  # type: ignore[attr-defined]  # pages of bots are not kept
    store.commit([batch])
    first, second, third = await rows_of(store)
    known = page("/", SITE)
    assert first._asdict() == texts | {
        "seq": first.seq,
        "event_id": "e",
        "ts_us": NOW,
        "kind": 3,
        "excluded": 0,
        "host": known.host,
        "path": "/",
        "title": known.title,
        "author": known.author,
        "pubdate": known.pubdate,
        "og_image": known.og_image,
        "engaged_s": 0.0,
    }
    assert (second.kind, second.engaged_s, second.path) == (2, 1.5, "/b")
    assert (third.excluded, third.host, third.path) == (1, "", "")


async def test_what_corrects_visits_is_no_event(store: EventStore) -> None:
    # A late view makes two visits one; what the store notes for that is its own.
    late = [{"ts_us": NOW + minute * MINUTE, "visitor_id": "v"} for minute in (0, 40, 20)]
    for event in late:
        store.commit([web_batch([event])])
    assert [row.ts_us for row in await rows_of(store)] == [event["ts_us"] for event in late]
