"""History from memory, where the suites that hold for every engine do not reach: what is too
large for it, what it forgets, and what a failed commit makes untrue.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.analytics.model import HistoryQuery, PaceQuery
from footfall.errors import UnavailableError
from footfall.events.duckdb import mirror
from footfall.events.duckdb.mirror import HistoryMirrors
from footfall.events.duckdb.store import DuckDBStore
from tests.events.recount import Recount, Sent
from tests.events.traffic import DAY, MINUTE, NOW, SITE, FakeClock, page, web_batch

TODAY = NOW // DAY
WEEK = HistoryQuery(SITE, TODAY - 6, TODAY, pages_max=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBStore]:
    store = DuckDBStore(
        f"{tmp_path}/events.duckdb", memory_mb=200, clock=FakeClock(), fold_rows=500
    )
    yield store
    store.close()


def send(store: DuckDBStore, recount: Recount, views: list[Sent], title: str = "") -> None:
    site = recount.site_id
    rows = [{"visitor_id": sent.visitor, "ts_us": sent.ts_us, "path": sent.path} for sent in views]
    batch = web_batch(rows, site, pages=[page("/0", site, title=title)])
    store.commit([batch])
    recount.add(views, batch.pages.values())


def traffic(count: int, seed: int = 0, paths: int = 40) -> list[Sent]:
    pick = random.Random(seed)
    return [
        Sent(
            f"v{pick.randrange(9)}",
            NOW - pick.randrange(20 * DAY),
            f"/{min(int(pick.paretovariate(0.6)) - 1, paths)}",
        )
        for _ in range(count)
    ]


async def check(store: DuckDBStore, recount: Recount) -> None:
    site = recount.site_id
    for days in (7, 1, 20, 400):
        query = HistoryQuery(site, TODAY - days + 1, TODAY, pages_max=5)
        assert await store.history(query, 60) == recount.history(query)
    pace = PaceQuery(site, TODAY, NOW - DAY + 7 * MINUTE)
    assert await store.pace(pace, 60) == recount.pace(pace)


@pytest.mark.parametrize(
    ("page_rows_max", "rows_max"), [(0, 0), (30, 300), (10_000, 300), (10_000, 1_000_000)]
)
async def test_limits_change_no_answer(
    store: DuckDBStore, page_rows_max: int, rows_max: int
) -> None:
    store._mirrors = HistoryMirrors(store._writer, page_rows_max, rows_max)
    recounts = [Recount(f"site-{number}") for number in range(3)]
    for step in range(4):
        for number, recount in enumerate(recounts):
            send(store, recount, traffic(150, seed=step * 10 + number), title=f"Title {step}")
            await check(store, recount)
    kept = list(store._mirrors.sites)
    assert sum(site.size for site in kept) <= rows_max
    assert rows_max < 1_000_000 or len(kept) == 3


async def test_many_recent_events_are_put_in_order(store: DuckDBStore) -> None:
    recount = Recount(SITE)
    send(store, recount, traffic(10))
    await check(store, recount)
    for step in range(4):
        send(store, recount, traffic(3_000, seed=step))
        await check(store, recount)
    # Rows of a day and page have become one.
    assert sum(site.size for site in store._mirrors.sites) < 12_000


async def test_ties_are_put_in_order_whatever_their_number(
    store: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_TIED_MAX", 20)
    recount = Recount(SITE)
    for paths in (15, 22, 40):
        send(store, recount, [Sent("v", NOW, f"/{n}") for n in random.sample(range(paths), paths)])
        await check(store, recount)


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
    recount = Recount(SITE)
    send(store, recount, traffic(20))
    await check(store, recount)
    store.losing = True
    with pytest.raises(UnavailableError):
        store.commit([web_batch([{"path": "/lost"}] * 5, pages=[page("/0", title="Lost")])])
    # Until the store has found out, it may show them.
    shown = await store.history(WEEK, 60)
    assert "/lost" in [counted.path for counted in shown.pages]
    store.losing = False
    send(store, recount, traffic(3, seed=1), title="New")
    await check(store, recount)
    store.close()
