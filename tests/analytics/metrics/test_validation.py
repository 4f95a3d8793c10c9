"""Parameters become a range and a page, or all that is wrong with them at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from footfall.analytics.metrics.validation import (
    DAY_US,
    HOUR_US,
    TIME_MAX_US,
    TIME_MIN_US,
    MetricRequest,
    parse,
)
from footfall.errors import (
    InvalidInputError,
    InvalidParametersError,
    NotFoundError,
    ParameterFault,
)

START, END = "2026-01-01T00:00:00Z", "2026-01-31T23:59:59Z"


def us(*when: int) -> int:
    return (datetime(*when, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(  # type: ignore[arg-type,misc]  # six or seven numbers
        microseconds=1
    )


def faults(**parameters: str | None) -> list[tuple[str, str, str]]:
    """Each fault's parameter, message and kind."""
    given = {"time_start": START, "time_end": END} | parameters
    with pytest.raises(InvalidParametersError) as caught:
        parse(MetricRequest("flow_runs", **given))  # type: ignore[arg-type]
    error = caught.value
    assert error.reason == "INVALID_PARAMETERS"
    assert [v.field for v in error.violations] == [f.location[1] for f in error.faults]
    assert all(fault.location[0] == "query" for fault in error.faults)
    return [(fault.location[1], fault.message, fault.kind) for fault in error.faults]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-15T10:30:00Z", us(2026, 1, 15, 10, 30)),
        ("2026-01-15T10:30Z", us(2026, 1, 15, 10, 30)),
        ("2026-01-15 10:30:00z", us(2026, 1, 15, 10, 30)),
        ("2026-01-15T10:30:00+00:00", us(2026, 1, 15, 10, 30)),
        ("2026-01-15T10:30:00.123456+00:00", us(2026, 1, 15, 10, 30, 0, 123456)),
        ("2026-01-15T10:30:00.5Z", us(2026, 1, 15, 10, 30, 0, 500_000)),
        ("2026-01-15T10:30:00.123456789Z", us(2026, 1, 15, 10, 30, 0, 123456)),
        ("2026-01-15T10:30:00+05:45", us(2026, 1, 15, 4, 45)),
        ("2026-01-15T10:30:00-0930", us(2026, 1, 15, 20, 0)),
        ("2026-01-15T10:30:00+02", us(2026, 1, 15, 8, 30)),
        # A plus sign that was not percent-encoded.
        ("2026-01-15T10:30:00 02:00", us(2026, 1, 15, 8, 30)),
        ("2024-02-29T00:00:00Z", us(2024, 2, 29)),
        ("1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_times_are_read_to_the_microsecond(text: str, moment: int) -> None:
    asked = parse(MetricRequest("flow_runs", text, "2027-01-01T00:00:00Z"))
    assert asked.start_us == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "yesterday",
        "1767225600",
        "2026-01-01",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:30:00Z",
        "2026-01-01T10:61:00Z",
        "2026-01-01T10:00:00+25:00",
        "2026-01-01T10:00:00+02:60",
        "2026-01-01T10:00.5Z",
        "2026-01-01T10:00:00Z ",
        "0001-01-01T00:00:00+01:00",
        "٢٠٢٦-01-01T00:00:00Z",
        "2026-01-01T10:00:00Z" + "0" * 100_000,
    ],
)
def test_what_is_no_time_is_told_so(text: str) -> None:
    expected = [("time_start", "invalid datetime format", "value_error.datetime")]
    assert faults(time_start=text) == expected


@pytest.mark.parametrize("at_us", [TIME_MIN_US - 1, TIME_MAX_US + 1, 2**63])
def test_times_as_numbers_have_the_same_bounds(at_us: int) -> None:
    with pytest.raises(InvalidParametersError, match="time_end: invalid datetime format"):
        parse(MetricRequest("flow_runs", START, at_us))
    ends = MetricRequest("flow_runs", TIME_MIN_US, TIME_MAX_US)
    assert (parse(ends).start_us, parse(ends).end_us) == (TIME_MIN_US, TIME_MAX_US)
    assert ends == MetricRequest("flow_runs", us(1, 1, 1), us(9999, 12, 31, 23, 59, 59, 999_999))


