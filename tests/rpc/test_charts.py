"""Overview, charts, engagement and pace over the wire, recounted in plain Python."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.json_format import MessageToDict

from footfall.accounts.model import KeyKind, Scope, Site
from footfall.events.duckdb.store import DuckDBStore
from footfall.rpc.call import TRANSCODED
from footfall.settings import Settings
from footfall.v1 import charts_pb2, pace_pb2, realtime_pb2
from footfall.v1 import ingest_pb2 as pb
from tests.live.conftest import Valkey
from tests.rpc.conftest import Metadata, Service, refused, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: A zone in which it is about noon: no midnight comes while a test runs.
_HOURS = 12 - datetime.now(UTC).hour
ZONE = f"Etc/GMT{-_HOURS:+d}" if _HOURS else "Etc/GMT"
NOW = datetime.now(UTC) + timedelta(hours=_HOURS)
TODAY = NOW.date()

_numbers = itertools.count()


def day(back: int) -> str:
    return (TODAY - timedelta(days=back)).isoformat()


@dataclass
class Place:
    """A site with room for many requests, and a key for all that it takes."""

    service: Service
    site: Site
    key: Metadata

    async def send(self, *events: pb.WebEvent) -> None:
        request = pb.IngestWebEventsRequest(site=self.site.id, events=events)
        answer = await self.service.ingest.IngestWebEvents(request, metadata=self.key)
        assert answer.accepted == len(events)

    def view(self, back: float, path: str = "/", visitor: str = "", **fields: Any) -> pb.WebEvent:
        """A page view, `back` days before now."""
        return pb.WebEvent(
            url=f"https://{self.site.host}{path}",
            visitor_id=visitor or f"visitor-{next(_numbers)}",
            timestamp=datetime.now(UTC).timestamp() - back * 86_400,
            **fields,
        )

    def call(self, method: str, *metadata: tuple[str, str], **fields: Any) -> Any:
        """Ask one of the four methods."""
        stub = self.service.pace if method == "GetPace" else self.service.charts
        module = pace_pb2 if method == "GetPace" else charts_pb2
        request = getattr(module, f"{method}Request")(site=self.site.id, **fields)
        return getattr(stub, method)(request, metadata=(*self.key, *metadata))

    async def ask(self, method: str, **fields: Any) -> dict[str, Any]:
        """The answer as REST has it."""
        return MessageToDict(
            await self.call(method, **fields),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )

    async def headers(
        self, method: str, *metadata: tuple[str, str], **fields: Any
    ) -> dict[str, str]:
        call = self.call(method, *metadata, **fields)
        await call
        return dict(await call.trailing_metadata())


def place(service: Service, zone: str = ZONE) -> Place:
    plan = service.manager.update_plan("wide", {"site_requests_per_minute": 10_000}, like="free")
    account = service.manager.create_account(f"charts-{next(_numbers)}", plan.name).id
    host = f"c{next(_numbers)}.example.com"
    site = service.manager.create_site(account, host, zone, public=False)
    key = service.manager.create_key(
        account, kind=KeyKind.NM, site_ids=[site.id], scopes=[Scope.READ, Scope.WRITE]
    )
    return Place(service, site, (("authorization", f"Bearer {key.text}"),))


@pytest.fixture(name="place")
def _place(service: Service) -> Place:
    return place(service)


@dataclass(frozen=True)
class Visit:
    """Page views a few minutes after one another, some days ago, and the time spent in them."""

    back: int
    paths: tuple[str, ...]
    engaged_s: float


PATHS = ["/", "/news", "/sport?id=1", "/größe", "/a%20b"]
_random = random.Random(7)
VISITS = [
    Visit(
        _random.choice([0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 44]),
        tuple(_random.choice(PATHS) for _ in range(_random.randint(1, 5))),
        _random.choice([0.0, 0.0, 2.5, 61.25, 0.000001]),
    )
    for _ in range(120)
]
OLDEST = max(visit.back for visit in VISITS)


@dataclass
class Filled:
    place: Place
    paths: list[str]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def filled(service: Service) -> AsyncIterator[Filled]:
    """A site with VISITS, all of them in the hour before now on their days."""
    site = place(service)
    events = []
    for visit in VISITS:
        visitor = f"visitor-{next(_numbers)}"
        for step, path in enumerate(visit.paths):
            back = visit.back + (50 - 5 * step) / 1440
            events.append(
                site.view(back, path, visitor, title=f"Title of {path}", author="Zoë Ångström")
            )
        if visit.engaged_s:
            beat = site.view(visit.back, visit.paths[-1], visitor, type="heartbeat")
            beat.engaged_seconds = visit.engaged_s
            events.append(beat)
    await site.send(*events)
    # Paths as they are stored, which is the business of those who take events in.
    paths = [page["url"] for page in (await site.ask("GetCharts", preset="last90"))["top_pages"]]
    assert sorted(paths) == sorted({path for visit in VISITS for path in visit.paths})
    yield Filled(site, paths)


def inside(first: int, last: int) -> list[Visit]:
    """The visits from `first` days ago to `last` days ago."""
    return [visit for visit in VISITS if last <= visit.back <= first]


def rows(first: int, last: int) -> list[dict[str, Any]]:
    found = []
    for back in range(first, last - 1, -1):
        visits = inside(back, back)
        views = sum(len(visit.paths) for visit in visits)
        found.append({"date": day(back), "pageviews": views, "visits": len(visits)})
    return found


@pytest.mark.parametrize(("days", "count"), [("", 30), ("1", 1), ("7", 7), ("99", 30), ("0", 1)])
async def test_overview(filled: Filled, days: str, count: int) -> None:
    found = await filled.place.ask("GetOverview", days=days)
    expected = rows(count, 1)
    assert found == {
        "site": filled.place.site.id,
        "timezone": ZONE,
        "range": {"from": day(count), "to": day(1), "days": count},
        "daily": expected,
        "totals": {
            "pageviews": sum(row["pageviews"] for row in expected),
            "visits": sum(row["visits"] for row in expected),
        },
    }


CUSTOM = {"preset": "custom", "start": day(40), "end": day(2)}


@pytest.mark.parametrize(
    ("asked", "label", "first", "last"),
    [
        ({}, "Last 30 Days", 29, 0),
        ({"preset": "today"}, "Today", 0, 0),
        ({"preset": "yesterday", "start": "x", "end": "y"}, "Yesterday", 1, 1),
        ({"preset": "last7"}, "Last 7 Days", 6, 0),
        ({"preset": "last14"}, "Last 14 Days", 13, 0),
        ({"preset": "last90"}, "Last 90 Days", OLDEST, 0),
        (CUSTOM, "Custom", 40, 2),
        (CUSTOM | {"start": "0001-01-01", "end": "9999-12-31"}, "Custom", OLDEST, 0),
        (CUSTOM | {"start": "2001-01-01", "end": "2002-01-01"}, "Custom", OLDEST, OLDEST),
        (CUSTOM | {"start": "9999-01-01", "end": "9999-12-31"}, "Custom", 0, 0),
    ],
)
async def test_charts_and_engagement(
    filled: Filled, asked: dict[str, str], label: str, first: int, last: int
) -> None:
    found = await filled.place.ask("GetCharts", **asked)
    visits = inside(first, last)
    views = Counter(path for visit in visits for path in visit.paths)
    begun = Counter(visit.paths[0] for visit in visits)
    range_ = {"from": day(first), "to": day(last), "label": label, "days": first - last + 1}
    pages = found.pop("top_pages")
    ratio = views.total() / len(visits) if visits else 0
    assert abs(found["summary"].pop("pages_per_visitor") - ratio) <= 0.05 + 1e-9
    assert found == {
        "site": filled.place.site.id,
        "preset": asked.get("preset", "last30"),
        "timezone": ZONE,
        "range": range_,
        "limits": {"min_date": day(OLDEST), "max_date": day(0), "max_days": None},
        "search": {"query": ""},
        "daily": rows(first, last),
        "summary": {"total_pageviews": views.total(), "total_visits": len(visits)},
    }
    ranked = sorted(views, key=lambda path: (-views[path], path.encode()))
    host = filled.place.site.host
    assert [{**page, "url_id": len(page["url_id"])} for page in pages] == [
        {
            "rank": rank,
            "title": f"Title of {path}",
            "author": "Zoë Ångström",
            "pubdate": "",
            "url": path,
            "url_full": f"https://{host}{path}",
            "url_id": 32,
            "thumbnail": "",
            "pageviews": views[path],
            "visits": begun[path],
        }
        for rank, path in enumerate(ranked, start=1)
    ]

    times = await filled.place.ask("GetEngagement", **asked)
    spent: Counter[str] = Counter()
    for visit in visits:
        if visit.engaged_s:
            spent[visit.paths[-1]] += round(visit.engaged_s * 1e6)
    assert times["range"] == range_
    assert times["summary"]["engaged_seconds"] == spent.total() / 1e6
    mean = spent.total() / 1e6 / len(visits) if visits else 0
    assert abs(times["summary"]["seconds_per_visit"] - mean) <= 0.05 + 1e-9
    assert [row["date"] for row in times["daily"]] == [row["date"] for row in found["daily"]]
    for row, back in zip(times["daily"], range(first, last - 1, -1), strict=True):
        of_day = sum(round(visit.engaged_s * 1e6) for visit in inside(back, back))
        assert round(row["engaged_seconds"] * 1e6) == of_day
    ids = {page["url"]: page["url_id"] for page in pages}
    assert [
        (page["rank"], page["url"], page["url_id"], page["engaged_seconds"], page["pageviews"])
        for page in times["top_pages"]
    ] == [
        (rank, path, ids[path], spent[path] / 1e6, views[path])
        for rank, path in enumerate(sorted(spent, key=lambda p: (-spent[p], p.encode())), start=1)
    ]
    for page in times["top_pages"]:
        mean = page["engaged_seconds"] / page["pageviews"]
        assert abs(page["seconds_per_pageview"] - mean) <= 0.05 + 1e-9


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        ({"q": "NEWS"}, ["/news"]),
        ({"search": "sport?ID"}, ["/sport?id=1"]),
        ({"q": "title OF /n", "search": "sport"}, ["/news"]),
        ({"q": "  ", "search": "news"}, ["/news"]),
        ({"q": "ångström", "limit": "2"}, 2),
        ({"limit": "3"}, 3),
        ({"limit": "0"}, 1),
        ({"limit": "-7"}, 1),
        ({"limit": "9" * 5000}, len(PATHS)),
        ({"q": "GRÖSSE"}, ["/größe"]),
        ({"q": "%"}, ["/a%20b"]),
        ({"q": "\0"}, []),
        ({"q": "'; DROP TABLE pages --"}, []),
        ({"q": "🛒" * 256}, []),
    ],
)
async def test_pages_are_filtered_and_limited(
    filled: Filled, asked: dict[str, str], paths: list[str] | int
) -> None:
    everything = await filled.place.ask("GetCharts", preset="last90")
    found = await filled.place.ask("GetCharts", preset="last90", **asked)
    urls = [page["url"] for page in found["top_pages"]]
    if isinstance(paths, int):
        assert urls == filled.paths[:paths]
    else:
        assert urls == paths
    assert [page["rank"] for page in found["top_pages"]] == list(range(1, len(urls) + 1))
    text = asked.get("q", "").strip() or asked.get("search", "")
    assert found["search"] == {"query": text}
    for part in ("daily", "summary", "range", "limits"):
        assert found[part] == everything[part]
    times = await filled.place.ask("GetEngagement", preset="last90", **asked)
    assert {page["url"] for page in times["top_pages"]} <= (
        set(urls) if not isinstance(paths, int) else set(filled.paths)
    )


@pytest.mark.parametrize("method", ["GetCharts", "GetEngagement"])
@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"preset": "last31"}, "preset"),
        ({"preset": "custom"}, "start"),
        ({"preset": "custom", "start": "2026-01-01"}, "end"),
        ({"preset": "custom", "start": "2026-02-30", "end": "2026-03-01"}, "start"),
        ({"preset": "custom", "start": "2026-03-01", "end": "1.3.2026"}, "end"),
        ({"preset": "custom", "start": "2026-03-02", "end": "2026-03-01"}, "start"),
        ({"limit": "abc"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"q": "x" * 257}, "q"),
        ({"search": "x" * 257}, "search"),
    ],
)
async def test_a_wrong_parameter_is_named(
    place: Place, method: str, asked: dict[str, str], parameter: str
) -> None:
    error = await refused(place.call(method, **asked))
    assert (error.reason, error.http) == ("INVALID_PARAMETER", 400)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [item.field for item in error.details["BadRequest"].field_violations] == [parameter]
    assert error.details["ErrorInfo"].metadata["parameter"] == parameter
    assert error.message.startswith(f"{parameter} ")
    assert error.trailing["x-ratelimit-limit"] == "10000"
    assert "etag" not in error.trailing


@pytest.mark.parametrize("days", ["abc", "1.5", "thirty"])
async def test_a_wrong_number_of_days_is_named(place: Place, days: str) -> None:
    error = await refused(place.call("GetOverview", days=days))
    assert [item.field for item in error.details["BadRequest"].field_violations] == ["days"]


async def test_a_site_without_events(place: Place) -> None:
    overview = await place.ask("GetOverview")
    assert overview["range"] == {"from": "", "to": "", "days": 0}
    assert (overview["daily"], overview["totals"]) == ([], {"pageviews": 0.0, "visits": 0.0})
    charts = await place.ask("GetCharts")
    assert charts["limits"] == {"min_date": day(0), "max_date": day(0), "max_days": None}
    assert charts["daily"] == [{"date": day(0), "pageviews": 0, "visits": 0}]
    assert charts["top_pages"] == []
    assert charts["summary"]["pages_per_visitor"] == 0
    engagement = await place.ask("GetEngagement")
    assert engagement["summary"] == {"engaged_seconds": 0.0, "seconds_per_visit": 0.0}
    pace = await place.ask("GetPace")
    assert pace["pace"] == {"pageviews_percent": None, "visits_percent": None}
    assert pace["projected"] == {"pageviews": None, "visits": None}
    assert pace["today"] == {"pageviews": 0, "visits": 0}
    assert len(pace["curves"]["yesterday"]) == 96


async def test_pace(place: Place) -> None:
    events = [place.view(0, visitor="a"), place.view(0.001, visitor="a"), place.view(0.01)]
    # Yesterday: ten minutes before this time of day, and ten minutes after it.
    events += [place.view(1 + 600 / 86_400), place.view(1 - 600 / 86_400)]
    await place.send(*events, place.view(2))
    before = datetime.now(UTC)
    found = await place.ask("GetPace")
    now = datetime.fromisoformat(found["updated_at"])
    assert before - timedelta(seconds=1) <= now <= datetime.now(UTC)
    assert found["updated_at"].endswith("+00:00")
    local = now + timedelta(hours=_HOURS)
    curves = found.pop("curves")
    assert found == {
        "site": place.site.id,
        "updated_at": found["updated_at"],
        "timezone": ZONE,
        "date": day(0),
        "slot_minutes": 15,
        "today": {"pageviews": 3, "visits": 2},
        "yesterday": {
            "date": day(1),
            "pageviews": 2,
            "visits": 2,
            "pageviews_same_time": 1,
            "visits_same_time": 1,
        },
        "pace": {"pageviews_percent": 200.0, "visits_percent": 100.0},
        "projected": {"pageviews": 6.0, "visits": 4.0},
    }
    offset = f"{_HOURS:+03d}:00"
    assert [point["time"] for point in curves["yesterday"]] == [
        f"{day(1)}T{slot // 4:02}:{slot % 4 * 15:02}:00{offset}" for slot in range(96)
    ]
    running = (local.hour * 60 + local.minute) // 15
    assert [point["time"] for point in curves["today"]] == [
        f"{day(0)}T{slot // 4:02}:{slot % 4 * 15:02}:00{offset}" for slot in range(running + 1)
    ]
    for name in ("today", "yesterday"):
        summed = 0
        for point in curves[name]:
            summed += point["pageviews"]
            assert point["cumulative_pageviews"] == summed
        assert summed == found[name]["pageviews"]
        assert curves[name][-1]["cumulative_visits"] == found[name]["visits"]


async def test_today_is_the_same_everywhere(place: Place) -> None:
    """Also what a client's clock put later today than it is."""
    await place.send(place.view(0), place.view(0.01), place.view(-0.1))
    realtime = await place.service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=place.site.id), metadata=place.key
    )
    pace = await place.ask("GetPace")
    charts = await place.ask("GetCharts", preset="today")
    assert realtime.total_pageviews_today == 3
    assert pace["today"]["pageviews"] == 3
    assert pace["curves"]["today"][-1]["cumulative_pageviews"] == 3
    assert charts["summary"]["total_pageviews"] == 3


