"""Every metric against an independent recount, on every engine."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.documents import document
from footfall.analytics.metrics.plans import Cost, Over
from footfall.analytics.metrics.pricing import PriceList
from footfall.analytics.metrics.service import MetricsService
from footfall.analytics.metrics.validation import MetricRequest
from footfall.events import EventStore, metric_statements
from tests.events.conftest import Engine
from tests.events.metrics_recount import Recount, ordered
from tests.events.workspaces import DAY, END, HOUR, SECOND, START, batches, month

PRICES = PriceList()
PRICES.load()
EVENTS = month()
#: Another workspace, whose ids are the same.
OTHERS = month(8)

RANGES = {
    "month": (START, END),
    "hours": (START + 9 * DAY + 7 * HOUR + 1, START + 10 * DAY),
    "72 hours": (START + 9 * DAY, START + 12 * DAY),
    "a price's change": (START + 6 * DAY + 5 * SECOND, START + 7 * DAY + 22 * HOUR),
    "a moment": (START + 5 * DAY, START + 5 * DAY + 1),
    "before": (START - 300 * DAY, START - 290 * DAY),
}
RECOUNTS = {name: Recount(EVENTS, *ends) for name, ends in RANGES.items()}


@pytest.fixture
def filled(engine: Engine) -> EventStore:
    """A store with both workspaces, after many commits; the last is so small that nothing is folded
    after it.
    """
    store = engine.open()
    sizes = [500] * ((len(EVENTS) - 20) // 500)
    sizes += [len(EVENTS) - sum(sizes) - 20, 20]
    mine, others = iter(EVENTS), iter(OTHERS)
    for size in sizes:
        store.commit(
            [
                *batches(itertools.islice(others, size), "other", PRICES),
                *batches(itertools.islice(mine, size), "mine", PRICES),
            ]
        )
    return store


async def answer(store: EventStore, metric: str, ends: tuple[int, int], **page: int) -> Any:
    service = MetricsService(store, PRICES)
    found = await service.answer("mine", MetricRequest(metric, *ends, **page), 30.0)
    return json.loads(document(found))


async def test_every_metric_is_what_a_recount_says(engine: Engine, filled: EventStore) -> None:
    # The other ranges ask the same statements of numbers that an engine hardly gets wrong, and
    # chDB takes its time.
    names = RANGES if engine.name == "duckdb" else ("month", "hours", "before")
    for name, metric in itertools.product(names, METRICS):
        recount = RECOUNTS[name]
        body = await answer(filled, metric, RANGES[name])
        warnings = body.pop("warnings", [])
        expected = recount.answer(metric)
        assert ordered(body) == ordered(expected), (name, metric)
        assert warnings == expected_warnings(recount, metric), (name, metric)


def expected_warnings(recount: Recount, metric: str) -> list[str]:
    plan = METRICS[metric].plan
    cost = plan.number if isinstance(plan, Over) else plan
    if not isinstance(cost, Cost):
        return []
    operations = recount.operations
    if cost.naming is not None:
        operations = [row for row in operations if row[cost.naming.value]]
    return recount.warnings(operations)


@pytest.mark.parametrize("sorted_max", [3, 20_000], ids=["searched", "sorted at once"])
async def test_pages_of_the_log_are_the_whole_log(
    filled: EventStore, monkeypatch: pytest.MonkeyPatch, sorted_max: int
) -> None:
    monkeypatch.setattr(metric_statements, "_LOG_SORTED", sorted_max)
    recount = RECOUNTS["month"]
    for size in (1, 7, 200):
        for page in (1, 2, 5, 10_000, 2**62):
            body = await answer(filled, "api_calls_log", (START, END), page=page, page_size=size)
            assert body == recount.answer("api_calls_log", page, size), (page, size)


def test_the_month_has_what_makes_a_recount_worth_while() -> None:
    recount = RECOUNTS["month"]
    for metric in METRICS:
        assert recount.answer(metric)["type"] != "empty", metric
        assert RECOUNTS["before"].answer(metric)["type"] in {"empty", "simple"}, metric
    assert len(recount.warnings(recount.operations)) == 4
    assert any(run["took_us"] is None for run in recount.runs)
