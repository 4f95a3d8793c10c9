"""Ninety days of seven sites: every figure of every answer about them equals a recount."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from footfall.accounts.management import AccountManager
from footfall.accounts.sql import open_account_store
from footfall.v1 import charts_pb2, charts_pb2_grpc, pace_pb2, pace_pb2_grpc
from tests.e2e.conftest import Site
from tests.e2e.history import History, outcome, utc
from tests.e2e.recount_web import Truth
from tests.e2e.service import Service, start, wait_until

#: Zones whose clocks change, two at half and three quarters of an hour, and one that moves by half
#: an hour; how many days of history, and about how many page views. The last two are a site that
#: is new and one that nobody has seen.
SITES = {
    "Europe/Zurich": (95, 3_500),
    "America/New_York": (90, 3_500),
    "Asia/Kolkata": (75, 3_500),
    "Asia/Kathmandu": (120, 3_500),
    "Australia/Lord_Howe": (100, 3_500),
    "Pacific/Auckland": (2, 60),
    "UTC": (0, 0),
}
PRESETS = ("today", "yesterday", "last7", "last14", "last30", "last90", "this_month", "last_month")
DAY = timedelta(days=1)


@dataclass
class Told:
    """A site, and what is true of it."""

    site: Site
    truth: Truth


@dataclass
class World:
    service: Service
    sites: dict[str, Told] = field(default_factory=dict)

    def get(self, told: Told, path: str, **query: Any) -> Any:
        answer = self.service.get(
            path, headers=told.site.bearer, query={"site": told.site.id} | query
        )
        assert answer.status == 200, (path, query, answer.body)
        return answer.json


def now_us() -> int:
    return time.time_ns() // 1000


def same(
    ask: Callable[[], Any], expect: Callable[[int], Any], moment: Callable[[int], Any] | None = None
) -> None:
    """Assert that the answer is what is expected of the moment in which it was given.

    `moment` tells apart instants of which different things are expected; the question is asked
    again if it was answered between two of them.
    """
    for _ in range(20):
        before = now_us()
        answer = ask()
        after = now_us()
        if (moment or expect)(before) == (moment or expect)(after):
            assert answer == expect(before)
            return
    raise AssertionError("what is expected changes faster than it is answered")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    data: Path = tmp_path_factory.mktemp("history") / "data"
    world = World(start(data))
    try:
        service = world.service
        service.cli("account", "create", "news", "--plan", "scale")
        service.cli("plan", "set", "scale", "--site-requests-per-minute", "1000000")
        hosts = {zone: f"site-{number}.example" for number, zone in enumerate(SITES)}
        # As `footfall site create` does it, but in one process.
        with closing(open_account_store(f"sqlite:///{data / 'accounts.sqlite'}")) as store:
            manager = AccountManager(store)
            ids = {
                zone: manager.create_site("news", host, zone, public=False).id
                for zone, host in hosts.items()
            }
        sites = ",".join(ids.values())
        key = service.cli(
            "key", "create", "--account", "news", "--site", sites, "--scope", "read,write"
        )["key"]
        for zone, (days, views) in SITES.items():
            site = Site(ids[zone], hosts[zone], key)
            history = History(site.host, zone, days, views, now_us()) if views else None
            facts = []
            for request in history.requests if history else ():
                answer = service.post_json(
                    f"/v1/collect?site={site.id}", request.events, site.bearer
                )
                assert answer.status == 200, answer.body
                document = answer.json
                document["rejected"] = [item["index"] for item in document["rejected"]]
                assert document == outcome(request)
                for fact in request.facts:
                    fact.arrived_us = now_us()
                facts += request.facts
            world.sites[zone] = Told(site, Truth(site.id, zone, facts))
        yield world
    finally:
        world.service.stop()


zones = pytest.mark.parametrize("zone", SITES)


def customs(truth: Truth, today: date) -> list[tuple[date, date]]:
    """Return ranges inside and outside the history, and around days of other lengths."""
    first = truth.first or today
    spans = [
        (today - 10 * DAY, today - 3 * DAY),
        (today, today),
        (first, first),
        (first - 400 * DAY, today + 400 * DAY),
        (first - 30 * DAY, first - 2 * DAY),
        (first - 2 * DAY, first + 2 * DAY),
        (today + DAY, today + 9 * DAY),
        (today - DAY, today + DAY),
    ]
    long = [day for day in truth.day_views if len(truth.slots(day)) != 96]
    return spans + [span for day in long for span in ((day, day), (day - DAY, day + DAY))]


def check_overview(world: World, told: Told) -> None:
    truth = told.truth
    for days in ("", "0", "-5", "31", "1000", *map(str, range(1, 31))):
        wanted = min(max(int(days), 1), 30) if days else 30
        same(
            lambda days=days: world.get(told, "/v1/overview", days=days),
            lambda at, wanted=wanted: truth.overview(wanted, truth.day(at)),
            truth.day,
        )


def check_charts(
    world: World, told: Told, path: str = "/v1/charts", searches: Sequence[str] = ()
) -> None:
    truth = told.truth

    def ask(query: dict[str, Any], **asked: Any) -> None:
        same(
            lambda: world.get(told, path, **query),
            lambda at: truth.charts(truth.day(at), **asked),
            truth.day,
        )

    ask({})
    for preset in PRESETS:
        ask({"preset": preset}, preset=preset)
    for first, last in customs(truth, truth.day(now_us())):
        query = {"preset": "custom", "start": first.isoformat(), "end": last.isoformat()}
        ask(query, **query)
    for limit, wanted in (("1", 1), ("7", 7), ("0", 1), ("-3", 1), ("101", 100), ("", 100)):
        ask({"preset": "last90", "limit": limit}, preset="last90", limit=wanted)
    for q in searches:
        ask({"q": q}, q=q)
        ask({"preset": "last90", "search": q, "limit": 3}, preset="last90", q=q, limit=3)
    ask({"q": "news", "search": "something else"}, q="news")


SEARCHES = (
    "news/1", "NEWS/1", "über", "ÜBER", "日本", "Zoë m", "ZOË", "АННА", "100%", "_wild_", "%", "_",
    "<b>", "'", "o'reilly", "php?id=", "straße/Ä", "blog.", "nothing like it",
)  # fmt: skip


def check_engagement(world: World, told: Told) -> None:
    truth = told.truth

    def ask(query: dict[str, Any], **asked: Any) -> None:
        same(
            lambda: world.get(told, "/v1/engagement", **query),
            lambda at: truth.engagement(truth.day(at), **asked),
            truth.day,
        )

    for preset in PRESETS:
        ask({"preset": preset}, preset=preset)
    for first, last in customs(truth, truth.day(now_us())):
        query = {"preset": "custom", "start": first.isoformat(), "end": last.isoformat()}
        ask(query, **query)
    ask({"q": "ZOË", "limit": 5}, q="ZOË", limit=5)


def recent(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without its time, which is now."""
    updated = datetime.fromisoformat(document.pop("updated_at"))
    assert updated.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - updated) < timedelta(seconds=30)
    return document


