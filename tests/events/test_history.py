"""What is counted of a site: days, pages, quarters of an hour, and the version of it all."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from footfall.analytics.model import (
    DayCount,
    History,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
    SlotCount,
)
from footfall.errors import DeadlineError, UnavailableError
from footfall.events import EventStore
from footfall.events.clickhouse.driver import EmbeddedDriver
from footfall.events.clickhouse.store import ClickHouseStore
from footfall.ingest.model import Exclusion, Page, WebEventKind
from tests.events.conftest import FOLD_ROWS, Engine
from tests.events.traffic import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SITE,
    FakeClock,
    api_batch,
    execute,
    page,
    page_id,
    web_batch,
)

TODAY = NOW // DAY
ALL = HistoryQuery(SITE, 0, 2**31 - 1, pages_max=100)


def view(minutes: float, path: str = "/", visitor: str = "anna") -> dict[str, object]:
    return {"visitor_id": visitor, "ts_us": NOW + int(minutes * MINUTE), "path": path}


def beat(minutes: float, engaged_s: float, path: str = "/") -> dict[str, object]:
    return view(minutes, path) | {"kind": WebEventKind.HEARTBEAT.value, "engaged_s": engaged_s}


def counts(
    path: str, pageviews: int, visits: int = 0, engaged_s: float = 0.0, **texts: str
) -> PageCount:
    blank = {"title": "", "author": "", "pubdate": "", "og_image": ""}
    return PageCount(
        "example.com",
        path,
        **(blank | texts),
        pageviews=pageviews,
        visits=visits,
        engaged_s=engaged_s,
    )


async def history(store: EventStore, query: HistoryQuery = ALL) -> History:
    return await store.history(query, 60)


async def test_a_site_without_events(store: EventStore) -> None:
    nothing = History(None, [], [])
    assert await history(store) == nothing
    assert await store.pace(PaceQuery(SITE, TODAY, NOW), 60) == PaceCounts([], 0, 0)
    # Neither is there anything of what is not counted, or not this site's, or not of the web.
    bot = view(0) | {"excluded": Exclusion.BOT.value}
    custom = view(0) | {"kind": WebEventKind.CUSTOM.value}
    store.commit([web_batch([bot, custom, beat(0, 0.0)]), api_batch([{}])])
    store.commit([web_batch([view(0)], tenant_id="other")])
    assert await history(store) == nothing
    assert await store.pace(PaceQuery(SITE, TODAY, NOW + 1), 60) == PaceCounts([], 0, 0)


@pytest.mark.parametrize("folded", [False, True])
async def test_days_and_pages(store: EventStore, folded: bool) -> None:
    known = [page("/a", title="Tïtle", author="Zoë", pubdate="2026-01-02", og_image="a.png")]
    day = 24 * 60
    store.commit(
        [
            web_batch(
                [
                    view(-2 * day, "/old"),
                    view(-day, "/a"),
                    view(-day + 1, "/b"),
                    view(-day + 2, "/a"),
                    beat(-day + 3, 12.25, "/b"),
                ],
                pages=known,
            ),
            web_batch([view(0, "/b", "bert"), view(40, "/a", "bert"), beat(0, 0.5, "/only-read")]),
            web_batch([view(0)], tenant_id="other"),
        ]
    )
    if folded:
        store.commit([web_batch([view(0, f"/{n}") for n in range(FOLD_ROWS)], tenant_id="more")])
    a = {"title": "Tïtle", "author": "Zoë", "pubdate": "2026-01-02", "og_image": "a.png"}
    assert await history(store) == History(
        TODAY - 2,
        [
            DayCount(TODAY - 2, 1, 1, 0.0),
            DayCount(TODAY - 1, 3, 1, 12.25),
            DayCount(TODAY, 2, 2, 0.5),
        ],
        [
            counts("/a", 3, 2, **a),
            counts("/b", 2, 1, 12.25),
            counts("/old", 1, 1),
        ],
    )
    yesterday = replace(ALL, first_day=TODAY - 1, last_day=TODAY - 1, pages_max=1)
    assert await history(store, yesterday) == History(
        TODAY - 2, [DayCount(TODAY - 1, 3, 1, 12.25)], [counts("/a", 2, 1, **a)]
    )
    by_time = replace(ALL, rank_by="engaged_s")
    assert (await history(store, by_time)).pages == [
        counts("/b", 2, 1, 12.25),
        counts("/only-read", 0, 0, 0.5),
    ]
    assert (await history(store, replace(ALL, pages_max=0))).pages == []
    outside = replace(ALL, first_day=TODAY + 1, last_day=TODAY + 9)
    assert await history(store, outside) == History(TODAY - 2, [], [])
    slots = [
        SlotCount(TODAY - 1, NOW - DAY, 3, 1),
        SlotCount(TODAY, NOW, 1, 1),
        SlotCount(TODAY, NOW + 30 * MINUTE, 1, 1),
    ]
    for after_us, pageviews, visits in (
        (0, 0, 0),
        (1, 1, 1),
        (MINUTE, 1, 1),
        (MINUTE + 1, 2, 1),
        (15 * MINUTE, 3, 1),
        (DAY + HOUR, 3, 1),
    ):
        found = await store.pace(PaceQuery(SITE, TODAY, NOW - DAY + after_us), 60)
        assert found == PaceCounts(slots, pageviews, visits)
    assert await store.pace(PaceQuery(SITE, TODAY + 1, NOW + MINUTE), 60) == PaceCounts(
        slots[1:], 1, 1
    )


async def test_the_first_day_is_that_of_the_first_page_view(store: EventStore) -> None:
    store.commit([web_batch([beat(-3 * 24 * 60, 5.0)])])
    assert await history(store) == History(None, [DayCount(TODAY - 3, 0, 0, 5.0)], [])
    store.commit([web_batch([view(0)])])
    assert (await history(store)).first_day == TODAY
    store.commit([web_batch([view(-40 * 24 * 60)])])
    assert (await history(store, replace(ALL, first_day=TODAY))).first_day == TODAY - 40


async def test_a_correction_counts_where_the_visit_did(store: EventStore) -> None:
    midnight = NOW - NOW % DAY
    late = {"visitor_id": "v", "path": "/late", "ts_us": midnight - MINUTE}
    store.commit([web_batch([{"visitor_id": "v", "path": "/first", "ts_us": midnight + MINUTE}])])
    assert (await history(store)).days == [DayCount(TODAY, 1, 1, 0.0)]
    store.commit([web_batch([late])])
    found = await history(store)
    # The visit began the day before, so it is that day's.
    assert found.days == [DayCount(TODAY - 1, 1, 1, 0.0), DayCount(TODAY, 1, 0, 0.0)]
    assert found.pages == [counts("/first", 1), counts("/late", 1, 1)]
    slots = [
        SlotCount(TODAY - 1, midnight - 15 * MINUTE, 1, 1),
        SlotCount(TODAY, midnight, 1, 0),
    ]
    assert await store.pace(PaceQuery(SITE, TODAY, midnight), 60) == PaceCounts(slots, 1, 1)
    # Within a quarter of an hour, too.
    half_past = PaceQuery(SITE, TODAY + 1, midnight + 2 * MINUTE)
    assert await store.pace(half_past, 60) == PaceCounts(slots[1:], 1, 0)


async def test_a_day_may_begin_within_a_slot(store: EventStore) -> None:
    store.commit(
        [web_batch([view(1) | {"local_day": TODAY - 1}, view(2) | {"local_day": TODAY}] * 20)]
    )
    assert (await history(store)).days == [
        DayCount(TODAY - 1, 20, 1, 0.0),
        DayCount(TODAY, 20, 0, 0.0),
    ]
    slots = [SlotCount(TODAY - 1, NOW, 20, 1), SlotCount(TODAY, NOW, 20, 0)]
    assert await store.pace(PaceQuery(SITE, TODAY, NOW + 2 * MINUTE), 60) == PaceCounts(
        slots, 20, 1
    )
    assert await store.pace(PaceQuery(SITE, TODAY + 1, NOW + 3 * MINUTE), 60) == PaceCounts(
        slots[1:], 20, 0
    )


@pytest.mark.parametrize("rank_by", ["pageviews", "engaged_s"])
async def test_pages_are_ranked_by_count_then_path_then_host(
    store: EventStore, rank_by: str
) -> None:
    # Bytewise, as Python orders them: capitals first, umlauts last.
    paths = ["/B", "/Ä", "/a", "/b", "/ä", "/￿", "/🛒"]
    hosts = ["b.example.com", "a.example.com"]
    batches = []
    for host in hosts:
        for path in paths:
            at = page_id(SITE, host, path)
            event = view(0) | {"page_id": at}
            batch = web_batch([event, event | {"kind": 2, "engaged_s": 1.5}])
            batch.pages.clear()  # type: ignore[attr-defined]
            batch.pages[at] = Page(SITE, host, path, "", "", "", "")  # type: ignore[index]
            batches.append(batch)
    store.commit([*batches, web_batch([view(0, "/zz"), view(0, "/zz"), beat(0, 1.5000015, "/zz")])])
    expected = [("example.com", "/zz")] + [
        (host, path) for path in sorted(paths) for host in sorted(hosts)
    ]
    query = replace(ALL, rank_by=rank_by)  # type: ignore[arg-type]
    found = await history(store, query)
    assert [(counted.host, counted.path) for counted in found.pages] == expected
    # Halves of a microsecond are rounded up, on every engine.
    assert found.pages[0].engaged_s == 1.500002
    few = await history(store, replace(query, pages_max=4))
    assert few.pages == found.pages[:4]
    assert few.days == found.days


PAGES = [
    page("/größe/100%25_a", title="Straßen & Wege", author="Zoë Ångström"),
    page("/gr%C3%B6%C3%9Fe", title="ΟΔΟΣ", author="İpek"),
    page("/back\\slash?a=1&b=2", title="50 % mehr", author="O'Neil"),
    page("/plain", title="under_score", author=""),
]
SEARCHES = [
    ("", [0, 1, 2, 3]),
    ("  ", [0, 1, 2, 3]),
    ("plain", [3]),
    ("PLAIN", [3]),
    ("%", [0, 1, 2]),
    ("_", [0, 3]),
    ("\\", [2]),
    ("'", [2]),
    ("; DROP TABLE pages", []),
    ("%%", []),
    ("a=1&b", [2]),
    ("100%25_A", [0]),
    # One form for every way of writing a letter.
    ("STRASSE", [0]),
    ("straße", [0]),
    ("ZOË", [0]),
    ("Zoe\u0308", [0]),
    ("ångström", [0]),
    ("\u212bngstro\u0308m", [0]),
    ("Zoe", []),
    ("οδος", [1]),
    ("οδοσ", [1]),
    ("İPEK", [1]),
    ("i\u0307pek", [1]),
    ("größe", [0, 1]),
    ("GRÖSSE", [0, 1]),
    ("%c3%b6", [1]),
    # Addresses, as they are pasted.
    ("example.com", [0, 1, 2, 3]),
    ("example.com/pl", [3]),
    ("https://example.com/plain", [3]),
    ("http://example.com/plain", [3]),
    ("HTTPS://Example.com/plain/", [3]),
    (" https://example.com/plain?utm_source=x&fbclid=7#top ", [3]),
    ("https://example.com/", [0, 1, 2, 3]),
    ("https://exam", [0, 1, 2, 3]),
    ("https://", [0, 1, 2, 3]),
    ("https://example.com/pl", [3]),
    ("https://example.com/größe", [0, 1]),
    ("https://other.example", []),
]


async def test_search(store: EventStore) -> None:
    batch = web_batch([view(0, known.path) for known in PAGES], pages=PAGES)
    store.commit([batch, web_batch([view(0, "/plain")], tenant_id="other")])
    for text, expected in SEARCHES:
        found = await history(store, replace(ALL, search=text))
        paths = [counted.path for counted in found.pages]
        assert paths == sorted(PAGES[at].path for at in expected), text
        # It filters pages only.
        assert found.days == [DayCount(TODAY, 4, 1, 0.0)]
    assert len((await history(store, replace(ALL, search="e", pages_max=2))).pages) == 2


async def test_a_version_changes_with_the_answers(engine: Engine) -> None:
    store = engine.open()

    async def version(site_id: str = SITE) -> str:
        return await store.history_version(site_id, 60)

    store.commit([web_batch([view(0)], tenant_id="other")])
    seen = [await version()]
    other = await version("other")
    changes = [
        web_batch([view(0)]),
        web_batch([view(50)]),
        web_batch([view(25)]),  # joins both visits
        web_batch([beat(26, 1.0)]),
        web_batch([view(1) | {"event_id": "once"}]),
        # A page's text, although the event itself has been here before.
        web_batch([view(1) | {"event_id": "once"}], pages=[page("/", title="New")]),
    ]
    for batch in changes:
        store.commit([batch])
        seen.append(await version())
    assert len(set(seen)) == len(seen)
    same = [
        web_batch([view(1) | {"event_id": "once"}]),
        web_batch([view(0) | {"excluded": Exclusion.BOT.value}]),
        web_batch([view(0)], tenant_id="third"),
        web_batch([]),
        api_batch([{}]),
    ]
    for batch in same:
        store.commit([batch])
        assert await version() == seen[-1]
    assert await version("other") == other
    store = engine.reopen()
    store.commit([web_batch([view(0)], tenant_id="other")])
    assert await version() not in seen


async def test_a_commit_that_fails_changes_versions(store: EventStore) -> None:
    store.commit([web_batch([view(0)]), api_batch([{}])])
    away, back = "ALTER TABLE web_events RENAME TO away", "ALTER TABLE away RENAME TO web_events"
    if type(store).__name__ == "ClickHouseStore":
        away, back = "RENAME TABLE web_events TO away", "RENAME TABLE away TO web_events"
    before = await store.history_version(SITE, 60)
    execute(store, away)
    with pytest.raises(UnavailableError):
        store.commit([web_batch([view(0)], pages=[page("/", title="Half-way")])])
    execute(store, back)
    failed = await store.history_version(SITE, 60)
    assert failed != before
    store.commit([api_batch([{}])])
    assert (await history(store)).days == [DayCount(TODAY, 1, 1, 0.0)]


async def test_a_server_that_only_reads_sees_anothers_commits(chdb_directory: Path) -> None:
    url = make_url(f"chdb:///{chdb_directory}?database=two_servers")
    writer = ClickHouseStore(EmbeddedDriver.connect(url), clock=FakeClock())
    reader = ClickHouseStore(EmbeddedDriver.connect(url), clock=FakeClock())
    seen = [await reader.history_version(SITE, 60)]
    assert await reader.history_version(SITE, 60) == seen[0]
    for batch in (
        web_batch([view(0)]),
        web_batch([beat(0, 1.0)]),
        web_batch([view(0) | {"event_id": "once"}]),
        web_batch([view(0) | {"event_id": "once"}], pages=[page("/", title="New")]),
    ):
        writer.commit([batch])
        seen.append(await reader.history_version(SITE, 60))
    assert len(set(seen)) == len(seen)
    assert await history(reader) == await history(writer)
    writer.close()
    reader.close()


async def test_an_answer_is_of_one_moment(store: EventStore) -> None:
    """Days, pages and folds are never seen between two commits, nor is a commit in part."""
    done = threading.Event()
    size = 7

    def write() -> None:
        for number in range(40):
            views = [
                view(row, f"/{row}", f"visitor-{number}-{row}") | {"event_id": f"{number}-{row}"}
                for row in range(size)
            ]
            store.commit([web_batch(views), web_batch([view(0)], tenant_id="other")])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    version, cached = "", 0
    try:
        while not done.is_set():
            before = await store.history_version(SITE, 60)
            found = await history(store)
            commits, rest = divmod(sum(day.pageviews for day in found.days), size)
            assert rest == 0
            assert [day.visits for day in found.days] == [commits * size] * bool(commits)
            assert [p.pageviews for p in found.pages] == [commits] * (size if commits else 0)
            if before == version:
                assert commits >= cached
            version, cached = before, commits
            seen.append(commits)
            await asyncio.sleep(0)
    finally:
        writer.join()
    assert seen == sorted(seen)
    assert sum(day.pageviews for day in (await history(store)).days) == 40 * size


async def test_there_is_no_time_for_it(store: EventStore) -> None:
    with pytest.raises(DeadlineError):
        await store.history(ALL, 0)
    with pytest.raises(DeadlineError):
        await store.pace(PaceQuery(SITE, TODAY, NOW), 0)
