"""Charts and engagement of a range of days, recounted from the events."""

from __future__ import annotations

import hashlib
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.analytics.charts import ChartsAnswer, ChartsService, url_id
from footfall.analytics.counts import Counts
from footfall.analytics.engagement import EngagementAnswer, EngagementService
from footfall.analytics.model import History, HistoryQuery, PageCount
from footfall.analytics.ranges import RangeRequest
from tests.analytics.recount import MINUTE, ZONES, Event, PlainHistory, at, shown, site, text

ZONE = "Europe/Zurich"
NOW = at(ZONE, "2026-03-04T12:00")
DAY = 1440 * MINUTE
LAST30 = RangeRequest()


async def charts(
    events: list[Event], request: RangeRequest = LAST30, zone: str = ZONE, now: int = NOW
) -> ChartsAnswer:
    return await ChartsService(PlainHistory(zone, events), lambda: now).answer(
        site(zone), request, 1
    )


async def engagement(
    events: list[Event], request: RangeRequest = LAST30, zone: str = ZONE, now: int = NOW
) -> EngagementAnswer:
    return await EngagementService(PlainHistory(zone, events), lambda: now).answer(
        site(zone), request, 1
    )


@given(
    zone=st.sampled_from(ZONES),
    today=st.dates(date(2010, 1, 1), date(2030, 12, 31)) | st.just(date(2012, 1, 5)),
    minute=st.integers(0, 1439),
    preset=st.sampled_from(["", "today", "yesterday", "last7", "last90", "last_month"]),
    visits=st.lists(
        st.tuples(
            st.integers(0, 100 * 1440),
            st.integers(0, 1),
            st.sampled_from([0.0, 0.0, 0.1, 12.25, 3.000001]),
            st.sampled_from(["/", "/a", "/b", "/größe"]),
        ),
        max_size=40,
    ),
)
@settings(max_examples=120)
async def test_figures_equal_a_recount(
    zone: str, today: date, minute: int, preset: str, visits: list[tuple[int, int, float, str]]
) -> None:
    now = at(zone, today.isoformat()) + minute * MINUTE
    events = [
        Event(now - age * MINUTE, path, 0 if engaged else visit, engaged)
        for age, visit, engaged, path in visits
    ]
    request = RangeRequest(preset)
    found = await charts(events, request, zone, now)
    first, last = (date.fromisoformat(text(day)) for day in (found.days.first, found.days.last))
    inside = [event for event in events if first <= shown(zone, event.ts_us).date() <= last]

    assert [text(day.local_day) for day in found.daily] == [text(day) for day in found.days]
    for day in found.daily:
        that_day = [
            e for e in inside if shown(zone, e.ts_us).date().isoformat() == text(day.local_day)
        ]
        assert day.pageviews == sum(event.pageviews for event in that_day)
        assert day.visits == sum(event.visits for event in that_day)
    pageviews = sum(event.pageviews for event in inside)
    begun = sum(event.visits for event in inside)
    assert found.totals == Counts(pageviews, begun)
    if begun:
        assert abs(found.pages_per_visitor - pageviews / begun) <= 0.05 + 1e-9
    else:
        assert found.pages_per_visitor == 0
    views: dict[str, int] = {}
    for event in inside:
        views[event.path] = views.get(event.path, 0) + event.pageviews
    ranked = sorted(((-count, path) for path, count in views.items() if count))
    assert [(-page.pageviews, page.url) for page in found.top_pages] == ranked
    assert [page.rank for page in found.top_pages] == list(range(1, len(ranked) + 1))

    times = await engagement(events, request, zone, now)
    # In millionths, as integers: what browsers report adds up without new digits.
    engaged = [(event.path, round(event.engaged_s * 1e6)) for event in inside]
    assert times.days == found.days
    assert times.engaged_s == sum(time for _, time in engaged) / 1e6
    expected = times.engaged_s / begun if begun else 0
    assert abs(times.seconds_per_visit - expected) <= 0.05 + 1e-9
    assert sum(round(day.engaged_s * 1e6) for day in times.daily) == round(times.engaged_s * 1e6)
    for page in times.top_pages:
        spent = sum(time for path, time in engaged if path == page.url)
        assert round(page.engaged_s * 1e6) == spent > 0
        assert page.pageviews == views[page.url]
        expected = page.engaged_s / page.pageviews if page.pageviews else 0
        assert abs(page.seconds_per_pageview - expected) <= 0.05 + 1e-9
    assert {page.url for page in times.top_pages} == {path for path, time in engaged if time}


