"""The last completed days, against a count of the events by what the site's clock showed."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.analytics.counts import Counts
from footfall.analytics.overview import OverviewService, plan
from footfall.errors import InvalidInputError
from tests.analytics.recount import MINUTE, ZONES, Event, PlainHistory, at, shown, site, text

ZONE = "Europe/Zurich"
NOW = at(ZONE, "2026-03-04T12:00")


async def rows(
    zone: str, events: list[Event], now_us: int, days: str = ""
) -> list[tuple[str, int, int]]:
    service = OverviewService(PlainHistory(zone, events), lambda: now_us)
    answer = await service.answer(site(zone), days, 1)
    found = [(text(day.local_day), day.pageviews, day.visits) for day in answer.daily]
    if answer.days is None:
        assert found == []
    else:
        assert [row[0] for row in found] == [text(day) for day in answer.days]
    assert answer.totals == Counts(sum(r[1] for r in found), sum(r[2] for r in found))
    assert (answer.site, answer.timezone) == ("site-1", zone)
    return found


@given(
    zone=st.sampled_from(ZONES),
    today=st.dates(date(2010, 1, 1), date(2030, 12, 31)) | st.just(date(2012, 1, 5)),
    minute=st.integers(0, 1439),
    days=st.integers(1, 30),
    ages=st.lists(
        st.tuples(
            st.integers(-2000, 60 * 1440), st.integers(0, 1), st.sampled_from([0.0, 0.0, 1.5])
        )
    ),
)
@settings(max_examples=150)
async def test_days_are_those_of_the_sites_clock(
    zone: str,
    today: date,
    minute: int,
    days: int,
    ages: list[tuple[int, int, float]],
) -> None:
    now = at(zone, today.isoformat()) + minute * MINUTE
    events = [
        Event(now - age * MINUTE, visits=0 if engaged else visit, engaged_s=engaged)
        for age, visit, engaged in ages
    ]
    clock_day = shown(zone, now).date()

    seen = [shown(zone, event.ts_us).date() for event in events if event.pageviews]
    expected = []
    for back in range(days, 0, -1):
        day = date.fromordinal(clock_day.toordinal() - back)
        if seen and min(seen) <= day:
            that_day = [event for event in events if shown(zone, event.ts_us).date() == day]
            expected.append(
                (
                    day.isoformat(),
                    sum(event.pageviews for event in that_day),
                    sum(event.visits for event in that_day),
                )
            )
    assert await rows(zone, events, now, str(days)) == expected


@pytest.mark.parametrize(
    ("days", "count"),
    [("", 30), ("1", 1), ("7", 7), ("30", 30), ("31", 30), ("0", 1), ("-3", 1), ("9" * 99, 30)],
)
async def test_days_are_clamped(days: str, count: int) -> None:
    long_ago = Event(NOW - 400 * 1440 * MINUTE)
    found = await rows(ZONE, [long_ago], NOW, days)
    assert len(found) == count
    assert found[-1] == ("2026-03-03", 0, 0)
    assert {row[1:] for row in found} == {(0, 0)}


@pytest.mark.parametrize("days", ["abc", "1.5", "7 days", "1e1"])
def test_what_is_no_number_is_refused(days: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^days must be a whole number from 1 to 30"):
        plan(site(), days, NOW)


async def test_today_is_not_completed() -> None:
    assert await rows(ZONE, [], NOW) == []
    assert await rows(ZONE, [Event(NOW)], NOW) == []
    midnight = at(ZONE, "2026-03-04T00:00")
    assert await rows(ZONE, [Event(midnight)], NOW) == []
    assert await rows(ZONE, [Event(midnight - 1, visits=1)], NOW) == [("2026-03-03", 1, 1)]
    # An old first event makes rows of the days since, whichever are asked for.
    assert await rows(ZONE, [Event(at(ZONE, "2026-03-02T23:59"))], NOW) == [
        ("2026-03-02", 1, 0),
        ("2026-03-03", 0, 0),
    ]


async def test_a_day_that_a_zone_left_out_is_a_row_of_nothing() -> None:
    zone = "Pacific/Apia"
    before, after = at(zone, "2011-12-29T23:59:59"), at(zone, "2011-12-31T00:00")
    assert after - before == 1_000_000
    now = at(zone, "2012-01-01T08:00")
    assert await rows(zone, [Event(before), Event(after, visits=1)], now, "3") == [
        ("2011-12-29", 1, 0),
        ("2011-12-30", 0, 0),
        ("2011-12-31", 1, 1),
    ]