KEPT = [
    ("GetOverview", {}, "private, max-age=60"),
    ("GetCharts", {}, "private, no-cache"),
    ("GetCharts", {"preset": "last_month"}, "private, max-age=60"),
    ("GetCharts", {"preset": "yesterday"}, "private, max-age=60"),
    ("GetCharts", {"preset": "custom", "start": day(9), "end": day(1)}, "private, max-age=60"),
    ("GetCharts", {"preset": "custom", "start": day(9), "end": day(0)}, "private, no-cache"),
    ("GetEngagement", {}, "private, no-cache"),
    ("GetEngagement", {"preset": "yesterday"}, "private, max-age=60"),
]


@pytest.mark.parametrize(("method", "asked", "keep"), KEPT)
async def test_answers_may_be_kept_and_asked_about(
    filled: Filled, method: str, asked: dict[str, str], keep: str
) -> None:
    headers = await filled.place.headers(method, **asked)
    assert headers["cache-control"] == keep
    assert headers["vary"] == "authorization"
    tag = headers["etag"]
    assert tag.startswith('"')
    assert (await filled.place.headers(method, **asked))["etag"] == tag
    assert (await filled.place.headers(method, ("if-none-match", '"x"'), **asked))["etag"] == tag
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        error = await refused(filled.place.call(method, ("if-none-match", known), **asked))
        assert (error.reason, error.http) == ("NOT_MODIFIED", 304)
        assert error.code is grpc.StatusCode.FAILED_PRECONDITION
        assert error.trailing["etag"] == tag
        assert error.trailing["cache-control"] == keep
        assert "x-ratelimit-remaining" in error.trailing


