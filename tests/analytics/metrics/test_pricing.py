"""Costs agree with the price list's own calculator, operation by operation, and never drift."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider

from footfall.analytics.metrics.costs import within
from footfall.analytics.metrics.pricing import PICODOLLARS, PriceList
from footfall.analytics.metrics.questions import PriceSplits, Usage

DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRICES = PriceList()


@dataclass(frozen=True)
class Operation:
    provider: str
    model: str
    at: datetime
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    @property
    def us(self) -> int:
        return (self.at - EPOCH) // timedelta(microseconds=1)

    def list_price(self) -> Fraction:
        """What the list's own calculator says."""
        found = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                cache_read_tokens=self.cache_read,
                cache_write_tokens=self.cache_write,
                output_reasoning_tokens=self.reasoning,
            ),
            self.model,
            provider_id=self.provider or None,
            genai_request_timestamp=self.at,
        )
        return Fraction(found.total_price)


def usages(operations: Iterable[Operation], splits: PriceSplits) -> list[Usage]:
    """Group operations that nobody priced as a store does."""
    groups: defaultdict[tuple[str, str, int, int, int], list[Operation]] = defaultdict(list)
    for item in operations:
        size = sum(item.input_tokens > at for at in splits.input_tokens)
        day = sum(item.us // DAY_US >= at for at in splits.days)
        time = sum(item.us % DAY_US >= at for at in splits.times_us)
        groups[item.provider, item.model, size, day, time].append(item)
    return [
        Usage(
            "",
            *group,
            tokens=sum(item.input_tokens + item.output_tokens for item in items),
            priced=0,
            cost_pd=0,
            cache_cost_pd=0,
            unpriced=len(items),
            fresh_input=sum(
                max(item.input_tokens - item.cache_read - item.cache_write, 0) for item in items
            ),
            cache_read=sum(item.cache_read for item in items),
            cache_write=sum(item.cache_write for item in items),
            output=sum(item.output_tokens for item in items),
            reasoning=sum(item.reasoning for item in items),
        )
        for group, items in groups.items()
    ]


def bills(operations: list[Operation]) -> list[tuple[int | None, int]]:
    """What groups of operations cost that are priced when they are asked about."""
    times = [item.us for item in operations]
    first, last = min(times), max(times)
    models = {(item.provider, item.model) for item in operations}
    splits = within(PRICES.splits(models), (first, last))
    return [PRICES.bill(usage, splits, first // DAY_US) for usage in usages(operations, splits)]


def billed(operations: list[Operation]) -> Fraction:
    return sum((Fraction(total or 0, PICODOLLARS) for total, _ in bills(operations)), Fraction())


def priced(operation: Operation) -> tuple[int | None, int]:
    """What an operation costs that is priced when it comes in."""
    return PRICES.price(
        operation.provider,
        operation.model,
        operation.us,
        operation.input_tokens,
        operation.output_tokens,
        operation.cache_read,
        operation.cache_write,
        operation.reasoning,
    )


def all_models() -> list[tuple[Provider, ModelInfo]]:
    return [(provider, model) for provider in get_snapshot().providers for model in provider.models]


def priced_by_tokens(model: ModelInfo) -> bool:
    prices = model.prices if isinstance(model.prices, list) else [model]
    return all(
        any(getattr(price.prices, name, None) is not None for name in ("input_mtok", "output_mtok"))
        for price in prices
    )


def some_operations(provider: str, model: str, pick: random.Random, count: int) -> list[Operation]:
    made = []
    for _ in range(count):
        input_tokens = pick.choice((0, 10, 31_999, 32_000, 200_000, 200_001, 300_000))
        cache_read = pick.randint(0, input_tokens)
        output = pick.randint(0, 9_000)
        made.append(
            Operation(
                provider,
                model,
                datetime(2026, 8, 1, tzinfo=UTC)
                + timedelta(seconds=pick.randrange(110 * 86_400), microseconds=pick.randrange(9)),
                input_tokens,
                output,
                cache_read,
                pick.randint(0, input_tokens - cache_read),
                pick.randint(0, output),
            )
        )
    return made


def test_every_model_of_the_list_costs_what_the_list_says() -> None:
    pick = random.Random(1)
    compared = 0
    for provider, entry in all_models():
        try:
            _, found = get_snapshot().find_provider_model(entry.id, None, provider.id, None)
        except LookupError:
            continue
        if found is not entry or not priced_by_tokens(entry):
            continue
        operations = some_operations(provider.id, entry.id, pick, 3)
        each = [item.list_price() * PICODOLLARS for item in operations]
        # The few prices with 16 decimals and more come out to the nearest picodollar.
        assert [cost for cost, _ in map(priced, operations)] == [
            math.floor(cost + Fraction(1, 2)) for cost in each
        ]
        assert billed(operations) * PICODOLLARS == pytest.approx(sum(each), abs=len(operations))
        compared += 1
    assert compared > 1500


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5"),
        ("google", "gemini-2.5-pro"),
        ("deepseek", "deepseek-chat"),
        ("deepseek", "deepseek-v4-flash"),
        ("perplexity", "sonar-deep-research"),
        ("", "gpt-4o-mini"),
        ("litellm", "openai/gpt-4o"),
        (" OpenAI ", "GPT-4o"),
    ],
)
def test_sums_are_exact_whenever_operations_are_priced(provider: str, model: str) -> None:
    operations = some_operations(provider, model, random.Random(model), 400)
    expected = sum((item.list_price() for item in operations), Fraction())
    assert billed(operations) == expected
    assert sum(cost or 0 for cost, _ in map(priced, operations)) == expected * PICODOLLARS


def test_small_costs_do_not_drift() -> None:
    one = Operation("openai", "gpt-4o-mini", datetime(2026, 3, 4, tzinfo=UTC), 1)
    assert one.list_price() == Fraction(15, 100_000_000)
    assert billed([one] * 10_000) == Fraction(15, 10_000)


def test_the_part_for_caches_is_what_the_rest_does_not_cost() -> None:
    at = datetime(2026, 3, 4, tzinfo=UTC)
    whole = Operation("anthropic", "claude-sonnet-4-5", at, 1000, 50, 600, 300)
    fresh = Operation("anthropic", "claude-sonnet-4-5", at, 100, 50)
    for cost, cache in (priced(whole), *bills([whole])):
        assert cost is not None
        assert Fraction(cost - cache, PICODOLLARS) == fresh.list_price()


def test_more_cache_tokens_than_input_leave_no_fresh_input() -> None:
    at = datetime(2026, 3, 4, tzinfo=UTC)
    odd = Operation("anthropic", "claude-sonnet-4-5", at, 20, 0, 1000)
    whole = Operation("anthropic", "claude-sonnet-4-5", at, 1000, 0, 1000)
    assert priced(odd) == priced(whole)
    assert billed([odd]) == whole.list_price()


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("my-own", "gpt-4o"),
        ("", "no-such-model"),
        ("", ""),
        # Listed, but not by tokens.
        ("openai", "tts-1"),
    ],
)
def test_there_is_not_always_a_price(provider: str, model: str) -> None:
    one = Operation(provider, model, datetime(2026, 3, 4, tzinfo=UTC), 1000, 10)
    assert priced(one) == (None, 0)
    assert bills([one]) == [(None, 0)]


def test_a_cost_that_no_column_holds_is_left_to_the_sum() -> None:
    at = datetime(2026, 3, 4, tzinfo=UTC)
    huge = Operation("openai", "gpt-4o", at, 2**53)
    assert priced(huge) == (None, 0)
    assert billed([huge]) == huge.list_price()


def test_the_version_is_known_once_the_list_is_loaded() -> None:
    prices = PriceList()
    assert prices.version == ""
    prices.load()
    assert prices.version == f"genai-prices {genai_prices.__version__}"


def test_importing_the_service_does_not_load_the_list() -> None:
    code = "import sys, footfall.app; sys.exit('genai_prices' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
