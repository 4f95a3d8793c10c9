"""Days, their quarters of an hour and their clocks, against a walk through their minutes."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.analytics.days import (
    day_slots,
    day_text,
    first_instant,
    local_day,
    to_date,
    to_day,
    utc_text,
)
from tests.analytics.recount import MINUTE, SLOT, ZONES, at, day_of, number, shown

#: Days on which clocks change, and days around them.
ODD_DAYS = [
    number(text)
    for text in (
        "2011-12-28",
        "2011-12-29",
        "2011-12-30",
        "2011-12-31",
        "2024-02-29",
        "2024-12-31",
        "2025-01-01",
        "2025-03-09",
        "2025-03-30",
        "2025-04-06",
        "2025-04-25",
        "2025-09-07",
        "2025-10-05",
        "2025-10-26",
        "2025-10-31",
        "2025-11-02",
        "2026-03-28",
        "2026-03-29",
        "2026-04-05",
    )
]
days = st.sampled_from(ODD_DAYS) | st.integers(number("2010-01-01"), number("2035-12-31"))
zones = st.sampled_from(ZONES)


def minutes_of(zone: str, day: int) -> list[int]:
    """Every minute in which the zone's clock shows the day."""
    around = range((day - 2) * 1440, (day + 3) * 1440)
    return [minute * MINUTE for minute in around if day_of(zone, minute * MINUTE) == day]


@given(zones, days)
@settings(max_examples=40)
def test_the_quarters_of_a_day_are_those_of_its_minutes(zone: str, day: int) -> None:
    assert list(day_slots(zone, day)) == sorted(
        {minute // SLOT * SLOT for minute in minutes_of(zone, day)}
    )


@pytest.mark.parametrize(
    ("zone", "day", "quarters"),
    [
        ("Europe/Zurich", "2025-03-30", 92),
        ("Europe/Zurich", "2025-10-26", 100),
        ("Europe/Zurich", "2025-10-27", 96),
        ("America/New_York", "2025-03-09", 92),
        ("America/New_York", "2025-11-02", 100),
        ("Australia/Lord_Howe", "2025-10-05", 94),
        ("Australia/Lord_Howe", "2025-04-06", 98),
        ("Asia/Kathmandu", "2024-02-29", 96),
        ("Asia/Kolkata", "2025-12-31", 96),
        ("America/Santiago", "2025-09-07", 92),
        ("Pacific/Apia", "2011-12-29", 96),
        ("Pacific/Apia", "2011-12-30", 0),
        ("Pacific/Apia", "2011-12-31", 96),
    ],
)
def test_days_have_as_many_quarters_as_clocks_show(zone: str, day: str, quarters: int) -> None:
    slots = day_slots(zone, number(day))
    assert len(slots) == quarters
    if slots:
        assert shown(zone, slots[0]).date().isoformat() == day
        assert shown(zone, slots[0] - 1).date().isoformat() < day
        assert shown(zone, slots[-1] + SLOT - 1).date().isoformat() == day


def first_instant_by_walking(zone: str, day: int, wanted: datetime) -> int:
    for minute in range((day - 2) * 1440, (day + 3) * 1440):
        start = minute * MINUTE
        passed = wanted - shown(zone, start)
        if passed < timedelta(minutes=1):
            return start + max(passed // timedelta(microseconds=1), 0)
    raise AssertionError("the clock never shows it")


@given(zones, days, st.times())
@settings(max_examples=60)
def test_the_first_instant_at_which_a_clock_shows_a_time(
    zone: str, day: int, time_of_day: time
) -> None:
    wanted = datetime.combine(to_date(day), time_of_day)
    expected = first_instant_by_walking(zone, day, wanted)
    assert first_instant(zone, day, time_of_day) == expected


@pytest.mark.parametrize(
    ("zone", "day", "clock", "expected"),
    [
        # Skipped: the moment of the skip.
        ("Europe/Zurich", "2025-03-30", time(2, 30), ("2025-03-30T03:00", 0)),
        ("Australia/Lord_Howe", "2025-10-05", time(2, 29, 59, 999999), ("2025-10-05T02:30", 0)),
        # Shown twice: the first time.
        ("Europe/Zurich", "2025-10-26", time(2, 30), ("2025-10-26T02:30", 0)),
        ("Australia/Lord_Howe", "2025-04-06", time(1, 45, 0, 1), ("2025-04-06T01:45:00.000001", 0)),
        # The day begins at one, or ends at eleven in the evening.
        ("America/Santiago", "2025-09-07", time(0, 10), ("2025-09-07T01:00", 0)),
        ("America/Scoresbysund", "2025-03-29", time(23, 10), ("2025-03-30T00:00", 0)),
        # There is no such day.
        ("Pacific/Apia", "2011-12-30", time(12, 0), ("2011-12-31T00:00", 0)),
        ("Asia/Kathmandu", "2025-06-01", time(0, 0), ("2025-06-01T00:00", 0)),
    ],
)
def test_times_of_day_that_are_skipped_or_come_twice(
    zone: str, day: str, clock: time, expected: tuple[str, int]
) -> None:
    assert first_instant(zone, number(day), clock) == at(zone, *expected)


@given(zones, st.integers(0, 2_000_000_000_000_000))
def test_local_days(zone: str, time_us: int) -> None:
    assert local_day(zone, time_us) == day_of(zone, time_us)


def test_texts() -> None:
    assert day_text(0) == "1970-01-01"
    assert day_text(to_day(date(1, 1, 1))) == "0001-01-01"
    assert utc_text(1_772_618_400_999_999) == "2026-03-04T10:00:00+00:00"
