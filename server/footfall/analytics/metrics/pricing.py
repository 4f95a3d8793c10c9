"""What operations cost by a public price list.

The list is the package genai-prices: prices a million tokens by provider, model and kind of token,
some of them by the size of the input, from a day on, or by the time of day. It is loaded when it
is first needed, since that takes a good part of a second.

An operation is priced when it comes in and keeps that price, in whole picodollars. One that the
list had no price for then is priced when it is asked about, together with others of its kind.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from footfall.analytics.metrics.questions import PriceSplits, Usage
from footfall.durations import DAY_US

if TYPE_CHECKING:
    from genai_prices import types as lists

#: Costs of operations are kept in this many a dollar.
PICODOLLARS: Final = 10**12
#: Prices of tokens are counted in this many a dollar: they have at most 18 decimals a million.
UNITS: Final = 10**24

_UNITS_A_PICODOLLAR: Final = UNITS // PICODOLLARS
_COST_MAX_PD: Final = 2**63 - 1
_MODELS_MAX: Final = 4096
_RATES_MAX: Final = 16_384
_EPOCH: Final = date(1970, 1, 1)
_MILLION: Final = 1_000_000
_THOUSAND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one token of each kind, and of one operation, in units."""

    fresh_input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    operation: int


class PriceList:
    """The public list of prices; safe to use from several threads."""

    def __init__(self) -> None:
        self._loading = threading.Lock()
        self._providers: list[lists.Provider] | None = None
        self._version = ""
        self._model = lru_cache(_MODELS_MAX)(self._find_model)
        self._splits = lru_cache(_MODELS_MAX)(self._find_splits)
        self._rates = lru_cache(_RATES_MAX)(self._find_rates)

    def load(self) -> None:
        """Load the list, which takes most of a second the first time."""
        with self._loading:
            if self._providers is None:
                from genai_prices import __version__  # noqa: PLC0415  # slow, see above
                from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

                self._providers = get_snapshot().providers
                self._version = f"genai-prices {__version__}"

    @property
    def version(self) -> str:
        """The list's name and version; "" until it is loaded."""
        return self._version

    def splits(self, models: Iterable[tuple[str, str]]) -> PriceSplits:
        """Return all splits that the prices of some models, by (provider, model), ever have."""
        found = [self._splits(*model) for model in models]
        return PriceSplits(
            tuple(sorted({at for splits in found for at in splits.input_tokens})),
            tuple(sorted({at for splits in found for at in splits.days})),
            tuple(sorted({at for splits in found for at in splits.times_us})),
        )

    def has(self, provider: str, model: str) -> bool:
        """Whether the list has the model; with a provider, from that one."""
        return self._model(provider, model) is not None

    def price(
        self,
        provider: str,
        model: str,
        ts_us: int,
        input_tokens: int,
        output_tokens: int,
        cache_read: int,
        cache_write: int,
        reasoning: int,
    ) -> tuple[int | None, int]:
        """Return what an operation costs, and the part of it for caches, in picodollars.

        (None, 0) if the list has no price, or the cost is beyond 64 bits.
        """
        splits = self._splits(provider, model)
        day, time_us = divmod(ts_us, DAY_US)
        over = bisect_left(splits.input_tokens, input_tokens)
        from_day = bisect_right(splits.days, day)
        from_us = bisect_right(splits.times_us, time_us)
        rates = self._rates(
            provider,
            model,
            splits.days[from_day - 1] if from_day else _BEFORE,
            splits.times_us[from_us - 1] if from_us else 0,
            splits.input_tokens[over - 1] if over else _SMALLEST,
        )
        if rates is None:
            return None, 0
        reasoning = min(reasoning, output_tokens)
        cache = cache_read * rates.cache_read + cache_write * rates.cache_write
        total = (
            cache
            + max(input_tokens - cache_read - cache_write, 0) * rates.fresh_input
            + (output_tokens - reasoning) * rates.output
            + reasoning * rates.reasoning
            + rates.operation
        )
        cost_pd = picodollars(total)
        return (cost_pd, picodollars(cache)) if cost_pd <= _COST_MAX_PD else (None, 0)

    def bill(self, usage: Usage, splits: PriceSplits, first_day: int) -> tuple[int | None, int]:
        """Return what operations without a known cost do cost, and the part for caches.

        They were counted between the `splits`, from `first_day` (since the epoch) on.
        """
        rates = self._rates(
            usage.provider,
            usage.model,
            splits.days[usage.day - 1] if usage.day else first_day,
            splits.times_us[usage.time - 1] if usage.time else 0,
            splits.input_tokens[usage.size - 1] if usage.size else _SMALLEST,
        )
        if rates is None:
            return None, 0
        cache = usage.cache_read * rates.cache_read + usage.cache_write * rates.cache_write
        total = (
            cache
            + usage.fresh_input * rates.fresh_input
            + (usage.output - usage.reasoning) * rates.output
            + usage.reasoning * rates.reasoning
            + usage.unpriced * rates.operation
        )
        return picodollars(total), picodollars(cache)

    def _find_model(self, provider: str, model: str) -> lists.ModelInfo | None:
        """Return the list's entry of a model; with a provider, only of that one's."""
        from genai_prices.data_snapshot import DataSnapshot  # noqa: PLC0415  # slow to import

        self.load()
        # One of its own for each search: the shared one remembers all names that it was ever
        # asked for, and names come from outside.
        search = DataSnapshot(self._providers or [], from_auto_update=False)
        try:
            return search.find_provider_model(model, None, provider or None, None)[1]
        except LookupError:
            return None

    def _find_splits(self, provider: str, model: str) -> PriceSplits:
        entry = self._model(provider, model)
        sizes: set[int] = set()
        days: set[int] = set()
        times_us: set[int] = set()
        for price in _prices(entry) if entry is not None else ():
            for value in vars(price.prices).values():
                sizes.update(tier.start for tier in getattr(value, "tiers", ()))
            constraint: Any = price.constraint
            if hasattr(constraint, "start_date"):
                days.add((constraint.start_date - _EPOCH).days)
            elif constraint is not None:
                times_us.update(map(_utc_us, (constraint.start_time, constraint.end_time)))
        return PriceSplits(*(tuple(sorted(some)) for some in (sizes, days, times_us)))

    def _find_rates(
        self, provider: str, model: str, day: int, time_us: int, over_tokens: int
    ) -> Rates | None:
        """Return a model's prices at a moment, of operations with more input tokens than that.

        None for a model that the list does not have, or has no price a token of.
        """
        entry = self._model(provider, model)
        if entry is None:
            return None
        moment = datetime.combine(_EPOCH, time(), UTC) + timedelta(days=day, microseconds=time_us)
        listed = entry.get_prices(moment)
        fresh, output = (
            _price(getattr(listed, name), over_tokens, _MILLION)
            for name in ("input_mtok", "output_mtok")
        )
        if fresh is None and output is None:
            return None
        read, write, reasoning = (
            _price(getattr(listed, name), over_tokens, _MILLION)
            for name in ("cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok")
        )
        fresh, output = fresh or 0, output or 0
        return Rates(
            fresh_input=fresh,
            # Tokens without a price of their own are what they are a part of.
            cache_read=fresh if read is None else read,
            cache_write=fresh if write is None else write,
            output=output,
            reasoning=output if reasoning is None else reasoning,
            operation=_price(listed.requests_kcount, over_tokens, _THOUSAND) or 0,
        )