async def test_a_site_without_events() -> None:
    found = await charts([])
    assert (text(found.days.first), text(found.days.last)) == ("2026-03-04", "2026-03-04")
    assert found.limits == found.days
    assert [(day.pageviews, day.visits) for day in found.daily] == [(0, 0)]
    assert (found.totals, found.pages_per_visitor, found.top_pages) == (Counts(0, 0), 0.0, ())
    month = await charts([], RangeRequest("last_month"))
    assert [day.pageviews for day in month.daily] == [0] * 28
    times = await engagement([])
    assert (times.engaged_s, times.seconds_per_visit, times.top_pages) == (0.0, 0.0, ())


async def test_a_search_filters_pages_only() -> None:
    events = [Event(NOW, "/sport/a", 1), Event(NOW, "/sport/b"), Event(NOW, "/news", 1)]
    everything = await charts(events)
    found = await charts(events, RangeRequest(q=" SPORT "))
    assert [page.url for page in found.top_pages] == ["/sport/a", "/sport/b"]
    assert [page.rank for page in found.top_pages] == [1, 2]
    assert found.search == "SPORT"
    assert (found.daily, found.totals) == (everything.daily, everything.totals)
    assert [page.url for page in (await charts(events, RangeRequest(search="news"))).top_pages] == [
        "/news"
    ]


@pytest.mark.parametrize(("limit", "count"), [("", 100), ("3", 3), ("0", 1), ("1000", 100)])
async def test_a_limit_is_clamped(limit: str, count: int) -> None:
    events = [Event(NOW, f"/{n}", engaged_s=0.0) for n in range(120)]
    assert len((await charts(events, RangeRequest(limit=limit))).top_pages) == count
    read = [Event(NOW, f"/{n}", engaged_s=1.0) for n in range(120)]
    assert len((await engagement(read, RangeRequest(limit=limit))).top_pages) == count


async def test_a_clock_that_is_ahead_makes_no_tomorrow() -> None:
    found = await charts([Event(NOW + DAY, "/early", 1), Event(NOW - DAY, "/", 1)])
    assert text(found.limits.last) == text(found.days.last) == "2026-03-04"
    assert found.totals == Counts(1, 1)
    assert [page.url for page in found.top_pages] == ["/"]


async def test_engaged_time_before_the_first_page_view_is_outside() -> None:
    events = [Event(NOW - 20 * DAY, "/", engaged_s=9.0), Event(NOW), Event(NOW, engaged_s=1.0)]
    found = await engagement(events)
    assert [day.engaged_s for day in found.daily] == [1.0]
    assert [page.engaged_s for page in found.top_pages] == [1.0]
    assert found.engaged_s == 1.0


class OnePage(PlainHistory):
    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        page = PageCount("www.example.com", "/a%20b?c=1", "T", "A", "2026-01-02", "i.png", 5, 2, 0)
        return History(query.first_day, [], [page])


async def test_a_page_has_its_address_and_an_id_that_stays() -> None:
    service = ChartsService(OnePage(ZONE, []), lambda: NOW)
    [page] = (await service.answer(site(), RangeRequest(), 1)).top_pages
    assert (page.title, page.author, page.pubdate) == ("T", "A", "2026-01-02")
    assert (page.url, page.thumbnail) == ("/a%20b?c=1", "i.png")
    assert page.url_full == "https://www.example.com/a%20b?c=1"
    digest = hashlib.blake2b(b"site-1\0www.example.com\0/a%20b?c=1", digest_size=16)
    assert page.url_id == digest.hexdigest() == "26650b71403c3584f35a06524e28015c"
    assert (page.pageviews, page.visits) == (5, 2)


def test_ids_of_pages_differ_by_site_host_and_path() -> None:
    pages = [
        ("a", "b", "/c"),
        ("a", "b", "/d"),
        ("a", "c", "/c"),
        ("b", "b", "/c"),
        ("ab", "", "/c"),
    ]
    ids = {url_id(*page) for page in pages}
    assert len(ids) == len(pages)
    assert {len(found) for found in ids} == {32}
