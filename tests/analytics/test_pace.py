"""The pace of a day, recounted by what the site's clock showed when."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.analytics.counts import Counts
from footfall.analytics.pace import PaceAnswer, PaceService, plan
from tests.analytics.recount import (
    MINUTE,
    SLOT,
    ZONES,
    Event,
    PlainHistory,
    at,
    day_of,
    number,
    shown,
    site,
    text,
    us,
)

ZONE = "Europe/Zurich"
SECOND = 1_000_000

#: Days after which, or on which, clocks change somewhere; the first and last of years and months.
DAYS = [
    date.fromisoformat(text_)
    for text_ in (
        "2011-12-29",
        "2011-12-31",
        "2024-02-29",
        "2024-03-01",
        "2025-01-01",
        "2025-03-09",
        "2025-03-10",
        "2025-03-30",
        "2025-03-31",
        "2025-04-06",
        "2025-04-07",
        "2025-09-07",
        "2025-10-05",
        "2025-10-06",
        "2025-10-26",
        "2025-10-27",
        "2025-11-02",
        "2025-11-03",
        "2025-12-31",
        "2026-03-29",
    )
]


async def pace(zone: str, events: list[Event], now_us: int) -> PaceAnswer:
    return await PaceService(PlainHistory(zone, events), lambda: now_us).answer(site(zone), 1)


def counted(events: list[Event]) -> Counts:
    return Counts(sum(e.pageviews for e in events), sum(e.visits for e in events))


def moment(point_time: str) -> int:
    return us(datetime.fromisoformat(point_time))


def reached(zone: str, day: int, now_us: int) -> int:
    """Walk the minutes until the zone's clock shows, on that day, now's time of day or later."""
    day_text = date.fromisoformat(text(day))
    wanted = datetime.combine(day_text, shown(zone, now_us).time())
    for minute in range((day - 2) * 1440, (day + 3) * 1440):
        passed = wanted - shown(zone, minute * MINUTE)
        if passed < timedelta(minutes=1):
            return minute * MINUTE + max(passed // timedelta(microseconds=1), 0)
    raise AssertionError("the clock never shows it")


@given(
    zone=st.sampled_from(ZONES),
    today=st.sampled_from(DAYS) | st.dates(date(2010, 1, 1), date(2030, 12, 31)),
    second=st.integers(0, 86_399),
    # Seconds before now, mostly in the two days that matter; a few are ahead of the clock.
    ages=st.lists(
        st.tuples(st.integers(-20_000, 60 * 3600), st.integers(0, 1)), min_size=1, max_size=60
    ),
)
@settings(max_examples=150)
async def test_pace_equals_a_recount(
    zone: str, today: date, second: int, ages: list[tuple[int, int]]
) -> None:
    now = at(zone, today.isoformat()) + second * SECOND + 123_456
    events = [Event(now - age * SECOND, visits=visit) for age, visit in ages]
    # And just around the moment that yesterday is compared at.
    day = day_of(zone, now)
    same = reached(zone, day - 1, now)
    events += [Event(same - 1, visits=1), Event(same), Event(same + 1)]
    found = await pace(zone, events, now)

    of_today = [event for event in events if day_of(zone, event.ts_us) == day]
    of_yesterday = [event for event in events if day_of(zone, event.ts_us) == day - 1]
    assert found.timezone == zone
    assert (found.date, found.yesterday_date) == (text(day), text(day - 1))
    assert found.today == counted(of_today)
    assert found.yesterday == counted(of_yesterday)
    assert found.same_time == counted([e for e in of_yesterday if e.ts_us < same])

    for whole, curve, until in (
        (of_today, found.curve_today, now),
        (of_yesterday, found.curve_yesterday, 2**62),
    ):
        starts = [moment(point.time) for point in curve]
        assert starts == sorted(set(starts))
        assert all(start % SLOT == 0 and start <= until for start in starts)
        summed = Counts(0, 0)
        for place, point in enumerate(curve):
            start = starts[place]
            # The last one of today holds what is ahead of the clock.
            running = whole is of_today and place == len(curve) - 1
            within = [e for e in whole if start <= e.ts_us and (running or e.ts_us < start + SLOT)]
            assert point.counts == counted(within)
            summed = Counts(
                summed.pageviews + point.counts.pageviews, summed.visits + point.counts.visits
            )
            assert point.cumulative == summed
            wall = shown(zone, start)
            assert datetime.fromisoformat(point.time).replace(tzinfo=None) == wall
        assert summed == counted(whole)
    assert starts_at_midnight(zone, found, day)
    assert now - SLOT < moment(found.curve_today[-1].time) <= now
    for name in ("pageviews", "visits"):
        figures = (getattr(part, name) for part in (found.today, found.same_time, found.yesterday))
        is_now, before, whole_day = figures
        percent, projected = (
            getattr(found, f"{name}_percent"),
            getattr(found, f"projected_{name}"),
        )
        if before == 0:
            assert percent is None
            assert projected is None
        else:
            assert abs(percent - 100 * (is_now - before) / before) <= 0.05 + 1e-9
            assert abs(projected - is_now * whole_day / before) <= 0.5


def starts_at_midnight(zone: str, found: PaceAnswer, day: int) -> bool:
    first = moment(found.curve_today[0].time)
    return day_of(zone, first) == day and day_of(zone, first - 1) < day


@pytest.mark.parametrize(
    ("zone", "yesterday", "quarters", "offsets"),
    [
        ("Europe/Zurich", "2025-03-30", 92, ["+01:00", "+02:00"]),
        ("Europe/Zurich", "2025-10-26", 100, ["+02:00", "+01:00"]),
        ("America/New_York", "2025-03-09", 92, ["-05:00", "-04:00"]),
        ("Australia/Lord_Howe", "2025-10-05", 94, ["+10:30", "+11:00"]),
        ("Australia/Lord_Howe", "2025-04-06", 98, ["+11:00", "+10:30"]),
        ("Asia/Kolkata", "2024-02-29", 96, ["+05:30"]),
        ("Asia/Kathmandu", "2025-12-31", 96, ["+05:45"]),
        ("Pacific/Apia", "2011-12-30", 0, []),
    ],
)
async def test_curves_of_long_and_short_days(
    zone: str, yesterday: str, quarters: int, offsets: list[str]
) -> None:
    next_day = number(yesterday) + 1
    now = at(zone, f"{text(next_day)}T00:07:30")
    found = await pace(zone, [], now)
    assert len(found.curve_yesterday) == quarters
    times = [point.time for point in found.curve_yesterday]
    assert list(dict.fromkeys(time[-6:] for time in times)) == offsets
    if times:
        assert times[0] == f"{yesterday}T00:00:00{offsets[0]}"
        assert times[-1] == f"{yesterday}T23:45:00{offsets[-1]}"
    assert len(found.curve_today) == 1
    assert found.curve_today[0].time.startswith(f"{text(next_day)}T00:00:00")
    assert len(set(times)) == quarters


async def test_the_same_time_is_exact_to_the_microsecond() -> None:
    now = at(ZONE, "2026-03-04T10:07:30.5")
    same = at(ZONE, "2026-03-03T10:07:30.5")
    assert plan(site(), now).before_us == same
    events = [Event(same - 1, visits=1), Event(same), Event(same + 1), Event(now - 1, visits=1)]
    found = await pace(ZONE, events, now)
    assert (found.same_time, found.yesterday) == (Counts(1, 1), Counts(3, 1))
    assert (found.pageviews_percent, found.visits_percent) == (0.0, 0.0)
    assert (found.projected_pageviews, found.projected_visits) == (3, 1)
    assert found.updated_at == "2026-03-04T09:07:30+00:00"


async def test_nothing_yesterday_is_nothing_to_compare_with() -> None:
    now = at(ZONE, "2026-03-04T10:00")
    late = Event(at(ZONE, "2026-03-03T10:00"), visits=1)
    found = await pace(ZONE, [late, Event(now)], now)
    assert (found.same_time, found.yesterday) == (Counts(0, 0), Counts(1, 1))
    assert (found.pageviews_percent, found.projected_pageviews) == (None, None)
    assert (found.visits_percent, found.projected_visits) == (None, None)


@pytest.mark.parametrize(
    ("today", "before", "whole", "percent", "projected"),
    [
        (3, 2, 4, 50.0, 6),
        (1, 3, 3, -66.7, 1),
        (2, 3, 4, -33.3, 3),
        (0, 3, 9, -100.0, 0),
        (1, 8, 12, -87.5, 2),
    ],
)
async def test_changes_are_rounded(
    today: int, before: int, whole: int, percent: float, projected: int
) -> None:
    now = at(ZONE, "2026-03-04T12:00")
    early, late = at(ZONE, "2026-03-03T09:00"), at(ZONE, "2026-03-03T20:00")
    events = [Event(now - 1)] * today + [Event(early)] * before + [Event(late)] * (whole - before)
    found = await pace(ZONE, events, now)
    assert (found.pageviews_percent, found.projected_pageviews) == (percent, projected)


async def test_a_clock_that_is_ahead_counts_now() -> None:
    now = at(ZONE, "2026-03-04T12:07")
    found = await pace(ZONE, [Event(now), Event(now + 3 * 60 * MINUTE, visits=1)], now)
    assert found.today == Counts(2, 1)
    assert len(found.curve_today) == 49
    assert found.curve_today[-1].counts == found.curve_today[-1].cumulative == Counts(2, 1)


class OtherZone(PlainHistory):
    """A history that was counted by another zone's days."""

    def day(self, event: Event) -> int:
        return day_of("Asia/Tokyo", event.ts_us)


async def test_curves_add_up_after_a_site_has_moved() -> None:
    now = at(ZONE, "2026-03-04T12:07")
    midnight_there = at("Asia/Tokyo", "2026-03-04T00:00")
    events = [Event(midnight_there + hour * 60 * MINUTE, visits=1) for hour in range(-24, 20)]
    service = PaceService(OtherZone(ZONE, events), lambda: now)
    found = await service.answer(site(ZONE), 1)
    assert found.today == Counts(20, 20) == found.curve_today[-1].cumulative
    assert found.yesterday == Counts(24, 24) == found.curve_yesterday[-1].cumulative
