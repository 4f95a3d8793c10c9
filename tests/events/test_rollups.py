"""Visits and rollups against a full recount, whatever the order in which events arrive."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.events import EventStore
from footfall.ingest.model import Exclusion, WebEventKind
from tests.events.conftest import Engine
from tests.events.traffic import DAY, HOUR, MINUTE, NOW, SITE, page_id, query, rollup, web_batch

GAP = 30 * MINUTE


@dataclass(frozen=True)
class Event:
    visitor: str
    #: Before the time at which its batch is received.
    ago_us: int
    path: str
    kind: int
    excluded: int


EVENTS = st.builds(
    Event,
    visitor=st.sampled_from(["anna", "bert", "zoë"]),
    ago_us=st.one_of(
        st.sampled_from([0, 1, GAP - 1, GAP, GAP + 1, 2 * GAP, DAY, 40 * DAY, -5 * MINUTE, -HOUR]),
        st.integers(min_value=0, max_value=3 * HOUR),
    ),
    path=st.sampled_from(["/", "/a", "/b"]),
    kind=st.sampled_from([1, 1, 1, 1, 2, 3]),
    excluded=st.sampled_from([0, 0, 0, 0, 1, 2]),
)
#: Batches with the time that passes before each, and whether the store restarts then.
HISTORIES = st.lists(
    st.tuples(
        st.lists(EVENTS, max_size=12),
        st.sampled_from([0, 1, 10 * MINUTE, GAP, 2 * HOUR, DAY]),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
    ),
    min_size=1,
    max_size=7,
)

_sites = itertools.count()


def test_any_history(engine: Engine) -> None:
    @settings(
        max_examples=60 if engine.name == "duckdb" else 25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(HISTORIES)
    def run(history: list[tuple[list[Event], int, bool, bool]]) -> None:
        nonlocal store
        site = f"site-{next(_sites)}"
        stored: list[tuple[int, Event]] = []
        for number, (events, passed_us, restarts, repeated) in enumerate(history):
            engine.clock.now_us += passed_us
            if restarts:
                store = engine.reopen()
            batch = web_batch(
                [
                    {
                        "event_id": f"{number}-{index}",
                        "visitor_id": event.visitor,
                        "ts_us": engine.clock.now_us - event.ago_us,
                        "path": event.path,
                        "kind": event.kind,
                        "excluded": event.excluded,
                    }
                    for index, event in enumerate(events)
                ],
                tenant_id=site,
                received_us=engine.clock.now_us,
            )
            store.commit([batch, batch] if repeated else [batch])
            stored += [(engine.clock.now_us - event.ago_us, event) for event in events]
        check(store, site, stored)

    store = engine.open()
    run()


def check(store: EventStore, site: str, stored: list[tuple[int, Event]]) -> None:
    slots, days = recount(site, stored)
    assert rollup(store, "slot15", ["slot_us"], site) == slots
    assert rollup(store, "pageday", ["local_day", "page_id"], site) == days


def recount(
    site: str, stored: list[tuple[int, Event]]
) -> tuple[dict[tuple[int], tuple[int, int]], dict[tuple[int, int], tuple[int, int]]]:
    """Count page views and visits by slot, and by day and page, from the whole history."""
    by_visitor = defaultdict(list)
    for order, (ts_us, event) in enumerate(stored):
        if event.kind == WebEventKind.PAGEVIEW and event.excluded == Exclusion.NONE:
            by_visitor[event.visitor].append((ts_us, order, event.path))
    views: Counter[tuple[str, tuple[int, ...]]] = Counter()
    visits: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for mine in by_visitor.values():
        before_us = None
        for ts_us, _, path in sorted(mine):
            places = (
                ("slot", (ts_us - ts_us % (15 * MINUTE),)),
                ("day", (ts_us // DAY, page_id(site, "example.com", path))),
            )
            for place in places:
                views[place] += 1
                visits[place] += before_us is None or ts_us - before_us >= GAP
            before_us = ts_us
    both = {place: (views[place], visits[place]) for place in views}
    return (
        {at: counts for (kind, at), counts in both.items() if kind == "slot"},  # type: ignore[misc]
        {at: counts for (kind, at), counts in both.items() if kind == "day"},  # type: ignore[misc]
    )


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
