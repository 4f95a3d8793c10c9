"""Visits and rollups against a full recount, whatever the order in which events arrive."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.analytics.model import HistoryQuery, PaceQuery
from footfall.events import EventStore
from footfall.events.duckdb.reader import read_history
from footfall.events.duckdb.store import DuckDBStore
from footfall.ingest.model import EventBatch, Exclusion, Page, WebEventKind
from footfall.ingest.web_events import local_days
from tests.events.conftest import Engine
from tests.events.recount import GAP, Recount, Sent
from tests.events.traffic import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    SITE,
    page,
    page_id,
    query,
    rollup,
    web_batch,
)

#: What is near a place: a zone, and a moment at which something happens to its clocks. None is
#: the time of the commits, which is now for the store.
PLACES = [
    ("UTC", None),
    ("Europe/Zurich", None),
    ("Asia/Kathmandu", None),  # 5:45 ahead
    ("Europe/Zurich", 1_774_746_000 * SECOND),  # 2026-03-29: 2:00 becomes 3:00
    ("Europe/Zurich", 1_792_890_000 * SECOND),  # 2026-10-25: 3:00 becomes 2:00
    ("Australia/Lord_Howe", 1_775_314_800 * SECOND),  # half an hour back, close to midnight
    ("America/Havana", 1_772_946_000 * SECOND),  # 2026-03-08: 0:00 becomes 1:00
    ("Pacific/Apia", 1_325_239_200 * SECOND),  # 2011-12-30 is left out
    ("Africa/Monrovia", 80 * DAY),  # 44:30 behind: days begin within a quarter of an hour
]


@dataclass(frozen=True)
class Event:
    visitor: str
    #: Before the moment of its batch.
    ago_us: int
    path: str
    kind: int
    excluded: int
    engaged_s: float


@dataclass(frozen=True)
class Batch:
    events: list[Event]
    #: What passes before it is sent.
    passed_us: int
    restarts: bool
    #: Whether it is sent twice in a commit, and again in the next one.
    repeated: bool
    title: str


EVENTS = st.builds(
    Event,
    visitor=st.sampled_from(["anna", "bert", "zoë"]),
    ago_us=st.one_of(
        st.sampled_from([0, 1, GAP - 1, GAP, GAP + 1, 2 * GAP, DAY, 40 * DAY, -5 * MINUTE, -HOUR]),
        st.integers(min_value=-10 * MINUTE, max_value=3 * HOUR),
    ),
    path=st.sampled_from(["/", "/a", "/b", "/B"]),
    kind=st.sampled_from([1, 1, 1, 1, 2, 2, 3]),
    excluded=st.sampled_from([0, 0, 0, 0, 1, 2]),
    engaged_s=st.sampled_from([0.0, 0.1, 0.2, 1e-7, 4.35, 15.0, 86_400.0]),
)
BATCHES = st.builds(
    Batch,
    events=st.lists(EVENTS, max_size=12),
    passed_us=st.sampled_from([0, 1, 10 * MINUTE, GAP, 2 * HOUR, DAY]),
    restarts=st.sampled_from([False, False, False, True]),
    repeated=st.booleans(),
    title=st.sampled_from(["", "", "Über uns", "BERN"]),
)

_sites = itertools.count()


def test_any_history(engine: Engine) -> None:
    @settings(
        max_examples=12 if engine.name == "duckdb" else 5,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.sampled_from(PLACES), st.lists(BATCHES, min_size=1, max_size=7))
    def run(place: tuple[str, int | None], batches: list[Batch]) -> None:
        nonlocal store
        zone, moment_us = place
        recount = Recount(f"site-{next(_sites)}", zone)
        at_us = moment_us
        for number, batch in enumerate(batches):
            engine.clock.now_us += batch.passed_us
            if batch.restarts:
                store = engine.reopen()
            at_us = engine.clock.now_us if moment_us is None else (at_us or 0) + batch.passed_us
            sent = [
                Sent(
                    event.visitor,
                    at_us - event.ago_us,
                    event.path,
                    event.kind,
                    event.excluded,
                    event.engaged_s if event.kind == WebEventKind.HEARTBEAT else 0.0,
                )
                for event in batch.events
            ]
            described = [page("/a", recount.site_id, title=batch.title)] if sent else []
            stored = web_events(recount, sent, described, number, engine.clock.now_us)
            store.commit([stored, stored] if batch.repeated else [stored])
            if batch.repeated:
                store.commit([stored])
            recount.add(sent, stored.pages.values())
            asyncio.run(check(store, recount, at_us, whole=number == len(batches) - 1))

    store = engine.open()
    run()


def web_events(
    recount: Recount, sent: list[Sent], pages: list[Page], number: int, received_us: int
) -> EventBatch:
    days = local_days(recount.zone.key, [event.ts_us for event in sent])
    rows = [
        {
            "event_id": f"{number}-{index}",
            "visitor_id": event.visitor,
            "ts_us": event.ts_us,
            "local_day": day,
            "path": event.path,
            "kind": event.kind,
            "excluded": event.excluded,
            "engaged_s": event.engaged_s,
        }
        for index, (event, day) in enumerate(zip(sent, days, strict=True))
    ]
    return web_batch(rows, tenant_id=recount.site_id, received_us=received_us, pages=pages)


async def check(store: EventStore, recount: Recount, at_us: int, *, whole: bool) -> None:
    """Compare what is asked of any site around a moment, and with `whole` over all its time; on
    DuckDB from memory, and without.
    """
    day = recount.local_day(at_us)
    near = HistoryQuery(recount.site_id, day - 1, day, pages_max=2)
    always = replace(near, first_day=-(2**31), last_day=2**31 - 1, pages_max=100)
    questions = [replace(near, search="b")]
    if whole:
        questions += [
            always,
            replace(always, rank_by="engaged_s"),
            replace(near, search="ÜBER", rank_by="engaged_s"),
            replace(near, pages_max=0),
        ]
    for question in questions:
        assert await store.history(question, 60) == recount.history(question)
        if whole and isinstance(store, DuckDBStore):
            with store._engine.cursor() as connection:
                assert read_history(connection, question) == recount.history(question)
    for ago_us in (DAY - 7 * MINUTE, 0, DAY + 40 * MINUTE)[: 3 if whole else 1]:
        asked = PaceQuery(recount.site_id, day, at_us - ago_us)
        assert await store.pace(asked, 60) == recount.pace(asked)


def view(minutes: float, path: str = "/", visitor: str = "anna") -> dict[str, object]:
    return {"visitor_id": visitor, "ts_us": NOW + int(minutes * MINUTE), "path": path}


def visits(store: EventStore) -> int:
    ((total,),) = query(store, "SELECT sum(visits) FROM web_events")
    return int(total)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_late_page_view_can_join_two_visits(engine: Engine, restarted: bool) -> None:
    store = engine.open()
    store.commit([web_batch([view(0), view(40)])])
    assert visits(store) == 2
    if restarted:
        store = engine.reopen()
    store.commit([web_batch([view(20, "/late")])])
    assert visits(store) == 1
    # The visit that began at 40 is taken back where it was counted.
    counted = rollup(store, "pageday", ["page_id"])
    assert counted == {
        (page_id(SITE, "example.com", "/"),): (2, 1),
        (page_id(SITE, "example.com", "/late"),): (1, 0),
    }
    # And only once, whatever else arrives between.
    store.commit([web_batch([view(25), view(15), view(39)])])
    assert visits(store) == 1


def test_a_late_page_view_can_move_the_start_of_a_visit(store: EventStore) -> None:
    store.commit([web_batch([view(0, "/first")])])
    store.commit([web_batch([view(-10, "/earlier")])])
    assert rollup(store, "pageday", ["page_id"]) == {
        (page_id(SITE, "example.com", "/first"),): (1, 0),
        (page_id(SITE, "example.com", "/earlier"),): (1, 1),
    }


@pytest.mark.parametrize(("minutes", "expected"), [(29.99, 1), (30, 2), (30.01, 2)])
def test_a_gap_of_thirty_minutes_ends_a_visit(
    store: EventStore, minutes: float, expected: int
) -> None:
    store.commit([web_batch([view(0)])])
    store.commit([web_batch([view(minutes)])])
    assert visits(store) == expected


def test_ties_are_one_visit(store: EventStore) -> None:
    store.commit([web_batch([view(0, "/first"), view(0, "/second")])])
    store.commit([web_batch([view(0, "/third")])])
    assert rollup(store, "pageday", ["page_id"]) == {
        (page_id(SITE, "example.com", path),): (1, int(path == "/first"))
        for path in ("/first", "/second", "/third")
    }


def test_only_counted_page_views_make_visits(store: EventStore) -> None:
    bot = view(0) | {"excluded": Exclusion.BOT.value}
    heartbeat = view(20) | {"kind": WebEventKind.HEARTBEAT.value}
    store.commit([web_batch([bot, heartbeat, view(40)])])
    assert visits(store) == 1
    assert rollup(store, "slot15", ["slot_us"]) == {(NOW + 30 * MINUTE,): (1, 1)}


def test_sites_and_visitors_do_not_mix(store: EventStore) -> None:
    store.commit([web_batch([view(0), view(1, visitor="bert")])])
    store.commit([web_batch([view(2)], tenant_id="other")])
    assert visits(store) == 3
