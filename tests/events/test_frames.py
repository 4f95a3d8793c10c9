"""Batch queries from memory: they are what a recount makes them whatever came in between, and in
which order; what does not fit is read from the file; what was taken back is forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from footfall.accounts.model import Plan, Site
from footfall.analytics.model import LiveCounts
from footfall.analytics.queries.catalogue import TYPES
from footfall.analytics.queries.documents import answer_document
from footfall.analytics.queries.parsing import Defaults
from footfall.analytics.queries.service import QueryService
from footfall.errors import UnavailableError
from footfall.events import frame, query_statements
from footfall.events.duckdb.frames import EventFrames
from footfall.events.duckdb.store import DuckDBStore
from footfall.ingest.model import Removal
from tests.analytics.queries.recount import GAP_US, Recount, history, random_filters, shown
from tests.events.traffic import DAY, NOW, SITE, FakeClock, page_id, web_batch

Sent = list[dict[str, Any]]
#: Those that frames are for.
NAMES = [
    name
    for name, kind in TYPES.items()
    if kind.needs_dates and name not in {"custom_event_properties", "outbound_links"}
]


class NobodyThere:
    """A LiveState without visitors."""

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts:
        return LiveCounts(0, 0, 0, {}, {}, {}, [], [])

    async def ping(self) -> None: ...


class Asking:
    """A store and the service that asks it, every question of which is compared with a recount."""

    def __init__(self, store: DuckDBStore, pick: random.Random) -> None:
        self.store = store
        self.pick = pick
        self.service = QueryService(store, store.history_version, NobodyThere(), lambda: NOW)
        plan = Plan("free", 10, 100, 50, 300)
        self.site = Site(SITE, "account", "example.com", "Europe/Zurich", public=False, plan=plan)
        self.sent: Sent = []

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        self.sent += events
        self.store.commit([web_batch(events)])

    async def check(
        self, first_us: int, days: int, names: list[str], filters: Sequence[Any] = ()
    ) -> None:
        first = shown("UTC", first_us).date()
        last = first + timedelta(days=days - 1)
        granularity = self.pick.choice(["daily", "hourly"])
        rows = await self.ask(names, first, last, filters, granularity)
        recount = Recount(self.sent, "Europe/Zurich", first, last, filters)
        for name in names:
            assert rows[name] == recount.rows(name, granularity), (name, filters)

    async def ask(
        self,
        names: list[str],
        first: date,
        last: date,
        filters: Sequence[Any] = (),
        granularity: str = "daily",
    ) -> dict[str, Any]:
        document = {
            "parameters": names,
            "startDate": str(first),
            "endDate": str(last),
            "granularity": granularity,
            "filters": filters,
            "limit": 10_000,
        }
        answers = await self.service.answer(self.site, [document], Defaults("Europe/Zurich"), 60)
        data = answer_document(answers, batch=False)["data"]
        return {each["parameter"]: each["data"] for each in data}

    def frames(self) -> int:
        """How many frames there are."""
        return sum(len(site._kinds) for site in self.store._frames.sites)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBStore]:
    store = DuckDBStore(f"{tmp_path}/events.duckdb", memory_mb=200, clock=FakeClock())
    store._frames = EventFrames(store._writer, few_events=0)
    yield store
    store.close()


@pytest.mark.parametrize("seed", range(6))
async def test_answers_are_exact_whatever_comes_in_between(
    store: DuckDBStore, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick = random.Random(seed)
    # The bulk is begun anew seldom, now and then, or at nearly every question; it is read at once
    # or in portions; ids are told apart although their hashes are alike.
    monkeypatch.setattr(frame, "NEWS_MIN", [10_000, 60, 5][seed % 3])
    monkeypatch.setattr(query_statements, "PORTION_ROWS", 71 if seed % 2 else 1_000_000)
    if seed < 3:
        monkeypatch.setattr(frame, "hash", len, raising=False)
    asking = Asking(store, pick)
    start = NOW - 12 * DAY
    # In no order of time: most of it is late.
    events = history(pick, 500, start, 12)
    pick.shuffle(events)
    asking.send(events[:200])
    filters = random_filters(pick)
    await asking.check(start, 12, NAMES, filters)
    at = 200
    while at < len(events):
        more = pick.choice([0, 1, 1, 2, 40])
        asking.send(events[at : at + more])
        at += more
        # Some that were asked before, and some that were not.
        await asking.check(start, 12, pick.sample(NAMES, 6), pick.choice([[], filters]))
        days = pick.randrange(1, 12)
        await asking.check(start + pick.randrange(-1, 12) * DAY, days, pick.sample(NAMES, 3))
    await asking.check(start, 12, NAMES)
    assert asking.frames() == 2


async def test_a_session_is_joined_split_and_moved_by_what_comes_late(store: DuckDBStore) -> None:
    asking = Asking(store, random.Random(1))
    names = ["summary_metrics", "entry_pages", "exit_pages", "top_pages", "events_by_date"]

    async def send(at_us: int, path: str) -> None:
        asking.send([{"ts_us": at_us, "path": path, "visitor_id": "v", "kind": 1, "excluded": 0}])
        await asking.check(NOW - DAY, 3, names)

    await send(NOW, "/a")
    await send(NOW + 2 * GAP_US - 2, "/b")
    # Joins the two, as both are less than the gap away.
    await send(NOW + GAP_US - 1, "/between")
    # Exactly the gap away: a session of its own.
    await send(NOW - GAP_US, "/before")
    # At the same moment as others: the order of storage is what counts.
    await send(NOW - GAP_US, "/same")
    await send(NOW + 2 * GAP_US - 2, "/last")


@pytest.mark.parametrize("bytes_max", [0, 20_000, 200_000])
async def test_limits_change_no_answer(store: DuckDBStore, bytes_max: int) -> None:
    store._frames = EventFrames(store._writer, bytes_max=bytes_max, few_events=100)
    pick = random.Random(2)
    asking = Asking(store, pick)
    others = [f"site-{number}" for number in range(4)]
    for _ in range(3):
        asking.send(history(pick, 150, NOW - 9 * DAY, 9))
        await asking.check(NOW - 9 * DAY, 10, NAMES)
        await asking.check(NOW - 3 * DAY, 1, pick.sample(NAMES, 4))
        for other in others:
            store.commit([web_batch(history(pick, 150, NOW - 9 * DAY, 9), tenant_id=other)])
            asking.site = Site(
                other, "account", "example.com", "UTC", public=False, plan=asking.site.plan
            )
            await asking.ask(["pages", "country"], *_days(NOW - 9 * DAY, NOW))
        asking.site = Site(
            SITE, "account", "example.com", "UTC", public=False, plan=asking.site.plan
        )
    assert sum(site.size for site in store._frames.sites) <= bytes_max
    assert (asking.frames() > 0) == (bytes_max > 0)


async def test_what_is_deleted_is_forgotten(store: DuckDBStore) -> None:
    asking = Asking(store, random.Random(3))
    asking.send(history(asking.pick, 200, NOW - 5 * DAY, 5))
    await asking.check(NOW - 5 * DAY, 6, NAMES)
    gone = asking.sent[0]["visitor_id"]
    store.remove(Removal(SITE, visitor_id=gone))
    asking.sent = [event for event in asking.sent if event["visitor_id"] != gone]
    await asking.check(NOW - 5 * DAY, 6, NAMES)


async def test_a_page_that_nothing_is_known_of_yet_gets_its_name(store: DuckDBStore) -> None:
    asking = Asking(store, random.Random(4))
    today = _days(NOW, NOW)
    batch = web_batch([{"path": "/known"}, {"path": "/late"}])
    late = batch.pages.pop(page_id(SITE, "example.com", "/late"))
    store.commit([batch])
    assert [row["name"] for row in (await asking.ask(["pages"], *today))["pages"]] == ["/known"]
    store.commit([web_batch([{"path": "/known"}], pages=[late])])
    pages = (await asking.ask(["pages"], *today))["pages"]
    assert [(row["name"], row["pageviews"]) for row in pages] == [("/known", 2), ("/late", 1)]


async def test_a_commit_that_was_taken_back_is_forgotten(tmp_path: Path) -> None:
    class Faulty(DuckDBStore):
        """Loses the answer of a commit that has succeeded, and cannot ask again at once."""

        losing = False

        def write(self, rows: object) -> None:
            super().write(rows)  # type: ignore[arg-type]
            if self.losing:
                self._doubtful = True
                raise UnavailableError("lost")

    store = Faulty(f"{tmp_path}/events.duckdb", memory_mb=200, clock=FakeClock())
    store._frames = EventFrames(store._writer, few_events=0)
    asking = Asking(store, random.Random(5))
    asking.send(history(asking.pick, 100, NOW - 2 * DAY, 2))
    await asking.check(NOW - 2 * DAY, 3, NAMES)
    store.losing = True
    with pytest.raises(UnavailableError):
        store.commit([web_batch([{"path": "/lost"}] * 5)])
    # Until the store has found out, it may show them.
    shown_ = await asking.ask(["pages"], *_days(NOW, NOW))
    assert "/lost" in [row["name"] for row in shown_["pages"]]
    store.losing = False
    asking.send(history(asking.pick, 20, NOW - 2 * DAY, 2))
    await asking.check(NOW - 2 * DAY, 3, NAMES)
    store.close()


def _days(first_us: int, last_us: int) -> tuple[date, date]:
    return shown("UTC", first_us).date(), shown("UTC", last_us).date()