@pytest.mark.parametrize(
    "text", ["2026-01-01T10:00:00", "2026-01-01 10:00", "2026-01-01T10:00:00.1"]
)
def test_a_time_needs_an_offset(text: str) -> None:
    expected = [("time_end", "timezone offset is required", "value_error.datetime.tz")]
    assert faults(time_end=text) == expected


@pytest.mark.parametrize("name", ["page", "page_size"])
@pytest.mark.parametrize("text", ["", "one", "1.0", "1e3", "0x10", "1_000", "١", "9" * 5000])
def test_what_is_no_number_is_told_so(name: str, text: str) -> None:
    assert faults(**{name: text}) == [(name, "value is not a valid integer", "type_error.integer")]


@pytest.mark.parametrize("name", ["page", "page_size"])
@pytest.mark.parametrize("text", ["0", "-1", "-99999999999999999999"])
def test_pages_begin_with_one(name: str, text: str) -> None:
    message = "ensure this value is greater than or equal to 1"
    assert faults(**{name: text}) == [(name, message, "value_error.number.not_ge")]


@pytest.mark.parametrize("text", ["201", "99999999999999999999"])
def test_pages_have_two_hundred_rows_at_most(text: str) -> None:
    message = "ensure this value is less than or equal to 200"
    assert faults(page_size=text) == [("page_size", message, "value_error.number.not_le")]


def test_all_faults_are_told_at_once() -> None:
    assert faults(time_start=None, time_end="2026-01-01T00:00:00", page="0", page_size="x") == [
        ("time_start", "field required", "value_error.missing"),
        ("time_end", "timezone offset is required", "value_error.datetime.tz"),
        (
            "page",
            "ensure this value is greater than or equal to 1",
            "value_error.number.not_ge",
        ),
        ("page_size", "value is not a valid integer", "type_error.integer"),
    ]


def test_violations_have_reasons_that_programs_test() -> None:
    with pytest.raises(InvalidParametersError) as caught:
        parse(MetricRequest("flow_runs", page_size="201"))
    assert [(v.field, v.code) for v in caught.value.violations] == [
        ("time_start", "VALUE_ERROR_MISSING"),
        ("time_end", "VALUE_ERROR_MISSING"),
        ("page_size", "VALUE_ERROR_NUMBER_NOT_LE"),
    ]
    assert caught.value.faults[0] == ParameterFault(
        ("query", "time_start"), "field required", "value_error.missing"
    )


def test_pages_have_defaults_and_bounds() -> None:
    asked = parse(MetricRequest("api_calls_log", START, END))
    assert (asked.page, asked.page_size) == (1, 50)
    asked = parse(MetricRequest("api_calls_log", START, END, "+7", " 200 "))
    assert (asked.page, asked.page_size) == (7, 200)


@pytest.mark.parametrize("end", [START, "2025-12-31T23:59:59Z", "2026-01-01T02:00:00+02:00"])
def test_a_range_begins_before_it_ends(end: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^time_start must be before time_end$") as caught:
        parse(MetricRequest("flow_runs", START, end))
    assert not isinstance(caught.value, InvalidParametersError)


@pytest.mark.parametrize("name", ["", "flow_run", "FLOW_RUNS", "flow_runs ", "x" * 10_000])
def test_an_unknown_metric_is_not_found_whatever_else_is_wrong(name: str) -> None:
    with pytest.raises(NotFoundError, match=r"^Unknown metric$") as caught:
        parse(MetricRequest(name, page="x"))
    assert caught.value.reason == "UNKNOWN_METRIC"


@pytest.mark.parametrize(
    ("end", "step_us"),
    [
        ("2026-01-01T00:00:01Z", HOUR_US),
        ("2026-01-04T00:00:00Z", HOUR_US),
        ("2026-01-04T00:00:00.000001Z", DAY_US),
        (END, DAY_US),
    ],
)
def test_more_than_72_hours_have_daily_buckets(end: str, step_us: int) -> None:
    assert parse(MetricRequest("flow_runs", START, end)).bucket_us == step_us


def test_a_series_does_not_span_ages() -> None:
    ages = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
    with pytest.raises(InvalidInputError, match="10000 days"):
        parse(MetricRequest("errors_over_time", *ages))
    assert parse(MetricRequest("errors", *ages)).metric.name == "errors"