#: Before all days, and fewer than all tokens, from which prices change.
_BEFORE: Final = 0
_SMALLEST: Final = -1


def picodollars(units: int) -> int:
    """Return money in the nearest whole number of picodollars."""
    return (units + _UNITS_A_PICODOLLAR // 2) // _UNITS_A_PICODOLLAR


def _prices(entry: lists.ModelInfo) -> Sequence[Any]:
    """Return all prices that a model has at any time, each with its constraint."""
    from genai_prices.types import ConditionalPrice  # noqa: PLC0415  # slow to import

    prices = entry.prices
    return prices if isinstance(prices, list) else [ConditionalPrice(prices=prices)]


def _price(value: Any, over_tokens: int, per: int) -> int | None:
    """Return the price of one, in units, of the tier that holds more input tokens than that."""
    if value is None:
        return None
    dollars: Decimal = value.base if hasattr(value, "tiers") else value
    for tier in getattr(value, "tiers", ()):
        if over_tokens >= tier.start:
            dollars = tier.price
    return round(Fraction(dollars) * UNITS / per)


def _utc_us(at: time) -> int:
    """Return a time of day in microseconds of the UTC day; one without a zone is UTC."""
    moment = datetime.combine(_EPOCH, at, at.tzinfo or UTC).astimezone(UTC)
    return (moment - datetime.combine(moment.date(), time(), UTC)) // timedelta(microseconds=1)
