"""Presets and custom ranges: which days they are, and what becomes of them at the edges."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.analytics.ranges import (
    PRESETS,
    Asked,
    DayRange,
    RangeRequest,
    parse_range,
    parse_search,
    plan,
    read,
)
from footfall.errors import InvalidInputError
from tests.analytics.recount import MINUTE, ZONES, Event, PlainHistory, at, number, site, text

TODAY = number("2026-03-04")

#: Days near the beginning, mostly, so that ranges meet the edges of short histories.
dates = st.dates(date(2023, 12, 1), date(2026, 12, 31))


def asked(preset: str = "", start: str = "", end: str = "", today: str = "2026-03-04") -> Asked:
    return parse_range(RangeRequest(preset, start, end), number(today))


def shown(days: DayRange) -> tuple[str, str, int]:
    return text(days.first), text(days.last), days.days


@pytest.mark.parametrize(
    ("preset", "today", "label", "expected"),
    [
        ("", "2026-03-04", "Last 30 Days", ("2026-02-03", "2026-03-04", 30)),
        ("today", "2026-03-04", "Today", ("2026-03-04", "2026-03-04", 1)),
        ("yesterday", "2026-03-01", "Yesterday", ("2026-02-28", "2026-02-28", 1)),
        ("yesterday", "2024-03-01", "Yesterday", ("2024-02-29", "2024-02-29", 1)),
        ("yesterday", "2026-01-01", "Yesterday", ("2025-12-31", "2025-12-31", 1)),
        ("last7", "2026-03-04", "Last 7 Days", ("2026-02-26", "2026-03-04", 7)),
        ("last14", "2024-03-04", "Last 14 Days", ("2024-02-20", "2024-03-04", 14)),
        ("last30", "2026-01-10", "Last 30 Days", ("2025-12-12", "2026-01-10", 30)),
        ("last90", "2026-03-04", "Last 90 Days", ("2025-12-05", "2026-03-04", 90)),
        ("this_month", "2026-03-04", "This Month", ("2026-03-01", "2026-03-04", 4)),
        ("this_month", "2026-03-01", "This Month", ("2026-03-01", "2026-03-01", 1)),
        ("this_month", "2026-12-31", "This Month", ("2026-12-01", "2026-12-31", 31)),
        ("last_month", "2026-03-31", "Last Month", ("2026-02-01", "2026-02-28", 28)),
        ("last_month", "2024-03-01", "Last Month", ("2024-02-01", "2024-02-29", 29)),
        ("last_month", "2026-01-15", "Last Month", ("2025-12-01", "2025-12-31", 31)),
    ],
)
def test_presets(preset: str, today: str, label: str, expected: tuple[str, str, int]) -> None:
    found = asked(preset, today=today)
    assert (found.preset, found.label) == (preset or "last30", label)
    assert shown(found.days) == expected


@given(dates)
def test_months_are_those_of_the_calendar(today: date) -> None:
    this = asked("this_month", today=today.isoformat()).days
    last = asked("last_month", today=today.isoformat()).days
    assert (text(this.first), this.days) == (f"{today:%Y-%m}-01", today.day)
    assert last.last == this.first - 1
    end = date.fromisoformat(text(last.last))
    assert last.days == monthrange(end.year, end.month)[1]


def test_ends_are_read_with_custom_only() -> None:
    nonsense = asked("last7", start="nonsense", end="0000-00-00")
    assert shown(nonsense.days) == ("2026-02-26", "2026-03-04", 7)
    assert shown(asked("custom", "2026-02-01", "2026-02-01").days)[2] == 1
    assert asked("custom", "2024-02-29", "2026-02-28").label == "Custom"


@pytest.mark.parametrize(
    ("request_", "parameter", "message"),
    [
        (RangeRequest("last8"), "preset", "Did you mean last7?"),
        (RangeRequest("LAST_MONTH"), "preset", "Did you mean last_month?"),
        (RangeRequest("x" * 9999), "preset", "must be one of today, yesterday"),
        (RangeRequest("custom"), "start", "is required with preset=custom"),
        (RangeRequest("custom", "2026-01-01"), "end", "is required with preset=custom"),
        (RangeRequest("custom", "", "2026-01-01"), "start", "is required with preset=custom"),
        (RangeRequest("custom", "2026-02-01", "2026-01-31"), "start", "must not be after end"),
        *(
            (RangeRequest("custom", wrong, "2026-01-31"), "start", "must be a date as YYYY-MM-DD")
            for wrong in (
                "20260101",
                "2026-1-1",
                "2026-W01-1",
                "01-01-2026",
                "2026/01/01",
                " 2026-01-01",
                "2026-01-01\n",
                "2026-01-01T00:00",
                "٢٠٢٦-01-01",
                "+2026-01-01",
                "today",
                "0",
                "x" * 9999,
            )
        ),
        *(
            (RangeRequest("custom", "2024-01-01", wrong), "end", "a day that the calendar has")
            for wrong in ("2026-02-29", "2026-13-01", "2026-00-10", "2026-04-31", "0000-01-01")
        ),
    ],
)
def test_what_is_wrong_is_named(request_: RangeRequest, parameter: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_range(request_, TODAY)
    error = caught.value
    assert (error.reason, error.metadata) == ("INVALID_PARAMETER", {"parameter": parameter})
    assert [item.field for item in error.violations] == [parameter]
    assert message in str(error)
    assert str(error).startswith(f"{parameter} ")
    assert len(str(error)) < 250


@pytest.mark.parametrize(
    ("q", "search", "expected"),
    [
        ("", "", ""),
        ("a", "", "a"),
        ("", "b", "b"),
        ("a", "b", "a"),
        ("  ", "b", "b"),
        (" größe ", "", "größe"),
        ("ä" * 256, "b", "ä" * 256),
        ("🛒" * 256, "", "🛒" * 256),
    ],
)
def test_the_text_that_pages_are_searched_for(q: str, search: str, expected: str) -> None:
    assert parse_search(RangeRequest(q=q, search=search)) == expected


@pytest.mark.parametrize(("name", "other"), [("q", ""), ("search", "q")])
def test_a_search_text_has_a_longest_length(name: str, other: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} must have at most 256 characters") as e:
        parse_search(RangeRequest(**{name: "x" * 257}))
    assert e.value.metadata == {"parameter": name}


@pytest.mark.parametrize(
    ("days", "first_day", "expected"),
    [
        # Within the history.
        (asked("last7"), "2020-01-01", ("2026-02-26", "2026-03-04", 7)),
        (asked("custom", "2026-01-01", "2026-01-31"), "2025-12-31", ("2026-01-01", "2026-01-31")),
        # Over an edge.
        (asked("last30"), "2026-03-01", ("2026-03-01", "2026-03-04", 4)),
        (asked("last30"), "2026-03-04", ("2026-03-04", "2026-03-04", 1)),
        (asked("last_month"), "2026-02-20", ("2026-02-20", "2026-02-28", 9)),
        (asked("custom", "0001-01-01", "9999-12-31"), "2026-02-20", ("2026-02-20", "2026-03-04")),
        # Wholly outside: a preset is what its name says, a custom range the nearest day.
        (asked("yesterday"), "2026-03-04", ("2026-03-03", "2026-03-03", 1)),
        (asked("last_month"), "2026-03-01", ("2026-02-01", "2026-02-28", 28)),
        (asked("custom", "2020-01-01", "2020-12-31"), "2026-02-20", ("2026-02-20", "2026-02-20")),
        (asked("custom", "2027-01-01", "2027-12-31"), "2026-02-20", ("2026-03-04", "2026-03-04")),
        # A site without any event has today.
        (asked("last30"), None, ("2026-03-04", "2026-03-04", 1)),
        (asked("last_month"), None, ("2026-02-01", "2026-02-28", 28)),
        (asked("custom", "2020-01-01", "2020-12-31"), None, ("2026-03-04", "2026-03-04")),
        (asked("custom", "2020-01-01", "2030-12-31"), None, ("2026-03-04", "2026-03-04")),
        # Its first event came with a clock that was a day ahead.
        (asked("last7"), "2026-03-05", ("2026-03-04", "2026-03-04", 1)),
    ],
)
def test_a_range_is_drawn_into_the_history(
    days: Asked, first_day: str | None, expected: tuple[str, ...]
) -> None:
    found = days.within(None if first_day is None else number(first_day))
    assert shown(found)[: len(expected)] == expected


def test_today_is_the_sites() -> None:
    now = at("UTC", "2026-03-04T10:30")
    for zone, today in (
        ("Pacific/Apia", "2026-03-04"),
        ("Pacific/Kiritimati", "2026-03-05"),
        ("Pacific/Midway", "2026-03-03"),
    ):
        range_, _ = plan(site(zone), RangeRequest("today"), now)
        assert text(range_.days.first) == today


requests = st.one_of(
    st.builds(RangeRequest, preset=st.sampled_from([p for p in PRESETS if p != "custom"])),
    st.tuples(dates, dates).map(
        lambda ends: RangeRequest("custom", min(ends).isoformat(), max(ends).isoformat())
    ),
)


@given(
    zone=st.sampled_from(ZONES),
    request_=requests,
    today=st.dates(date(2024, 1, 1), date(2026, 1, 31)),
    minute=st.integers(0, 1439),
    ages=st.lists(st.integers(-1, 500), max_size=6),
    heartbeat_age=st.none() | st.integers(0, 500),
)
@settings(max_examples=150)
async def test_what_is_read_is_exactly_the_range(
    zone: str,
    request_: RangeRequest,
    today: date,
    minute: int,
    ages: list[int],
    heartbeat_age: int | None,
) -> None:
    now = at(zone, today.isoformat()) + minute * MINUTE
    noon = at(zone, f"{today.isoformat()}T12:00")
    events = [Event(noon - age * 1440 * MINUTE) for age in ages]
    if heartbeat_age is not None:
        # Engaged time without a page view, perhaps before the first one.
        events.append(Event(noon - heartbeat_age * 1440 * MINUTE, "/read", engaged_s=5.0))
    history = PlainHistory(zone, events)
    asked_, query = plan(site(zone), request_, now, rank_by="engaged_s")
    days, found = await read(history, asked_, query, 1)

    assert days == asked_.within(found.first_day)
    limits = asked_.limits(found.first_day)
    assert limits.last == asked_.today
    assert days.last <= asked_.today
    inside = limits.first <= days.first
    assert inside or request_.preset != "custom"
    again = PlainHistory(zone, events)
    exactly = replace(query, first_day=days.first, last_day=days.last)
    assert found == await again.history(exactly, 1)
    assert len(history.asked) <= 2


async def test_one_read_is_enough_unless_the_range_is_outside() -> None:
    zone = "Europe/Zurich"
    now = at(zone, "2026-03-04T12:00")
    for request_, reads in (
        (RangeRequest(), 1),
        (RangeRequest("last90"), 1),
        (RangeRequest("last_month"), 1),
        (RangeRequest("custom", "2026-01-01", "2027-01-01"), 1),
        (RangeRequest("custom", "2027-01-01", "2027-02-01"), 1),
        (RangeRequest("custom", "2020-01-01", "2021-01-01"), 2),
    ):
        history = PlainHistory(zone, [Event(now - 5 * 1440 * MINUTE)])
        asked_, query = plan(site(zone), request_, now)
        await read(history, asked_, query, 1)
        assert len(history.asked) == reads, request_
