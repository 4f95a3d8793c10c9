"""Parameters to queries, and series to answers; buckets are recounted with the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from footfall.analytics.model import Aggregation, ApiRequestField, Granularity, Series
from footfall.analytics.timeseries import (
    TimeseriesRequest,
    build_answer,
    parse_aggregation,
    parse_granularity,
    parse_include,
    parse_time,
    plan,
)
from footfall.errors import InvalidInputError

START = 1_412_605_036
END = 1_412_691_436


def request(**changes: object) -> TimeseriesRequest:
    return TimeseriesRequest(**({"start": START, "end": END} | changes))  # type: ignore[arg-type]


def refusal(**changes: object) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        plan("app", request(**changes))
    return caught.value


def floor_by_calendar(moment: datetime, unit: str) -> datetime:
    """The start of the bucket, by the clock's hands and not by division."""
    if unit == "second":
        return moment.replace(microsecond=0)
    if unit == "minute":
        return moment.replace(second=0, microsecond=0)
    if unit == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if unit == "day" else day - timedelta(days=day.weekday())


@pytest.mark.parametrize("unit", ["second", "minute", "hour", "day", "week"])
@pytest.mark.parametrize(
    ("start", "end"),
    [(START, START + 3601), (-1_000_000, -999_000), (0, 1), (1_413_295_200, 1_413_381_600)],
)
def test_a_range_is_widened_to_whole_buckets(unit: str, start: int, end: int) -> None:
    query = plan("app", request(start=start, end=end, granularity=unit))
    first = floor_by_calendar(datetime.fromtimestamp(start, UTC), unit)
    last = floor_by_calendar(datetime.fromtimestamp(end, UTC), unit)
    if last < datetime.fromtimestamp(end, UTC):
        step = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}[unit]
        last += timedelta(seconds=step)
    assert (query.start_s, query.end_s) == (first.timestamp(), last.timestamp())


def test_the_published_example_is_widened_to_25_hours() -> None:
    query = plan("app", request(start=1_413_298_000, end=1_413_384_400, granularity="hour"))
    assert (query.start_s, query.end_s) == (1_413_295_200, 1_413_385_200)


def test_without_a_granularity_the_range_stays() -> None:
    query = plan("app", request())
    assert (query.start_s, query.end_s, query.granularity) == (START, END, None)


def test_empty_parameters_count_as_absent() -> None:
    empty = request(value="", granularity="", aggregation="", group="", include=("", ""))
    assert plan("app", empty) == plan("app", request())
    assert plan("app", empty).aggregation == Aggregation("count")


def test_text_and_numbers_mean_the_same() -> None:
    assert plan("app", request(start=str(START), end=str(END))) == plan("app", request())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", Granularity(1)), ("90", Granularity(90)), ("007", Granularity(7)), ("", None)],
)
def test_granularity_in_seconds(text: str, expected: Granularity | None) -> None:
    assert parse_granularity(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "+60", "1e3", "hours", "٣", " 60", "9" * 19])
def test_other_granularities_are_refused(text: str) -> None:
    error = refusal(granularity=text)
    assert error.reason == "INVALID_PARAMETER"
    assert error.metadata["parameter"] == "granularity"
    assert "granularity must be" in error.message


def test_every_percentile_and_no_other() -> None:
    for level in range(1, 100):
        assert parse_aggregation(f"percentile_{level}") == Aggregation("percentile", level)
    for text in ("percentile_0", "percentile_100", "percentile_5.5", "percentile_05", "median"):
        with pytest.raises(InvalidInputError, match="percentile_1 to percentile_99"):
            parse_aggregation(text)


@pytest.mark.parametrize(
    ("changes", "parameter", "suggestion"),
    [
        ({"aggregation": "avrage"}, "aggregation", ""),
        ({"aggregation": "Mean"}, "aggregation", "Did you mean mean?"),
        ({"granularity": "hours"}, "granularity", "Did you mean hour?"),
        ({"group": "consumerid"}, "group", "Did you mean consumer_id?"),
        ({"group": "nothing-like-it"}, "group", ""),
        ({"include": ["metod:GET"]}, "include", "Did you mean method?"),
        ({"include": ["GET"]}, "include", ""),
        ({"include": ["status_code:teapot"]}, "include", ""),
        ({"value": "bytes"}, "value", ""),
        ({"start": "now"}, "start", ""),
        ({"end": "14126914.5"}, "end", ""),
        ({"end": ""}, "end", ""),
        ({"start": "1_000"}, "start", ""),
        ({"end": 10**12}, "end", ""),
    ],
)
def test_a_refusal_names_the_parameter(
    changes: dict[str, object], parameter: str, suggestion: str
) -> None:
    error = refusal(**changes)
    assert error.reason == "INVALID_PARAMETER"
    assert error.metadata == {"parameter": parameter}
    assert [violation.field for violation in error.violations] == [parameter]
    assert parameter in error.message
    assert error.message.endswith(suggestion or ".")


