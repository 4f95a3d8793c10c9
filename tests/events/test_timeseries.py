"""Time series against a recount in plain Python."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from typing import Any

import pytest

from footfall.analytics.model import (
    Aggregation,
    ApiRequestField,
    ApiRequestRow,
    Granularity,
    Series,
    TimeseriesQuery,
)
from footfall.errors import DeadlineError
from footfall.events import EventStore
from tests.events.traffic import APP, DAY, NOW, SECOND, api_batch, everything

MONDAY = 4 * 86_400

GRANULARITIES = [
    None,
    Granularity(1),
    Granularity(7),
    Granularity(60),
    Granularity(3600),
    Granularity(86_400),
    Granularity(7 * 86_400, MONDAY),
]
AGGREGATIONS = [
    Aggregation("count"),
    Aggregation("mean"),
    Aggregation("min"),
    Aggregation("max"),
    Aggregation("sum"),
    *(Aggregation("percentile", p) for p in (1, 29, 50, 57, 90, 99)),
]


def recount(query: TimeseriesQuery, rows: list[ApiRequestRow]) -> dict[str, dict[int, Any]]:
    values: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not query.start_s * SECOND <= row.ts_us < query.end_s * SECOND:
            continue
        if any(text(row, field) not in wanted for field, wanted in query.include):
            continue
        key = text(row, query.group) if query.group else query.application_id
        start = query.start_s
        if query.granularity:
            start = query.granularity.floor(row.ts_us // SECOND)
        values[key][start].append(row.response_us)
    return {
        key: {start: aggregate(query.aggregation, found) for start, found in by_time.items()}
        for key, by_time in values.items()
    }


def text(row: ApiRequestRow, field: ApiRequestField) -> str:
    value = getattr(row, field.value)
    return "" if value is None else str(value)


def aggregate(aggregation: Aggregation, values: list[int]) -> float:
    match aggregation.function:
        case "count":
            return len(values)
        case "mean":
            return sum(values) / len(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "sum":
            return sum(values)
        case "percentile":
            assert aggregation.percentile is not None
            ordered = sorted(values)
            below, rest = divmod((len(ordered) - 1) * aggregation.percentile, 100)
            above = ordered[min(below + 1, len(ordered) - 1)]
            return ordered[below] + (above - ordered[below]) * rest / 100


def agree(found: list[Series], expected: dict[str, dict[int, Any]], whole: bool) -> None:
    assert [series.key for series in found] == sorted(expected)
    for series in found:
        points = expected[series.key]
        assert list(series.times) == sorted(points)
        for at, value in zip(series.times, series.values, strict=True):
            if whole:
                assert type(value) is int
                assert value == points[at]
            else:
                assert type(value) is float
                assert math.isclose(value, points[at], rel_tol=1e-9)


def traffic() -> list[dict[str, Any]]:
    pick = random.Random(7)
    edges = [0, 1, SECOND - 1, SECOND, DAY - 1, DAY, 7 * DAY, 10 * DAY - 1]
    times = edges + [pick.randrange(10 * DAY) for _ in range(400)] + [5 * DAY] * 5
    return [
        {
            "ts_us": NOW - 10 * DAY + offset,
            "consumer_id": pick.choice(["alice", "bob", "", "zoë", "it's 100%"]),
            "method": pick.choice(["GET", "POST"]),
            "url": pick.choice(["/", "/a", "/a:b", ""]),
            "function": pick.choice(["unknown", ""]),
            "status_code": pick.choice([200, 404, 404, 500, None, -1, 0]),
            "response_us": pick.choice([0, 1, 2, 10, 999, 10**6, 10**12, pick.randrange(10**6)]),
        }
        for offset in times
    ]


def question(
    granularity: Granularity | None = None,
    aggregation: Aggregation = AGGREGATIONS[0],
    group: ApiRequestField | None = None,
    include: tuple[tuple[ApiRequestField, tuple[str, ...]], ...] = (),
) -> TimeseriesQuery:
    start_s, end_s = (NOW - 9 * DAY) // SECOND - 17, (NOW - DAY) // SECOND + 5
    if granularity:
        start_s, end_s = granularity.floor(start_s), granularity.ceil(end_s)
    return TimeseriesQuery(APP, start_s, end_s, granularity, aggregation, group, include)


async def filled(store: EventStore) -> list[ApiRequestRow]:
    store.commit([api_batch(traffic()), api_batch(traffic(), tenant_id="other")])
    return await everything(store)


async def test_every_granularity_group_and_aggregation(store: EventStore) -> None:
    rows = await filled(store)
    for granularity in GRANULARITIES:
        for group in (None, *ApiRequestField):
            for aggregation in AGGREGATIONS if granularity != Granularity(1) else AGGREGATIONS[:2]:
                query = question(granularity, aggregation, group)
                whole = aggregation.function not in {"mean", "percentile"}
                agree(await store.timeseries(query, 60), recount(query, rows), whole)


async def test_percentiles_at_every_level(store: EventStore) -> None:
    rows = await filled(store)
    for percent in range(1, 100):
        query = question(None, Aggregation("percentile", percent))
        agree(await store.timeseries(query, 60), recount(query, rows), whole=False)


FIELD = ApiRequestField
INCLUDES = [
    ((FIELD.METHOD, ("GET",)),),
    ((FIELD.METHOD, ("GET", "POST")), (FIELD.URL, ("/a:b", ""))),
    ((FIELD.CONSUMER_ID, ("it's 100%", "zoë")),),
    ((FIELD.CONSUMER_ID, ("",)), (FIELD.FUNCTION, ("",))),
    ((FIELD.STATUS_CODE, ("404",)),),
    ((FIELD.STATUS_CODE, ("",)),),
    ((FIELD.STATUS_CODE, ("", "500", "-1")),),
    ((FIELD.STATUS_CODE, ("0",)),),
    # None of these is how a status code is written.
    ((FIELD.STATUS_CODE, ("0404", " 404", "+404", "404.0", "four", "-0", "٤٠٤", "9" * 30)),),
    ((FIELD.URL, ("/nowhere",)),),
]


@pytest.mark.parametrize("include", INCLUDES, ids=str)
async def test_includes(store: EventStore, include: Any) -> None:
    rows = await filled(store)
    for group in (None, FIELD.STATUS_CODE):
        query = question(Granularity(86_400), AGGREGATIONS[4], group, include)
        agree(await store.timeseries(query, 60), recount(query, rows), whole=True)


async def test_a_missing_status_code_groups_under_the_empty_text(store: EventStore) -> None:
    store.commit([api_batch([{"status_code": None}, {"status_code": None}, {"status_code": 200}])])
    query = TimeseriesQuery(
        APP, NOW // SECOND, NOW // SECOND + 1, None, AGGREGATIONS[0], FIELD.STATUS_CODE
    )
    found = await store.timeseries(query, 60)
    assert found == [Series("", [NOW // SECOND], [2]), Series("200", [NOW // SECOND], [1])]


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=str)
async def test_nothing_gives_no_series(store: EventStore, aggregation: Aggregation) -> None:
    for granularity in (None, Granularity(60)):
        for group in (None, FIELD.URL):
            assert await store.timeseries(question(granularity, aggregation, group), 60) == []


async def test_the_range_is_half_open(store: EventStore) -> None:
    start = NOW // SECOND
    offsets = [-1, 0, 10 * SECOND - 1, 10 * SECOND]
    store.commit([api_batch([{"ts_us": NOW + offset} for offset in offsets])])
    query = TimeseriesQuery(APP, start, start + 10, None, AGGREGATIONS[0], None)
    assert await store.timeseries(query, 60) == [Series(APP, [start], [2])]


async def test_sums_beyond_64_bits(store: EventStore) -> None:
    store.commit([api_batch([{"response_us": 2**63 - 1}] * 3)])
    start = NOW // SECOND
    for aggregation, value in (
        (Aggregation("sum"), 3 * (2**63 - 1)),
        (Aggregation("mean"), float(2**63)),
        (Aggregation("percentile", 50), float(2**63)),
    ):
        query = TimeseriesQuery(APP, start, start + 1, None, aggregation, None)
        assert await store.timeseries(query, 60) == [Series(APP, [start], [value])]


async def test_a_query_past_its_deadline_says_so_and_frees_the_engine(store: EventStore) -> None:
    rows = await filled(store)
    with pytest.raises(DeadlineError):
        await store.timeseries(question(), 0)
    found = await store.timeseries(question(), 60)
    agree(found, recount(question(), rows), whole=True)