async def test_tags_tell_questions_sites_and_events_apart(service: Service) -> None:
    here, there = place(service), place(service)
    await here.send(here.view(0), here.view(1))
    await there.send(there.view(0), there.view(1))
    tags = [
        (await site.headers(method, **asked))["etag"]
        for site in (here, there)
        for method, asked, _ in KEPT
    ]
    assert len(set(tags)) == len(tags)
    old = (await here.headers("GetCharts"))["etag"]
    other = (await there.headers("GetCharts"))["etag"]
    await here.send(here.view(0))
    new = (await here.headers("GetCharts", ("if-none-match", old)))["etag"]
    assert new != old
    assert (await there.headers("GetCharts"))["etag"] == other


async def test_pace_is_never_kept(place: Place) -> None:
    headers = await place.headers("GetPace", ("if-none-match", "*"))
    assert headers["cache-control"] == "no-store"
    assert "etag" not in headers


async def test_http_gets_the_headers_first(place: Place) -> None:
    call = place.call("GetOverview", (TRANSCODED, "GET"))
    await call
    headers = dict(await call.initial_metadata())
    assert {"etag", "cache-control", "vary", "x-ratelimit-remaining"} <= set(headers)


async def test_the_sites_requests_a_minute_are_shared(service: Service, site: Site) -> None:
    key = service.key([site], Scope.READ)
    other = service.key([site], Scope.READ)
    asked = Place(service, site, key)
    left = [
        (await asked.headers(method))["x-ratelimit-remaining"]
        for method in ("GetOverview", "GetCharts", "GetEngagement", "GetPace") * 2
    ]
    tag = (await asked.headers("GetOverview"))["etag"]
    # An answer that the caller has costs as much as another one.
    error = await refused(asked.call("GetOverview", ("if-none-match", tag)))
    assert error.trailing["x-ratelimit-remaining"] == "0"
    assert left == [str(number) for number in range(9, 1, -1)]
    for method in ("GetOverview", "GetCharts", "GetEngagement", "GetPace"):
        error = await refused(Place(service, site, other).call(method))
        assert (error.reason, error.http) == ("RATE_LIMIT_EXCEEDED", 429)
        assert 1 <= int(error.trailing["retry-after"]) <= 60


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sites whose history has been read from SQL."""
    noted: list[str] = []
    history = DuckDBStore.history

    async def noting(self: DuckDBStore, query: Any, timeout_s: float) -> Any:
        noted.append(query.site_id)
        return await history(self, query, timeout_s)

    monkeypatch.setattr(DuckDBStore, "history", noting)
    return noted


async def test_what_was_asked_is_not_read_again(service: Service, reads: list[str]) -> None:
    here, there = place(service), place(service)
    await here.send(here.view(0), here.view(1))
    for method in ("GetOverview", "GetCharts", "GetEngagement"):
        del reads[:]
        first = await here.ask(method)
        assert await here.ask(method) == first
        assert reads == [here.site.id]
        # Another site's same question is another one.
        nothing = await there.ask(method)
        assert nothing["site"] == there.site.id
        assert all(row.get("pageviews", 0) == 0 for row in nothing["daily"])
        assert reads == [here.site.id, there.site.id]
    del reads[:]
    # A range by another name is the same range.
    await here.ask("GetCharts", preset="custom", start=day(29), end=day(0))
    assert reads == []
    for asked in ({"limit": "7"}, {"q": "x"}, {"preset": "last7"}):
        await here.ask("GetCharts", **asked)
    assert reads == [here.site.id] * 3


async def test_an_answer_is_never_older_than_the_last_event(place: Place) -> None:
    for number in range(1, 16):
        await place.send(place.view(number % 3))
        charts = await place.ask("GetCharts")
        assert charts["summary"]["total_pageviews"] == number
        assert (await place.ask("GetCharts")) == charts
        yesterday = sum(back % 3 != 0 for back in range(1, number + 1))
        assert (await place.ask("GetOverview"))["totals"]["pageviews"] == yesterday


async def test_what_is_kept_is_gone_after_a_while(
    place: Place, valkey: Valkey, reads: list[str]
) -> None:
    await place.send(place.view(0))
    with valkey.client() as client:
        before = set(client.scan_iter("ff:cache1:*"))
        await place.ask("GetCharts")
        (name,) = set(client.scan_iter("ff:cache1:*")) - before
        lifetime: Any = client.pttl(name)
        assert 0 < lifetime <= 60_000
        # A damaged value is none.
        client.setrange(name, 20, b"\0\0\0\0")
        damaged = await place.ask("GetCharts")
        assert damaged["summary"]["total_pageviews"] == 1
        client.delete(name)
        await place.ask("GetCharts")
    assert reads == [place.site.id] * 3


async def test_the_cache_can_be_turned_off(
    own_settings: Settings, valkey: Valkey, reads: list[str]
) -> None:
    settings = replace(own_settings, redis_url=valkey.url, cache_s=0)
    async with serving(settings) as service:
        alone = place(service)
        await alone.send(alone.view(0))
        for _ in range(3):
            await alone.ask("GetCharts")
        assert reads == [alone.site.id] * 3