def test_a_wrong_value_is_shown_short() -> None:
    error = refusal(granularity="x" * 10_000)
    assert len(error.message) < 400


@pytest.mark.parametrize(("start", "end"), [(5, 5), (6, 5)])
def test_an_empty_range_is_refused(start: int, end: int) -> None:
    error = refusal(start=start, end=end)
    assert error.reason == "INVALID_PARAMETER"
    assert f"{start} is not before {end}" in error.message


def test_times_end_with_the_year_9999() -> None:
    assert (
        parse_time("end", "253402300800") == datetime(9999, 12, 31, tzinfo=UTC).timestamp() + 86400
    )
    with pytest.raises(InvalidInputError):
        parse_time("end", "253402300801")


def test_a_hundred_thousand_points_and_no_more() -> None:
    assert plan("app", request(start=0, end=100_000, granularity="1")).end_s == 100_000
    error = refusal(start=0, end=100_001, granularity="second")
    assert "100001" in error.message
    assert "100000" in error.message
    # One bucket more by widening is one point more.
    assert "100001" in refusal(start=30, end=30 + 6_000_000, granularity="minute").message


def test_filters_split_at_the_first_colon_and_combine() -> None:
    include = parse_include(
        [
            "url:/a:b?c=d",
            "method:GET",
            "method:POST",
            "method:GET",
            "",
            "function:",
            "status_code:404",
        ]
    )
    assert include == (
        (ApiRequestField.METHOD, ("GET", "POST")),
        (ApiRequestField.URL, ("/a:b?c=d",)),
        (ApiRequestField.FUNCTION, ("",)),
        (ApiRequestField.STATUS_CODE, ("404",)),
    )


def test_the_order_of_filters_does_not_matter() -> None:
    assert parse_include(["method:B", "url:é", "method:A"]) == parse_include(
        ["method:A", "method:B", "url:é"]
    )


def test_too_many_filters_are_refused() -> None:
    assert parse_include(f"url:/{number}" for number in range(1000))
    with pytest.raises(InvalidInputError, match="1001"):
        parse_include(f"url:/{number}" for number in range(1001))


@pytest.mark.parametrize("granularity", ["", "hour"])
@pytest.mark.parametrize("aggregation", ["count", "sum"])
def test_an_ungrouped_count_of_nothing_is_zero(granularity: str, aggregation: str) -> None:
    query = plan("app", request(granularity=granularity, aggregation=aggregation))
    document = build_answer(query, []).document()
    assert document["groups"] == {"app": [(query.start_s, 0)]}
    assert type(document["groups"]["app"][0][1]) is int


@pytest.mark.parametrize(
    "changes",
    [
        {"aggregation": "mean"},
        {"aggregation": "max"},
        {"aggregation": "percentile_5"},
        {"group": "url"},
    ],
)
def test_anything_else_of_nothing_is_no_group(changes: dict[str, object]) -> None:
    assert build_answer(plan("app", request(**changes)), []).document()["groups"] == {}


def test_an_ungrouped_series_is_keyed_by_the_application() -> None:
    query = plan("app", request(granularity="day"))
    answer = build_answer(query, [Series("", (0, 86400), (3, 4))])
    assert answer.document() == {
        "groups": {"app": [(0, 3), (86400, 4)]},
        "start": 1_412_553_600,
        "end": 1_412_726_400,
        "granularity": 86_400_000,
    }


def test_without_a_granularity_the_bucket_is_the_range() -> None:
    query = plan("app", request(group="method"))
    answer = build_answer(query, [Series("GET", (START,), (1,)), Series("", (START,), (2,))])
    assert answer.document() == {
        "groups": {"GET": [(START, 1)], "": [(START, 2)]},
        "start": START,
        "end": END,
        "granularity": (END - START) * 1000,
    }


@pytest.mark.parametrize(
    ("aggregation", "integers"),
    [
        ("count", True),
        ("min", True),
        ("max", True),
        ("sum", True),
        ("mean", False),
        ("percentile_50", False),
    ],
)
def test_which_values_are_whole(aggregation: str, integers: bool) -> None:
    answer = build_answer(plan("app", request(aggregation=aggregation)), [])
    assert answer.integers is integers


def test_an_answer_of_too_many_points_is_refused() -> None:
    query = plan("app", request(group="url"))
    row = Series("", range(1000), range(1000))
    assert build_answer(query, [row] * 1000).groups
    with pytest.raises(InvalidInputError, match="1001000"):
        build_answer(query, [row] * 1001)
