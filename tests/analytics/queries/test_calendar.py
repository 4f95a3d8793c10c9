"""Local days and hours of columns, against what Python's zones say instant by instant."""

from __future__ import annotations

import random
from datetime import date

import numpy as np
import pytest

from footfall.analytics.days import to_day
from footfall.analytics.queries.calendar import LocalDays
from footfall.durations import DAY_US, HOUR_US
from tests.analytics.queries.recount import shown

#: Zones and days on which something odd happens there.
ODD = [
    ("Europe/Zurich", date(2026, 3, 29)),
    ("Europe/Zurich", date(2026, 10, 25)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Pacific/Chatham", date(2026, 9, 27)),
    ("Asia/Kathmandu", date(2026, 1, 1)),
    # Left out 30 December altogether, and put clocks back at one minute past midnight.
    ("Pacific/Apia", date(2011, 12, 29)),
    ("America/St_Johns", date(2010, 11, 7)),
    ("America/Havana", date(2026, 11, 1)),
    ("Africa/Casablanca", date(2026, 3, 22)),
    ("UTC", date(1970, 1, 2)),
]


@pytest.mark.parametrize(("zone", "day"), ODD)
def test_every_instant_has_the_day_and_hour_that_its_clock_shows(zone: str, day: date) -> None:
    first = to_day(day)
    days = LocalDays(zone, first, first + 1)
    pick = random.Random(first)
    around = range((first - 2) * DAY_US, (first + 4) * DAY_US)
    instants = [pick.choice(around) for _ in range(500)]
    instants += [at + off for at in around[:: HOUR_US // 2] for off in (-1, 0, 60_000_000)]
    ts_us = np.array(instants, dtype=np.int64)
    local_us = days.local_us(ts_us)
    inside = days.inside(local_us)
    daily, hourly = days.labels("daily"), days.labels("hourly")
    by_day, by_hour = days.buckets(local_us, "daily"), days.buckets(local_us, "hourly")
    seen = set()
    for at, is_inside, day_number, hour_number in zip(
        instants, inside.tolist(), by_day.tolist(), by_hour.tolist(), strict=True
    ):
        clock = shown(zone, at)
        assert is_inside == (first <= to_day(clock.date()) <= first + 1)
        if is_inside:
            assert days.start_us <= at < days.end_us
            assert daily[day_number] == clock.strftime("%Y-%m-%d")
            assert hourly[hour_number] == clock.strftime("%Y-%m-%d %H:00:00")
            seen.add(hour_number)
    assert seen == set(hourly)
    assert len(daily) == 2


def test_hours_that_no_clock_shows_have_no_row() -> None:
    spring = LocalDays("Europe/Zurich", *[to_day(date(2026, 3, 29))] * 2).labels("hourly")
    autumn = LocalDays("Europe/Zurich", *[to_day(date(2026, 10, 25))] * 2).labels("hourly")
    assert len(spring) == 23
    assert "2026-03-29 02:00:00" not in spring.values()
    assert len(autumn) == 24


def test_a_day_that_a_zone_left_out_has_no_instant() -> None:
    apia = LocalDays("Pacific/Apia", *[to_day(date(2011, 12, 30))] * 2)
    assert apia.start_us == apia.end_us
    assert list(apia.labels("daily").values()) == ["2011-12-30"]
    assert apia.labels("hourly") == {}
