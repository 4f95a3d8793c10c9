"""Orders and retention periods, carried out on real stores as time goes by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from footfall.accounts.model import Plan, Site
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.analytics.model import HistoryQuery
from footfall.errors import UnavailableError
from footfall.events.duckdb.store import DuckDBStore
from footfall.ingest.commit import GroupCommitter
from footfall.ingest.model import Midnight, Removal
from footfall.ingest.removals import Removals, first_kept
from tests.events.traffic import DAY, HOUR, FakeClock, query, web_batch

PLAN = Plan("free", 1, 1, 1, 1)
SECOND = 1_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("zone", "days", "now", "first", "begins"),
    [
        ("UTC", 1, "2026-03-04T00:00:00Z", "2026-03-03", "2026-03-03T00:00Z"),
        ("UTC", 1, "2026-03-03T23:59:59Z", "2026-03-02", "2026-03-02T00:00Z"),
        ("UTC", 30, "2026-03-04T12:00:00Z", "2026-02-02", "2026-02-02T00:00Z"),
        # The day is the site's, not the server's.
        ("Pacific/Auckland", 1, "2026-03-04T11:00:00Z", "2026-03-04", "2026-03-03T11:00Z"),
        ("America/St_Johns", 2, "2026-03-04T03:29:00Z", "2026-03-01", "2026-03-01T03:30Z"),
        # Days of 23 and of 25 hours.
        ("Europe/Zurich", 1, "2026-03-30T10:00:00Z", "2026-03-29", "2026-03-28T23:00Z"),
        ("Europe/Zurich", 1, "2026-03-31T10:00:00Z", "2026-03-30", "2026-03-29T22:00Z"),
        ("Europe/Zurich", 1, "2026-10-26T10:00:00Z", "2026-10-25", "2026-10-24T22:00Z"),
        # A midnight that the clock skipped: it went from 23:59:59 to 01:00.
        ("Africa/Cairo", 1, "2026-04-25T10:00:00Z", "2026-04-24", "2026-04-23T22:00Z"),
        # Nothing is older than everything.
        ("UTC", 36_500, "2026-03-04T00:00:00Z", "1970-01-01", "1970-01-01T00:00Z"),
    ],
)
def test_the_first_day_that_is_kept(
    zone: str, days: int, now: str, first: str, begins: str
) -> None:
    site = Site("site", "account", "a.example", zone, public=False, plan=PLAN, retention_days=days)
    found = first_kept(site, us(now) / SECOND)
    day = datetime.fromisoformat(first).date().toordinal() - date(1970, 1, 1).toordinal()
    assert found == Midnight(day, us(begins))


@dataclass
class Place:
    """Removals over stores, in a time that the test sets."""

    accounts: AccountStore
    events: DuckDBStore
    committer: GroupCommitter
    removals: Removals
    clock: FakeClock
    forgotten: list[Removal]
    #: Raised by what should forget.
    fault: list[Exception]

    async def look(self) -> None:
        self.removals._retain_after = 0.0
        await self.removals.look()

    def visitors(self, site_id: str) -> list[str]:
        sql = f"SELECT DISTINCT visitor_id FROM web_events WHERE site_id = '{site_id}' ORDER BY 1"
        return [row[0] for row in query(self.events, sql)]


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[AccountStore]:
    store = open_account_store(f"sqlite:///{tmp_path}/accounts.sqlite")
    store.create_account("News", "free")
    yield store
    store.close()


@pytest_asyncio.fixture
async def place(tmp_path: Path, accounts: AccountStore) -> AsyncIterator[Place]:
    clock = FakeClock()
    events = DuckDBStore(f"{tmp_path}/events.duckdb", clock=clock, fold_rows=10)
    committer = GroupCommitter(events)
    committer.start()
    forgotten: list[Removal] = []
    fault: list[Exception] = []

    async def forget(removal: Removal) -> None:
        if fault:
            raise fault[0]
        forgotten.append(removal)

    removals = Removals(accounts, committer, [forget], clock=lambda: clock.now_us / SECOND)
    yield Place(accounts, events, committer, removals, clock, forgotten, fault)
    await committer.drain()
    events.close()


async def test_days_go_by(place: Place) -> None:
    site = place.accounts.create_site("News", "a.example", "UTC", public=False)
    forever = place.accounts.create_site("News", "b.example", "UTC", public=False)
    today = place.clock.now_us // DAY
    for made in (site, forever):
        views = [
            {"visitor_id": f"day {ago}", "ts_us": (today - ago) * DAY + HOUR} for ago in range(6)
        ]
        await place.committer.commit(web_batch(views, made.id))
    await place.look()
    assert place.visitors(site.id) == [f"day {ago}" for ago in range(6)]
    place.accounts.update_site("News", site.id, retention_days=3)
    await place.look()
    assert place.visitors(site.id) == [f"day {ago}" for ago in range(4)]
    place.forgotten.clear()
    await place.look()
    assert place.forgotten == [], "once a day is enough"
    place.clock.now_us += 2 * DAY
    await place.look()
    assert place.visitors(site.id) == ["day 0", "day 1"]
    history = await place.events.history(HistoryQuery(site.id, 0, today + 9, 10), 60)
    assert history.first_day == today - 1
    # What comes late for a day that is gone goes with the next day.
    late = web_batch([{"visitor_id": "late", "ts_us": (today - 5) * DAY}], site.id)
    await place.committer.commit(late)
    place.clock.now_us += DAY
    await place.look()
    assert place.visitors(site.id) == ["day 0"]
    # A longer period brings nothing back, and none removes nothing any more.
    place.accounts.update_site("News", site.id, retention_days=0)
    place.clock.now_us += 99 * DAY
    await place.look()
    assert place.visitors(site.id) == ["day 0"]
    assert place.visitors(forever.id) == [f"day {ago}" for ago in range(6)]
    assert await place.events.differences(10, 60) == []


async def test_an_order_that_fails_is_tried_again_and_holds_up_no_other(place: Place) -> None:
    sites = [
        place.accounts.create_site("News", f"{n}.example", "UTC", public=False) for n in range(2)
    ]
    for site in sites:
        await place.committer.commit(web_batch([{"visitor_id": "a"}, {"visitor_id": "b"}], site.id))
    orders = [place.accounts.order_removal("News", site.id, "a") for site in sites]
    place.fault.append(UnavailableError("Redis is down."))
    await place.look()
    # Events are gone; what else remembers them is asked again.
    assert [place.visitors(site.id) for site in sites] == [["b"], ["b"]]
    assert {order.id for order in place.accounts.removal_orders()} == {order.id for order in orders}
    place.fault.clear()
    await place.look()
    assert place.accounts.removal_orders() == []
    assert {removal.site_id for removal in place.forgotten} == {site.id for site in sites}


async def test_whoever_gives_an_order_can_wait_for_it(place: Place) -> None:
    site = place.accounts.create_site("News", "a.example", "UTC", public=False)
    await place.committer.commit(web_batch([{"visitor_id": "a"}], site.id))
    running = asyncio.create_task(place.removals.run())
    order = await asyncio.to_thread(place.accounts.delete_site, "News", site.id)
    assert await place.removals.carried_out(order)
    assert place.visitors(site.id) == []
    place.fault.append(UnavailableError("Redis is down."))
    other = place.accounts.create_site("News", "b.example", "UTC", public=False)
    order = await asyncio.to_thread(place.accounts.delete_site, "News", other.id)
    assert not await place.removals.carried_out(order, patience_s=0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_orders_are_shown_to_other_servers_for_a_while(
    place: Place, accounts: AccountStore
) -> None:
    site = accounts.create_site("News", "a.example", "UTC", public=False)
    seen: list[Any] = []

    class Remover:
        async def remove(self, removal: Removal) -> int:
            seen.append(removal)
            return 0

    first, second = (Removals(accounts, Remover(), keep_s=60) for _ in range(2))
    accounts.order_removal("News", site.id, "a")
    for _ in range(2):
        await first.look()
        await second.look()
    assert seen == [Removal(site.id, "a")] * 2
    (kept,) = accounts.removal_orders()
    assert kept.is_done
