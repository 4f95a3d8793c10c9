"""Every query type on every engine, against a recount in plain Python."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from footfall.accounts.model import Plan, Site
from footfall.analytics.model import HistoryQuery, LiveCounts
from footfall.analytics.queries import service as service_module
from footfall.analytics.queries.answers import QueryAnswer
from footfall.analytics.queries.catalogue import TYPES, Shape
from footfall.analytics.queries.documents import answer_document
from footfall.analytics.queries.model import EventScan, Take
from footfall.analytics.queries.parsing import Defaults
from footfall.analytics.queries.service import QueryService
from footfall.errors import DeadlineError, InvalidInputError
from footfall.events import EventStore, query_statements
from tests.analytics.queries.recount import Recount, history, random_filters, shown
from tests.events.traffic import DAY, NOW, SITE, web_batch

ZONES = ["Europe/Zurich", "UTC", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Chatham"]
PLAN = Plan("free", 10, 100, 50, 300)


class NobodyThere:
    """A LiveState without visitors."""

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts:
        return LiveCounts(0, 0, 0, {}, {}, {}, [], [])

    async def ping(self) -> None: ...


def site(timezone: str) -> Site:
    return Site(SITE, "account", "example.com", timezone, public=False, plan=PLAN)


async def ask(
    store: EventStore, timezone: str, *documents: dict[str, Any], now_us: int = NOW
) -> list[dict[str, Any]]:
    """The published answers to queries."""
    service = QueryService(store, store.history_version, NobodyThere(), lambda: now_us)
    answers = await service.answer(site(timezone), documents, Defaults(timezone), 60)
    assert all(isinstance(answer, QueryAnswer) for answer in answers)
    results: list[dict[str, Any]] = answer_document(answers, batch=True)["results"]
    return results


def day(ts_us: int) -> date:
    return shown("UTC", ts_us).date()


@pytest.mark.parametrize("seed", range(4))
async def test_every_type_is_what_a_recount_makes_it(
    store: EventStore, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few, so that visitors come in several portions.
    monkeypatch.setattr(query_statements, "PORTION_ROWS", 97 if seed % 2 else 1_000_000)
    pick = random.Random(seed)
    # Around the change of clocks in Europe and in Australia.
    start = NOW - 40 * DAY if seed < 2 else NOW + 20 * DAY
    events = history(pick, 500, start, 12)
    for at in range(0, len(events), 100):
        store.commit([web_batch(events[at : at + 100])])
    store.commit([web_batch(history(pick, 30, start, 12), tenant_id="other")])

    for _ in range(6):
        timezone = pick.choice(ZONES)
        first = day(start) + timedelta(days=pick.randint(-1, 11))
        last = first + timedelta(days=pick.choice([0, 1, 3, 14]))
        granularity = pick.choice(["daily", "hourly"])
        filters = random_filters(pick)
        names = [name for name, kind in TYPES.items() if kind.needs_dates]
        (result,) = await ask(
            store,
            "Europe/Zurich",
            {
                "parameters": names,
                "timezone": timezone,
                "startDate": str(first),
                "endDate": str(last),
                "granularity": granularity,
                "filters": filters,
                "limit": 10_000,
            },
        )
        recount = Recount(events, timezone, first, last, filters)
        for name, answer in zip(names, result["data"], strict=True):
            assert answer["success"], answer
            assert answer["data"] == recount.rows(name, granularity), (name, filters, timezone)


async def test_parameters_have_days_of_their_own(store: EventStore) -> None:
    events = history(random.Random(9), 200, NOW - 5 * DAY, 6)
    store.commit([web_batch(events)])
    today = day(NOW)
    days = {"startDate": str(today - timedelta(days=3)), "endDate": str(today)}
    own = {"startDate": str(today - timedelta(days=1)), "endDate": str(today)}
    results = await ask(
        store,
        "UTC",
        {"parameters": ["summary", {"name": "pages", **own, "id": "p"}, "today_metrics"], **days},
        {"parameters": ["country"], "preset": "yesterday"},
    )
    whole, part, now = results[0]["data"]
    assert whole["data"] == Recount(events, "UTC", today - timedelta(days=3), today).rows(
        "summary_metrics"
    )
    assert part["parameter"] == "p"
    assert part["data"] == Recount(events, "UTC", today - timedelta(days=1), today).rows(
        "top_pages"
    )
    assert now["data"] == Recount(events, "UTC", today, today).rows("today_metrics")
    yesterday = today - timedelta(days=1)
    (country,) = results[1]["data"]
    assert country["data"] == Recount(events, "UTC", yesterday, yesterday).rows("country")


async def test_nothing_is_counted_where_nothing_is(store: EventStore) -> None:
    names = [name for name, kind in TYPES.items() if kind.needs_dates]
    (result,) = await ask(store, "UTC", {"parameters": names, "preset": "last_7d"})
    for answer in result["data"]:
        kind = TYPES[answer["parameter"]]
        if kind.shape is Shape.SERIES:
            assert [row["pageviews"] for row in answer["data"]] == [0] * 7
        elif kind.shape is Shape.TOTALS:
            (row,) = answer["data"]
            assert set(row.values()) == {0}
        else:
            assert answer["data"] == []


async def test_pages_and_order_of_rows(store: EventStore) -> None:
    events = [{"path": f"/{n:02}", "visitor_id": f"v{n % 4}"} for n in range(30) for _ in range(n)]
    store.commit([web_batch(events)])
    asked = {"parameters": ["pages"], "preset": "today", "limit": 7}
    second, sorted_up, past, series = await ask(
        store,
        "UTC",
        {**asked, "page": 2},
        {**asked, "sortBy": "name", "sortOrder": "asc"},
        {**asked, "page": 6},
        {"parameters": ["events_by_date"], "preset": "last_90d", "granularity": "daily"},
    )
    assert [row["name"] for row in second["data"][0]["data"]] == [
        f"/{n:02}" for n in range(22, 15, -1)
    ]
    assert [row["name"] for row in sorted_up["data"][0]["data"]] == [
        f"/{n:02}" for n in range(1, 8)
    ]
    assert past["data"][0]["data"] == []
    assert second["meta"] == {
        "parameters": ["pages"],
        "total_parameters": 1,
        "page": 2,
        "limit": 7,
        "filters_applied": 0,
    }
    assert len(series["data"][0]["data"]) == 90


async def test_sessions_are_the_visits_of_charts(store: EventStore) -> None:
    events = history(random.Random(3), 400, NOW - 4 * DAY, 4)
    for at in range(0, len(events), 50):
        store.commit([web_batch(events[at : at + 50])])
    first, last = NOW // DAY - 4, NOW // DAY
    charts = await store.history(HistoryQuery(SITE, first, last), 60)
    dates = {"startDate": str(day(first * DAY)), "endDate": str(day(last * DAY))}
    (result,) = await ask(store, "UTC", {"parameters": ["events_by_date"], **dates})
    rows = {row["date"]: (row["pageviews"], row["sessions"]) for row in result["data"][0]["data"]}
    assert {
        str(day(each.local_day * DAY)): (each.pageviews, each.visits) for each in charts.days
    } == {label: counts for label, counts in rows.items() if counts != (0, 0)}


async def test_what_is_kept_is_never_old(store: EventStore) -> None:
    scans = 0

    class Counting:
        async def scan_events(
            self, questions: Sequence[tuple[EventScan, Take]], timeout_s: float
        ) -> None:
            nonlocal scans
            scans += len(questions)
            await store.scan_events(questions, timeout_s)

    service = QueryService(Counting(), store.history_version, NobodyThere(), lambda: NOW)

    async def asked(**more: Any) -> Any:
        document = {"parameters": ["pages", "events_by_date"], "preset": "today", **more}
        answers = await service.answer(site("UTC"), [document], Defaults("UTC"), 60)
        pages, series = answer_document(answers, batch=False)["data"]
        return [(row["name"], row["pageviews"]) for row in pages["data"]], series["data"][0][
            "sessions"
        ]

    store.commit([web_batch([{"path": "/a"}, {"path": "/b", "visitor_id": "other"}])])
    assert await asked() == ([("/a", 1), ("/b", 1)], 2)
    before = scans
    assert await asked() == ([("/a", 1), ("/b", 1)], 2)
    assert await asked(limit=1) == ([("/a", 1)], 2)
    assert scans == before
    only = [{"field": "path", "op": "eq", "value": "/b"}]
    assert await asked(filters=only) == ([("/b", 1)], 1)
    store.commit([web_batch([{"path": "/b"}])])
    assert await asked() == ([("/b", 2), ("/a", 1)], 2)
    store.commit([web_batch([{"path": "/b"}], tenant_id="elsewhere")])
    before = scans
    assert await asked() == ([("/b", 2), ("/a", 1)], 2)
    assert scans == before


async def test_a_deadline_ends_a_scan(store: EventStore) -> None:
    store.commit([web_batch([{"ts_us": NOW - n} for n in range(1000)])])
    service = QueryService(store, store.history_version, NobodyThere(), lambda: NOW)
    with pytest.raises(DeadlineError):
        await service.answer(
            site("UTC"), [{"parameters": ["summary"], "preset": "today"}], Defaults("UTC"), 0.0
        )


async def test_an_answer_has_as_many_rows_as_it_may(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ROWS_MAX", 20)
    days = {"startDate": "2026-01-01", "endDate": "2026-01-10"}
    query = {"parameters": ["events_by_date", "events_by_date"], **days}
    assert [len(part["data"]) for part in (await ask(store, "UTC", query))[0]["data"]] == [10, 10]
    with pytest.raises(InvalidInputError) as refused:
        await ask(store, "UTC", query, {"parameters": ["summary"], **days})
    assert refused.value.reason == "QUERY_TOO_COMPLEX"


async def test_nothing_more_is_made_for_whoever_has_left(store: EventStore) -> None:
    days = {"startDate": "2000-01-01", "endDate": "2026-12-31", "limit": 1}
    wide = [{"parameters": ["events_by_date"] * 100, **days}] * 100
    service = QueryService(store, store.history_version, NobodyThere(), lambda: NOW)
    waiting = asyncio.create_task(service.answer(site("UTC"), wide, Defaults("UTC"), 60))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done, "the question is not wide enough for this test"
    waiting.cancel()
    # Both threads take on the next questions within what a parameter takes.
    narrow = [{"parameters": ["summary"], "preset": "today"}]
    async with asyncio.timeout(10):
        await asyncio.gather(
            *(service.answer(site("UTC"), narrow, Defaults("UTC"), 60) for _ in range(4))
        )
