"""The published documents, to the byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from footfall.analytics.metrics import shapes
from footfall.analytics.metrics.answers import Answer, Empty, Page, Result, Table
from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.costs import Account, Ledger
from footfall.analytics.metrics.documents import document
from footfall.analytics.metrics.pricing import PICODOLLARS
from footfall.analytics.metrics.questions import ApiCall, Calls, Tally
from footfall.analytics.metrics.validation import Asked, MetricRequest, parse


def asked(metric: str, start: str, end: str, **page: str) -> Asked:
    return parse(MetricRequest(metric, start, end, **page))


def text(metric: str, result: Result, warnings: tuple[str, ...] = ()) -> str:
    return document(Answer(METRICS[metric], result, warnings)).decode()


def scalar(metric: str, value: float | None) -> str:
    return text(metric, shapes.scalar(METRICS[metric].columns[0], value))


def table(metric: str, *rows: tuple[Any, ...]) -> Table:
    tallies = [Tally(key, 0, values) for key, *values in rows]  # type: ignore[arg-type]  # numbers
    columns = METRICS[metric].columns
    result, warnings = shapes.table(columns, shapes.tally_rows(columns, tallies))
    assert not warnings
    assert isinstance(result, Table)
    return result


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("flow_runs", 1234, '{"value":1234,"prefix":null,"suffix":" runs"}'),
        ("flow_runs", 0, '{"value":0,"prefix":null,"suffix":" runs"}'),
        ("average_run_time", 1_234_567.5, '{"value":1.235,"prefix":null,"suffix":" s"}'),
        ("messages_per_conversation", 10 / 3, '{"value":3.33,"prefix":null,"suffix":null}'),
        ("ai_models_total_cost", 0.25, '{"value":0.25,"prefix":"$","suffix":null}'),
        # More than a double holds: whole numbers stay whole.
        ("ai_models_total_tokens", 2**60 + 1, '{"value":1152921504606846977,"prefix":null,'
         '"suffix":" tokens"}'),
    ],
)  # fmt: skip
def test_scalars(metric: str, value: float, expected: str) -> None:
    assert scalar(metric, value) == f'{{"type":"simple","value":{expected}}}'


def test_a_mean_of_nothing_is_empty() -> None:
    assert scalar("average_run_time", None) == '{"type":"empty","value":{}}'


def test_money_is_the_nearest_double() -> None:
    assert shapes.dollars(3 * PICODOLLARS // 10) == 0.3
    assert shapes.dollars(sum([PICODOLLARS // 10] * 3)) == 0.3
    assert shapes.dollars(PICODOLLARS, 3) == 1 / 3


def test_series_name_hours_and_fill_them_with_zeros() -> None:
    question = asked("errors_over_time", "2026-01-15T08:59:59.5Z", "2026-01-15T11:00:00Z")
    tallies = [Tally("", 1_768_467_600_000_000, (42,))]
    assert text("errors_over_time", shapes.series(question, tallies)) == (
        '{"type":"barchart","value":{"values":['
        '{"name":"2026-01-15T08:00:00Z","values":{"errors":0},"value_mapping":null},'
        '{"name":"2026-01-15T09:00:00Z","values":{"errors":42},"value_mapping":null},'
        '{"name":"2026-01-15T10:00:00Z","values":{"errors":0},"value_mapping":null},'
        '{"name":"2026-01-15T11:00:00Z","values":{"errors":0},"value_mapping":null}]}}'
    )


def test_series_name_days_across_the_end_of_a_month() -> None:
    question = asked("run_time_over_time", "2024-02-28T23:00:00Z", "2024-03-03T00:00:00Z")
    tallies = [Tally("", 1_709_164_800_000_000, (1_000_000.0, 2_500_400.0, 2_999_999.0))]
    body = json.loads(text("run_time_over_time", shapes.series(question, tallies)))
    assert [row["name"] for row in body["value"]["values"]] == [
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
        "2024-03-02",
        "2024-03-03",
    ]
    assert body["value"]["values"][1]["values"] == {"p25": 1.0, "p50": 2.5, "p90": 3.0}


@pytest.mark.parametrize("tallies", [[], [Tally("", 0, (None, None, None))]])
def test_a_series_of_nothing_is_empty(tallies: list[Tally]) -> None:
    question = asked("run_time_over_time", "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z")
    assert shapes.series(question, tallies) == Empty()


def test_tables_have_headings_rows_and_affixes_in_the_published_order() -> None:
    rows = table("flow_per_user", ("u1", 2), ("u2", 3), ("", 3), ("é", 2))
    assert text("flow_per_user", rows) == (
        '{"type":"table","value":{"headings":["User","Runs"],"rows":['
        '{"User":"(unknown)","Runs":3},{"User":"u2","Runs":3},{"User":"u1","Runs":2},'
        '{"User":"é","Runs":2}],"prefixes":null,"suffixes":null}}'
    )


def test_a_cost_that_is_not_known_is_null_and_comes_last() -> None:
    ledger = Ledger(
        {
            "none": Account(5, 0, known=False, unknown=True),
            "free": Account(7, 0, known=True),
            "part": Account(9, PICODOLLARS // 4, known=True, unknown=True),
            "cached": Account(3),
        },
        {("", "none"), ("acme", "part")},
    )
    columns = METRICS["tokens_cost"].columns
    result, _ = shapes.table(columns, shapes.cost_rows(ledger))
    assert text("tokens_cost", result, tuple(ledger.warnings())) == (
        '{"type":"table","value":{"headings":["Model","Tokens","Cost"],"rows":['
        '{"Model":"part","Tokens":9,"Cost":0.25},{"Model":"cached","Tokens":3,"Cost":0.0},'
        '{"Model":"free","Tokens":7,"Cost":0.0},{"Model":"none","Tokens":5,"Cost":null}],'
        '"prefixes":{"Cost":"$"},"suffixes":null},"warnings":['
        '"No price is known for the model \\"none\\"; costs leave its operations out.",'
        '"No price is known for the model \\"part\\" of the provider \\"acme\\"; costs leave its '
        'operations out."]}'
    )


def test_many_models_without_a_price_are_counted() -> None:
    warnings = Ledger({}, {("", f"m{index:04}") for index in range(1000)}).warnings()
    assert len(warnings) == 51
    assert warnings[-1] == "Nor is one known for 950 more models."


def test_times_are_not_what_a_table_is_sorted_by() -> None:
    rows = table(
        "kb_user_activity",
        ("a", 9, 1, 1, 1_768_465_800_999_999),
        ("b", 1, 1, 2, 0),
    )
    assert json.loads(text("kb_user_activity", rows))["value"]["rows"] == [
        {
            "User": "b",
            "Uploaded": 1,
            "Processed": 1,
            "Failed": 2,
            "Last upload": "1970-01-01T00:00:00Z",
        },
        {
            "User": "a",
            "Uploaded": 9,
            "Processed": 1,
            "Failed": 1,
            "Last upload": "2026-01-15T08:30:00Z",
        },
    ]


def test_a_table_of_no_rows_is_empty() -> None:
    assert shapes.table(METRICS["flow_per_user"].columns, []) == (Empty(), [])


def test_a_table_that_is_too_long_says_so() -> None:
    columns = METRICS["flow_per_user"].columns
    rows = [(f"u{index:05}", index) for index in range(shapes.ROWS_MAX + 1)]
    result, warnings = shapes.table(columns, rows)
    assert isinstance(result, Table)
    assert (result.rows[0], len(result.rows)) == (("u10000", 10_000), 10_000)
    assert warnings == ["The first 10000 of 10001 rows are shown."]


def test_pages() -> None:
    question = asked(
        "api_calls_log", "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z", page="2", page_size="2"
    )
    calls = Calls(
        5,
        [
            ApiCall("/v1/workflows/{id}/runs", "POST", 200, 142_499),
            ApiCall("footfall.v1.MetricsService/GetMetric", "GRPC", 504, 30_000_000),
        ],
    )
    assert text("api_calls_log", shapes.page(question, calls)) == (
        '{"type":"table","value":{"headings":["Endpoint","Method","Status","Duration"],"items":['
        '{"Endpoint":"/v1/workflows/{id}/runs","Method":"POST","Status":200,"Duration":"142ms"},'
        '{"Endpoint":"footfall.v1.MetricsService/GetMetric","Method":"GRPC","Status":504,'
        '"Duration":"30000ms"}],"total":5,"pages":3,"size":2,"page":2}}'
    )
    beyond = shapes.page(question, Calls(1, []))
    assert isinstance(beyond, Page)
    assert (list(beyond.items), beyond.total, beyond.pages, beyond.page) == ([], 1, 1, 2)
    assert shapes.page(question, Calls(0, [])) == Empty()