def check_pace(world: World, told: Told) -> None:
    same(lambda: recent(world.get(told, "/v1/pace")), told.truth.pace)


def check_live(world: World, told: Told) -> None:
    truth = told.truth
    # Live state follows what is committed.
    wait_until(
        lambda: world.get(told, "/v1/sources")["total_visitors"] == len(truth.active(now_us()))
    )
    same(lambda: recent(world.get(told, "/v1/realtime")), truth.realtime)
    same(lambda: recent(world.get(told, "/v1/sources")), truth.sources)


def test_the_history_has_what_makes_it_hard(world: World) -> None:
    truths = [told.truth for told in world.sites.values()]
    assert sum(len(truth.views) for truth in truths) > 15_000
    live = [len(truth.active(now_us())) for truth in truths]
    assert min(live[:-1]) > 100, "the test is too slow for its own live visitors"
    truth = truths[0]
    assert truth.realtime(now_us())["top_pages"][49:], "a fiftieth page"
    late = [
        (before, fact)
        for before, fact in zip(truth.facts, truth.facts[1:], strict=False)
        if before.at_us > fact.at_us
    ]
    assert len(late) > 100
    assert len(truth.starts) < len(truth.views)
    across = {utc(fact.at_us).hour for fact in truth.views}
    assert len(across) == 24


@zones
def test_live(world: World, zone: str) -> None:
    check_live(world, world.sites[zone])


@zones
def test_overview(world: World, zone: str) -> None:
    check_overview(world, world.sites[zone])


@zones
def test_charts(world: World, zone: str) -> None:
    check_charts(world, world.sites[zone])


@pytest.mark.parametrize("zone", ["Europe/Zurich", "Pacific/Auckland"])
def test_recap_is_charts(world: World, zone: str) -> None:
    check_charts(world, world.sites[zone], "/v1/recap", SEARCHES)


@zones
def test_engagement(world: World, zone: str) -> None:
    check_engagement(world, world.sites[zone])


@zones
def test_pace(world: World, zone: str) -> None:
    check_pace(world, world.sites[zone])


@zones
def test_stubs_get_the_same(world: World, zone: str) -> None:
    told = world.sites[zone]
    truth, site = told.truth, told.site.id
    metadata = tuple(told.site.bearer.items())

    def document(message: Any) -> dict[str, Any]:
        return MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    with world.service.channel() as channel:
        charts = charts_pb2_grpc.ChartsServiceStub(channel)
        pace = pace_pb2_grpc.PaceServiceStub(channel)
        same(
            lambda: document(
                charts.GetOverview(
                    charts_pb2.GetOverviewRequest(site=site, days="7"), metadata=metadata
                )
            ),
            lambda at: truth.overview(7, truth.day(at)),
        )
        same(
            lambda: document(
                charts.GetCharts(
                    charts_pb2.GetChartsRequest(site=site, preset="last90", q="über", limit="9"),
                    metadata=metadata,
                )
            ),
            lambda at: truth.charts(truth.day(at), "last90", q="über", limit=9),
        )
        same(
            lambda: document(
                charts.GetEngagement(charts_pb2.GetEngagementRequest(site=site), metadata=metadata)
            ),
            lambda at: truth.engagement(truth.day(at)),
        )
        same(
            lambda: recent(
                document(pace.GetPace(pace_pb2.GetPaceRequest(site=site), metadata=metadata))
            ),
            truth.pace,
        )


def test_all_of_it_survives_a_restart(world: World) -> None:
    world.service.stop()
    world.service = start(world.service.data)
    for told in world.sites.values():
        check_live(world, told)
        check_pace(world, told)
        check_charts(world, told)
        check_engagement(world, told)
