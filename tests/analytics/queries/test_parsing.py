"""What is read of batch queries, and every fault of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from footfall.analytics.days import day_text, to_day
from footfall.analytics.queries.model import Condition, EventField
from footfall.analytics.queries.parsing import Defaults, Parameter, Query, parse_queries
from footfall.errors import InvalidQueryError

#: 2026-03-04T23:30:00Z, a Wednesday; in Zurich it is Thursday.
NOW = 1_772_667_000_000_000
ZURICH = Defaults("Europe/Zurich")


def parse(document: Any, defaults: Defaults = ZURICH) -> Query:
    (query,) = parse_queries([document], defaults, NOW)
    if isinstance(query, InvalidQueryError):
        raise query
    return query


def faults(document: Any, defaults: Defaults = ZURICH) -> dict[str, str]:
    """The messages by field, suggestions behind them."""
    with pytest.raises(InvalidQueryError) as caught:
        parse(document, defaults)
    assert caught.value.reason == "VALIDATION_ERROR"
    return {fault.field: f"{fault.message} {fault.suggestion}" for fault in caught.value.faults}


def days(parameter: Parameter) -> tuple[str, str]:
    return day_text(parameter.first_day), day_text(parameter.last_day)


@pytest.mark.parametrize(
    ("preset", "first", "last"),
    [
        ("today", "2026-03-05", "2026-03-05"),
        ("yesterday", "2026-03-04", "2026-03-04"),
        ("last_7d", "2026-02-27", "2026-03-05"),
        ("last_14d", "2026-02-20", "2026-03-05"),
        ("last_30d", "2026-02-04", "2026-03-05"),
        ("last_90d", "2025-12-06", "2026-03-05"),
        ("this_week", "2026-03-02", "2026-03-05"),
        ("last_week", "2026-02-23", "2026-03-01"),
        ("this_month", "2026-03-01", "2026-03-05"),
        ("last_month", "2026-02-01", "2026-02-28"),
        ("this_year", "2026-01-01", "2026-03-05"),
    ],
)
def test_presets(preset: str, first: str, last: str) -> None:
    (parameter,) = parse({"parameters": ["summary"], "preset": preset}).parameters
    assert days(parameter) == (first, last)


@pytest.mark.parametrize("spelt", ["groupBy", "group_by"])
def test_groups_are_refused_and_told_what_is_right(spelt: str) -> None:
    query = {"parameters": ["summary", {"name": "pages", spelt: "path"}], "preset": "today"}
    found = faults({**query, spelt: ["country"]})
    assert list(found) == ["groupBy", "parameters[1].groupBy"]
    assert all("country" in each and "/v1/query/custom" in each for each in found.values())
    for nothing in (None, [], ""):
        parse({"parameters": ["summary"], "preset": "today", spelt: nothing})


def test_today_is_that_of_the_time_zone() -> None:
    body = {"parameters": ["summary"], "preset": "today"}
    (parameter,) = parse({**body, "timeZone": "America/New_York"}).parameters
    assert days(parameter)[0] == "2026-03-04"


def test_which_dates_count() -> None:
    outer = Defaults("UTC", "2026-01-01", "2026-01-02", "last_7d")
    dates = {"start_date": "2026-02-01", "endDate": "2026-02-02"}
    cases: list[tuple[dict[str, Any], tuple[str, str]]] = [
        ({}, ("2026-01-01", "2026-01-02")),
        ({"preset": "today"}, ("2026-03-04", "2026-03-04")),
        ({**dates, "preset": "today"}, ("2026-02-01", "2026-02-02")),
        (
            {
                **dates,
                "parameters": [
                    {"name": "pages", "startDate": "2026-02-03", "endDate": "2026-02-03"}
                ],
            },
            ("2026-02-03", "2026-02-03"),
        ),
    ]
    for body, expected in cases:
        (parameter,) = parse({"parameters": ["pages"], **body}, outer).parameters
        assert days(parameter) == expected
    (parameter,) = parse({"parameters": ["pages"]}, Defaults("UTC", preset="yesterday")).parameters
    assert days(parameter) == ("2026-03-03", "2026-03-03")


def test_both_cases_of_names_and_what_is_left_out() -> None:
    query = parse(
        {
            "parameters": [{"name": "events_by_date", "id": "e", "granularity": "hour"}, "pages"],
            "preset": "last_7d",
            "sortBy": "date",
            "sort_order": "ASC",
            "limit": "50",
            "page": 2.0,
            "somethingElse": True,
        }
    )
    assert [(p.label, p.granularity) for p in query.parameters] == [
        ("e", "hourly"),
        ("pages", "daily"),
    ]
    assert (query.sort_by, query.descending, query.limit, query.page) == ("date", False, 50, 2)
    plain = parse({"parameters": ["pages"], "preset": "today"})
    assert (plain.id, plain.limit, plain.limited, plain.page) == ("query-1", 100, False, 1)


@pytest.mark.parametrize(
    ("used", "condition"),
    [
        (("path", "eq", "/news/"), Condition(EventField.PATH, "in", ("/news",))),
        (("path", "ne", "/"), Condition(EventField.PATH, "not_in", ("/",))),
        (("path", "contains", "/n/"), Condition(EventField.PATH, "contains", ("/n/",))),
        (("country", "in", ["ch", "Unknown"]), Condition(EventField.COUNTRY, "in", ("CH", ""))),
        (("referrer", "notIn", ["direct", "https://Google.com/"]),
         Condition(EventField.REFERRER_HOST, "not_in", ("", "google.com"))),
        (("utm_source", "eq", 7), Condition(EventField.UTM_SOURCE, "in", ("7",))),
        (("os_name", "startsWith", "i"), Condition(EventField.OS, "starts_with", ("i",))),
    ],
)  # fmt: skip
def test_filters(used: tuple[str, str, Any], condition: Condition) -> None:
    field, op, value = used
    filters = [{"field": field, "op": op, "value": value}]
    query = parse({"parameters": ["pages"], "preset": "today", "filters": filters})
    assert [each.condition for each in query.filters] == [condition]
    assert not query.parameters[0].error


def test_what_fails_a_parameter_alone() -> None:
    query = parse(
        {
            "parameters": ["sumary", "pages", "active_stats", "xyzzy"],
            "preset": "today",
            "filters": [{"field": "contry", "op": "eq", "value": "CH"}],
        }
    )
    errors = [parameter.error for parameter in query.parameters]
    assert errors[0] == "Unknown query type 'sumary'. Did you mean 'summary'?"
    assert errors[1].endswith("not permitted for top_pages. Did you mean 'country'?")
    assert errors[2].endswith("not permitted for active_stats.")
    assert errors[3] == "Unknown query type 'xyzzy'."


def used(**filters: Any) -> dict[str, Any]:
    return {"filters": [filters]}


GOOD = {"parameters": ["events_by_date"], "preset": "today"}


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"parameters": None}, "parameters", "array of names"),
        ({"parameters": "summary"}, "parameters", "array of names"),
        ({"parameters": [{}]}, "parameters[0]", "must be a name"),
        ({"parameters": [7]}, "parameters[0]", "must be a name"),
        ({"parameters": ["pages"] * 101}, "parameters", "at most 100"),
        ({"preset": "last_8d"}, "preset", "Did you mean 'last_"),
        ({"preset": None}, "startDate", "are required"),
        ({"startDate": "2026-02-30", "endDate": "2026-03-01"}, "startDate", "must be a date"),
        ({"startDate": "2026-02-01"}, "endDate", "is missing"),
        ({"startDate": "2026-02-02", "endDate": "2026-02-01"}, "startDate", "is after"),
        ({"startDate": "1971-01-01", "endDate": "2026-02-01"}, "startDate", "at most 10000 days"),
        ({"startDate": "2026-01-01", "endDate": "2999-01-01"}, "endDate", "from 1970 to 2100"),
        ({"granularity": "hourli"}, "granularity", "Did you mean 'hourly'?"),
        ({"granularity": "hour", "preset": "last_90d"}, "parameters[0].granularity", "at most 30"),
        ({"limit": 0}, "limit", "from 1 to 10000"),
        ({"limit": 10_001}, "limit", "from 1 to 10000"),
        ({"limit": True}, "limit", "whole number"),
        ({"limit": 1.5}, "limit", "whole number"),
        ({"page": -1}, "page", "whole number"),
        ({"page": [1]}, "page", "whole number"),
        ({"sortOrder": "up"}, "sortOrder", "asc or desc"),
        ({"sortBy": 3}, "sortBy", "must be a text"),
        ({"timezone": "Europe/Zürich"}, "timezone", "Europe/Zurich"),
        ({"filters": {}}, "filters", "must be an array"),
        ({"filters": [3]}, "filters[0]", "must be an object"),
        (used(op="eq", value="x"), "filters[0].field", "is required"),
        (used(field="path", op="eqq", value="x"), "filters[0].op", "'eq'"),
        (used(field="path", op="eq"), "filters[0].value", "must be a text"),
        (used(field="path", op="in", value=[]), "filters[0].value", "from 1 to"),
        (used(field="path", op="gt", value=["a", "b"]), "filters[0].value", "one value"),
        (used(field="path", op="eq", value="a\0"), "filters[0].value", "NUL"),
        (used(field="path", op="eq", value="a" * 3000), "filters[0].value", "2048"),
        ({"filters": [{"field": "path", "op": "eq", "value": "a"}] * 51}, "filters", "at most 50"),
    ],
)  # fmt: skip
def test_faults(change: dict[str, Any], field: str, says: str) -> None:
    found = faults({**GOOD, **change})
    assert set(found) == {field}
    assert says in found[field]


@pytest.mark.parametrize("document", [None, 7, "summary", [], True])
def test_what_is_no_query(document: Any) -> None:
    assert set(faults(document)) == {"body"}


@pytest.mark.parametrize("count", [0, 101])
def test_how_many_queries_a_call_may_have(count: int) -> None:
    with pytest.raises(InvalidQueryError, match="from 1 to 100"):
        parse_queries([GOOD] * count, ZURICH, NOW)


def test_all_faults_at_once_and_the_others_unharmed() -> None:
    bad = {**GOOD, "limit": -1, "page": "x", "granularity": "minute"}
    first, second = parse_queries([bad, GOOD], ZURICH, NOW)
    assert isinstance(first, InvalidQueryError)
    assert [fault.field for fault in first.faults] == ["granularity", "limit", "page"]
    assert first.message.endswith("(2 more)")
    assert isinstance(second, Query)
    assert second.id == "query-2"


def test_thirty_days_by_the_hour_are_enough() -> None:
    (parameter,) = parse({**GOOD, "preset": "last_30d", "granularity": "hourly"}).parameters
    assert to_day(date(2026, 3, 5)) == parameter.last_day
