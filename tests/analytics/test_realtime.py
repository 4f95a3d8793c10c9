"""The published live answers, from counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction

import pytest

from footfall.accounts.model import Plan, Site
from footfall.analytics.countries import country_name
from footfall.analytics.model import LiveCounts, LivePage, SourceCount
from footfall.analytics.realtime import (
    CityRow,
    CountryRow,
    RealtimeService,
    RealtimeSnapshot,
    SourceChild,
    SourceRow,
    percent,
    source_rows,
)
from footfall.errors import UnavailableError

#: 2026-06-26T12:24:30.987Z
NOW_MS = 1_782_476_670_987
TODAY = NOW_MS // 86_400_000

NOTHING = LiveCounts(
    active=0,
    pageviews_today=0,
    visitors_today=0,
    devices={},
    countries={},
    cities={},
    sources=(),
    pages=(),
)


def a_site(timezone: str = "Etc/UTC") -> Site:
    plan = Plan(
        name="free",
        site_requests_per_minute=10,
        application_reads_per_10s=10,
        account_requests_per_10s=10,
        account_requests_per_minute=10,
    )
    return Site("site", "account", "example-media.test", timezone, public=False, plan=plan)


class Counts:
    """Live state that says what it is told to, and notes the days that it is asked for."""

    def __init__(self, counts: LiveCounts = NOTHING) -> None:
        self.counts = counts
        self.days: list[int] = []
        self.down = False

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts:
        self.days.append(local_day)
        if self.down:
            raise UnavailableError("Down.", reason="REDIS_UNAVAILABLE")
        return self.counts

    async def ping(self) -> None: ...


def test_percent_rounds_halves_up() -> None:
    for whole in range(1, 260):
        for count in range(whole + 1):
            share = Fraction(100 * count, whole)
            wanted = share.numerator // share.denominator
            if share - wanted >= Fraction(1, 2):
                wanted += 1
            assert percent(count, whole) == wanted
    assert percent(0, 0) == 0
    assert [percent(1, 200), percent(3, 200), percent(18, 34), percent(9, 34)] == [1, 2, 53, 26]


def test_the_published_sources() -> None:
    counts = [
        SourceCount("newsletter", "morning-briefing", "evening-edition", 6),
        SourceCount("search", "Google Search", "google.ch", 18),
        SourceCount("social", "social.example", "", 24),
        SourceCount("newsletter", "morning-briefing", "daily-edition", 11),
        SourceCount("search", "Google Search", "google.com", 28),
    ]
    rows = (
        SourceRow(
            "search",
            "Google Search",
            46,
            36,
            (SourceChild("google.com", 28), SourceChild("google.ch", 18)),
        ),
        SourceRow("social", "social.example", 24, 19, ()),
        SourceRow(
            "newsletter",
            "morning-briefing",
            17,
            13,
            (SourceChild("daily-edition", 11), SourceChild("evening-edition", 6)),
        ),
    )
    for order in itertools.permutations(counts):
        assert source_rows(order, 128) == rows


def test_equal_sources_come_by_name() -> None:
    counts = [
        SourceCount("social", "b", "", 2),
        SourceCount("referral", "b", "", 2),
        SourceCount("referral", "ä", "", 2),
        SourceCount("referral", "a", "y", 1),
        SourceCount("referral", "a", "x", 1),
        SourceCount("referral", "a", "", 1),
    ]
    rows = source_rows(counts, 9)
    assert [(row.source, row.medium, row.count) for row in rows] == [
        ("a", "referral", 3),
        ("b", "referral", 2),
        ("b", "social", 2),
        ("ä", "referral", 2),
    ]
    # Visitors without a detail are in the row and in no child.
    assert rows[0].children == (SourceChild("x", 1), SourceChild("y", 1))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("CH", "Switzerland"),
        ("TR", "Türkiye"),
        ("CI", "Côte d’Ivoire"),
        ("", "Unknown"),
        ("Q1", "Q1"),
    ],
)
def test_country_names(code: str, name: str) -> None:
    assert country_name(code) == name


async def test_pages_that_differ_by_their_sources_only_are_told_apart() -> None:
    live = Counts()
    service = RealtimeService(live, 300)
    for source in ("a.test", "b.test", "a.test"):
        counted = SourceCount("referral", source, "", 3)
        page = LivePage("example-media.test", "/p", "", "", 3, 7, (counted,))
        live.counts = replace(NOTHING, active=3, sources=(counted,), pages=(page,))
        snapshot = await service.snapshot(a_site(), NOW_MS)
        row = SourceRow("referral", source, 3, 100, ())
        assert (snapshot.sources_top5, snapshot.top_pages[0].sources) == ((row,), (row,))


async def test_a_snapshot() -> None:
    google = SourceCount("search", "Google Search", "google.com", 2)
    direct = SourceCount("(none)", "(direct)", "", 3)
    others = tuple(SourceCount("referral", f"{n}.test", "", 1) for n in range(5))
    counts = LiveCounts(
        active=10,
        pageviews_today=48_215,
        visitors_today=31_890,
        devices={"mobile": 7, "desktop": 3},
        countries={"US": 2, "CH": 6, "": 2},
        cities={"": 4, "Zürich": 3, "Bern": 3},
        sources=(*others, google, direct),
        pages=(
            LivePage("example-media.test", "/b", "", "", 3, 0, (direct,)),
            LivePage("example-media.test", "/a", "Títle", "i.jpg", 3, 5, (google, direct)),
            LivePage("example-media.test", "/c", "C", "", 4, 1, others),
        ),
    )
    snapshot = await RealtimeService(Counts(counts), 300).snapshot(a_site(), NOW_MS)
    assert snapshot.updated_at == "2026-06-26T12:24:30+00:00"
    assert (snapshot.site, snapshot.window_seconds) == ("site", 300)
    assert (snapshot.total_realtime, snapshot.total_pageviews_today) == (10, 48_215)
    assert snapshot.total_unique_visitors_today == 31_890
    assert list(snapshot.devices.items()) == [("desktop", 3), ("mobile", 7)]
    assert [page.url for page in snapshot.top_pages] == ["/c", "/a", "/b"]
    second = snapshot.top_pages[1]
    assert (second.title, second.og_image) == ("Títle", "i.jpg")
    assert (second.realtime_users, second.pageviews_today) == (3, 5)
    assert [(row.source, row.percent) for row in second.sources] == [
        ("(direct)", 100),
        ("Google Search", 67),
    ]
    assert snapshot.countries == (
        CountryRow("CH", "Switzerland", 6),
        CountryRow("US", "United States", 2),
        CountryRow("", "Unknown", 2),
    )
    assert snapshot.cities == (CityRow("Bern", 3), CityRow("Zürich", 3))
    assert [(row.source, row.percent) for row in snapshot.sources_top5] == [
        ("(direct)", 30),
        ("Google Search", 20),
        ("0.test", 10),
        ("1.test", 10),
        ("2.test", 10),
    ]

    answer = await RealtimeService(Counts(counts), 300).sources(a_site(), NOW_MS)
    assert (answer.total_visitors, len(answer.sources)) == (10, 7)
    assert answer.updated_at == snapshot.updated_at


async def test_an_empty_site() -> None:
    service = RealtimeService(Counts(), 300)
    snapshot = await service.snapshot(a_site(), NOW_MS)
    assert (snapshot.top_pages, snapshot.devices, snapshot.sources_top5) == ((), {}, ())
    assert (await service.sources(a_site(), NOW_MS)).sources == ()


@pytest.mark.parametrize(
    ("timezone", "now", "day"),
    [
        ("Etc/UTC", NOW_MS, TODAY),
        ("Pacific/Kiritimati", NOW_MS, TODAY + 1),
        ("Pacific/Pago_Pago", NOW_MS, TODAY),
        ("Pacific/Pago_Pago", TODAY * 86_400_000, TODAY - 1),
        ("Asia/Kathmandu", TODAY * 86_400_000 + 18 * 3_600_000 + 15 * 60_000 - 1, TODAY),
        ("Asia/Kathmandu", TODAY * 86_400_000 + 18 * 3_600_000 + 15 * 60_000, TODAY + 1),
    ],
)
async def test_today_is_the_sites_local_day(timezone: str, now: int, day: int) -> None:
    live = Counts()
    await RealtimeService(live, 300).snapshot(a_site(timezone), now)
    assert live.days == [day]


async def take(
    watch: AsyncIterator[RealtimeSnapshot | None], count: int
) -> list[RealtimeSnapshot | None]:
    return [await anext(watch) for _ in range(count)]


async def test_a_watcher_gets_changes_and_heartbeats() -> None:
    live = Counts()
    service = RealtimeService(live, 300, step_s=0.01, heartbeat_s=0.05)
    watch = service.watch(a_site())
    first = await anext(watch)
    assert first is not None
    assert first.total_realtime == 0
    assert await take(watch, 2) == [None, None]
    live.counts = replace(NOTHING, active=1, devices={"mobile": 1})
    changed = await anext(watch)
    assert changed is not None
    assert changed.total_realtime == 1
    assert await anext(watch) is None


async def test_a_watcher_waits_out_a_fault_but_not_at_the_start() -> None:
    live = Counts()
    service = RealtimeService(live, 300, step_s=0.01, heartbeat_s=0.03)
    live.down = True
    with pytest.raises(UnavailableError):
        await anext(service.watch(a_site()))
    live.down = False
    watch = service.watch(a_site())
    await anext(watch)
    live.down = True
    assert await take(watch, 2) == [None, None]
    live.down = False
    live.counts = replace(NOTHING, pageviews_today=1)
    changed = await anext(watch)
    assert changed is not None
    assert changed.total_pageviews_today == 1


async def test_watchers_of_a_site_share_its_reads() -> None:
    live = Counts()
    service = RealtimeService(live, 300, step_s=0.2, heartbeat_s=0.2)
    watches = [service.watch(a_site()) for _ in range(20)]
    await asyncio.gather(*map(anext, watches))
    assert len(live.days) == 20
    assert await asyncio.gather(*map(anext, watches)) == [None] * 20
    assert len(live.days) == 21
