"""Removing a site, a visitor, old days: what is left answers as if they had never been there."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from footfall.analytics.model import HistoryQuery, PaceQuery
from footfall.errors import NotFoundError
from footfall.events import EventStore
from footfall.ingest.model import Exclusion, Midnight, Removal, WebEventKind
from tests.events.conftest import Engine
from tests.events.recount import Recount, Sent
from tests.events.traffic import DAY, HOUR, MINUTE, NOW, SITE, page, query, web_batch

TODAY = NOW // DAY
MIDNIGHT = TODAY * DAY


class Traffic:
    """A store, and everything that was sent to it, to be counted again."""

    def __init__(self, seed: int = 3) -> None:
        self.pick = random.Random(seed)
        self.sent: dict[str, list[Sent]] = {SITE: [], "other": []}

    def fill(self, store: EventStore, commits: int = 12) -> None:
        """Store page views of few visitors in any order, around midnights above all."""
        for _ in range(commits):
            site_id = self.pick.choice([SITE, SITE, "other"])
            events = [self._event() for _ in range(9)]
            self.sent[site_id] += events
            store.commit([web_batch([_document(event) for event in events], site_id)])

    def _event(self) -> Sent:
        pick = self.pick
        kind = pick.choice([WebEventKind.PAGEVIEW] * 5 + [WebEventKind.HEARTBEAT])
        return Sent(
            visitor=f"v{pick.randrange(5)}",
            ts_us=MIDNIGHT - pick.randrange(3) * DAY + pick.randrange(-90, 90) * MINUTE,
            path=f"/{pick.randrange(4)}",
            kind=kind,
            excluded=pick.choice([Exclusion.NONE] * 5 + [Exclusion.BOT]),
            engaged_s=pick.choice([0.1, 1.7]) if kind == WebEventKind.HEARTBEAT else 0.0,
        )

    def forget(self, site_id: str, is_gone: Callable[[Sent], bool]) -> int:
        """Take events out of what was sent, and return how many they were."""
        left = [event for event in self.sent[site_id] if not is_gone(event)]
        gone = len(self.sent[site_id]) - len(left)
        self.sent[site_id] = left
        return gone

    async def compare(self, store: EventStore) -> None:
        """Compare all that is counted of both sites with a recount, and the store with itself."""
        for site_id, events in self.sent.items():
            recount = Recount(site_id)
            recount.add(events, [page(event.path, site_id) for event in events])
            asked = HistoryQuery(site_id, TODAY - 9, TODAY + 1, 100)
            assert await store.history(asked, 60) == recount.history(asked)
            pace = PaceQuery(site_id, TODAY, MIDNIGHT - DAY + 5 * MINUTE)
            assert await store.pace(pace, 60) == recount.pace(pace)
        assert await store.differences(10, 60) == []


def _document(event: Sent) -> dict[str, object]:
    return {
        "visitor_id": event.visitor,
        "ts_us": event.ts_us,
        "path": event.path,
        "kind": int(event.kind),
        "excluded": int(event.excluded),
        "engaged_s": event.engaged_s,
    }


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_left_of_a_visitor(engine: Engine, seed: int) -> None:
    store = engine.open()
    traffic = Traffic(seed)
    traffic.fill(store)
    # Once before, so that everything that is kept in memory holds the visitor.
    await traffic.compare(store)
    gone = traffic.forget(SITE, lambda event: event.visitor == "v1")
    assert store.remove(Removal(SITE, visitor_id="v1")) == gone > 0
    await traffic.compare(store)
    assert store.remove(Removal(SITE, visitor_id="v1")) == 0
    await traffic.compare(store)
    # The visitor may come again, and is a new one.
    traffic.fill(store)
    await traffic.compare(store)
    store = engine.reopen()
    await traffic.compare(store)
    traffic.fill(store)
    await traffic.compare(store)


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_left_of_old_days(engine: Engine, seed: int) -> None:
    store = engine.open()
    traffic = Traffic(seed)
    traffic.fill(store)
    await traffic.compare(store)
    for day in (TODAY - 1, TODAY):
        before = Midnight(day, day * DAY)
        gone = traffic.forget(SITE, lambda event, day=day: event.ts_us < day * DAY)  # type: ignore[misc]  # the loop's value, bound
        assert store.remove(Removal(SITE, before=before)) == gone > 0
        await traffic.compare(store)
        assert store.remove(Removal(SITE, before=before)) == 0
        await traffic.compare(store)
    traffic.fill(store)
    await traffic.compare(store)
    store = engine.reopen()
    await traffic.compare(store)


async def test_nothing_is_left_of_a_site(engine: Engine) -> None:
    store = engine.open()
    traffic = Traffic()
    traffic.fill(store)
    await traffic.compare(store)
    gone = traffic.forget(SITE, lambda _: True)
    assert store.remove(Removal(SITE)) == gone
    await traffic.compare(store)
    for table in ("web_events", "pages", "slot15", "pageday"):
        rows = query(store, f"SELECT count(*) FROM {table} WHERE site_id = '{SITE}'")
        assert rows == [(0,)], table
    # What was still on its way does not come back, nor does its neighbour's part of the commit.
    seq = await store.last_seq(10)
    with pytest.raises(NotFoundError):
        store.commit([web_batch([{}], "other"), web_batch([{}])])
    assert await store.last_seq(10) == seq
    store.commit([web_batch([_document(Sent("v", NOW, "/"))], "other")])
    traffic.sent["other"].append(Sent("v", NOW, "/"))
    await traffic.compare(store)


async def test_a_visit_over_midnight_begins_where_its_rest_does(store: EventStore) -> None:
    views = [("a", -10), ("a", 10), ("a", 20), ("b", -31), ("b", 0), ("c", -20)]
    store.commit([web_batch([{"visitor_id": v, "ts_us": MIDNIGHT + m * MINUTE} for v, m in views])])
    asked = HistoryQuery(SITE, TODAY - 1, TODAY, 10)
    days = (await store.history(asked, 60)).days
    assert [(day.pageviews, day.visits) for day in days] == [(3, 3), (3, 1)]
    assert store.remove(Removal(SITE, before=Midnight(TODAY, MIDNIGHT))) == 3
    history = await store.history(asked, 60)
    assert [(day.local_day, day.pageviews, day.visits) for day in history.days] == [(TODAY, 3, 2)]
    assert history.first_day == TODAY
    assert await store.differences(10, 60) == []


async def test_numbers_are_not_used_again(engine: Engine) -> None:
    store = engine.open()
    # So many that an engine which folds has folded them all.
    store.commit([web_batch([{"visitor_id": "gone", "ts_us": NOW - HOUR}] * 40)])
    last = await store.last_seq(10)
    store.remove(Removal(SITE, visitor_id="gone"))
    assert await store.last_seq(10) == last
    store = engine.reopen()
    (outcome,) = store.commit([web_batch([{"visitor_id": "new"}])])
    assert outcome.last_seq > last
    asked = HistoryQuery(SITE, TODAY, TODAY, 10)
    assert [day.pageviews for day in (await store.history(asked, 60)).days] == [1]


async def test_texts_of_pages_go_with_the_last_event(store: EventStore) -> None:
    both, own = page("/both", title="Both"), page("/own", title="Own")
    store.commit(
        [
            web_batch(
                [
                    {"visitor_id": "a", "path": "/both"},
                    {"visitor_id": "a", "path": "/own"},
                    {"visitor_id": "b", "path": "/both"},
                ],
                pages=[both, own],
            )
        ]
    )
    store.remove(Removal(SITE, visitor_id="a"))
    paths = f"SELECT path FROM pages WHERE site_id = '{SITE}'"
    assert query(store, paths) == [("/both",)]
    # Whoever comes to it now describes it anew.
    store.commit([web_batch([{"visitor_id": "b", "path": "/own"}], pages=[own])])
    assert sorted(query(store, paths)) == [("/both",), ("/own",)]


async def test_an_event_that_is_sent_again_is_still_a_duplicate(store: EventStore) -> None:
    batch = web_batch([{"event_id": "e", "visitor_id": "a"}])
    store.commit([batch])
    store.remove(Removal(SITE, visitor_id="a"))
    assert [list(outcome.duplicate_rows) for outcome in store.commit([batch])] == [[0]]


async def test_versions_tell(store: EventStore) -> None:
    store.commit([web_batch([{"visitor_id": "a"}])])
    before = await store.history_version(SITE, 10)
    store.remove(Removal(SITE, visitor_id="a"))
    assert await store.history_version(SITE, 10) != before
