"""Tokens and costs of AI operations, priced group by group."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from footfall.analytics.metrics.plans import Cost
from footfall.analytics.metrics.pricing import PriceList
from footfall.analytics.metrics.questions import PriceSplits, Usage, UsageQuery
from footfall.analytics.ports import WorkspaceHistory
from footfall.durations import DAY_US
from footfall.errors import DeadlineError

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")

#: Workspaces whose splits are remembered.
_WORKSPACES_MAX: Final = 1_000
#: More groups or models than this are priced in a thread, so that other calls go on; a name that
#: the list does not know takes half a millisecond.
_GROUPS_AT_ONCE: Final = 1_000
_MODELS_AT_ONCE: Final = 20
#: Models without a price that are named one by one.
NAMED_MAX: Final = 50


@dataclass(slots=True)
class Account:
    """What operations used, and cost in picodollars."""

    tokens: int = 0
    cost_pd: int = 0
    #: Whether the cost of any operation is known, and whether any one's is not.
    known: bool = False
    unknown: bool = False

    @property
    def shown_pd(self) -> int | None:
        """The costs that are known; None if there are costs and none is."""
        return None if self.unknown and not self.known else self.cost_pd


@dataclass(slots=True)
class Ledger:
    """Accounts by the values of a field ("" without one), and what could not be priced."""

    accounts: Mapping[str, Account]
    #: (provider, model).
    unpriced: set[tuple[str, str]] = field(default_factory=set)

    @property
    def cost_pd(self) -> int:
        """All costs that are known, in picodollars."""
        return sum(account.cost_pd for account in self.accounts.values())

    def warnings(self) -> list[str]:
        """Return a sentence for each model without a price."""
        models = sorted((model, provider) for provider, model in self.unpriced)
        told = [
            f"No price is known for {_described(provider, model)}; costs leave its operations out."
            for model, provider in models[:NAMED_MAX]
        ]
        if len(models) > NAMED_MAX:
            told.append(f"Nor is one known for {len(models) - NAMED_MAX} more models.")
        return told


def _described(provider: str, model: str) -> str:
    named = f'the model "{model}"' if model else "operations without a model"
    return f'{named} of the provider "{provider}"' if provider else named


class CostReader:
    """Reads what operations cost, and prices those that nobody knew a price of when they came in.

    Most of these never get one, so their models are asked for first, and what they used only if
    the list has got a model by now. That is grouped by the engine and priced by the group, so the
    price must be the same for all of a group. Where prices change depends on the models: what a
    workspace needed the last time is asked for, and again with more if that was not enough.
    """

    def __init__(self, history: WorkspaceHistory, prices: PriceList) -> None:
        self._history = history
        self._prices = prices
        #: What workspaces with operations without a cost need to be asked for: only the models,
        #: or tokens with these splits.
        self._needed: OrderedDict[str, PriceSplits | None] = OrderedDict()

    async def read(
        self, workspace_id: str, range_us: tuple[int, int], plan: Cost, timeout_s: float
    ) -> Ledger:
        """Return the accounts of the operations in a range."""
        deadline = time.monotonic() + timeout_s
        query = UsageQuery(workspace_id, range_us, plan.group, plan.naming, plan.fresh_only)
        if workspace_id in self._needed:
            query = _with(query, self._needed[workspace_id])
        while True:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise DeadlineError("The query took longer than its deadline allows.")
            usages = await self._history.usage(query, remaining_s)
            if query.unpriced == "no":
                if not any(usage.unpriced for usage in usages):
                    break
                await self.load()
                query = _with(query, None)
                continue
            apart = query.unpriced == "tokens"
            models = {
                (usage.provider, usage.model)
                for usage in usages
                if (usage.unpriced if apart else usage.key is None)
            }
            needed = await _done(self._splits, models, at_once=len(models) <= _MODELS_AT_ONCE)
            self._remember(workspace_id, needed, any_models=bool(models))
            if needed is None:
                break
            more = _with(query, merged(query.splits, needed))
            if more == query:
                break
            query = more
        read = _Read(query, usages)
        return await _done(self._ledger, read, at_once=len(usages) <= _GROUPS_AT_ONCE)

    def _splits(self, models: Iterable[tuple[str, str]]) -> PriceSplits | None:
        """Return where the prices of models change; None if the list has none of them."""
        listed = [model for model in models if self._prices.has(*model)]
        return self._prices.splits(listed) if listed else None

    async def load(self) -> str:
        """Load the price list and return its name and version."""
        if not self._prices.version:
            await asyncio.to_thread(self._prices.load)
        return self._prices.version

    def _remember(self, workspace_id: str, needed: PriceSplits | None, *, any_models: bool) -> None:
        self._needed.pop(workspace_id, None)
        if any_models:
            self._needed[workspace_id] = needed
            if len(self._needed) > _WORKSPACES_MAX:
                self._needed.popitem(last=False)

    def _ledger(self, read: _Read) -> Ledger:
        query = read.query
        first_day = query.range_us[0] // DAY_US
        accounts: defaultdict[str, Account] = defaultdict(Account)
        ledger = Ledger(accounts)
        for usage in read.usages:
            if usage.key is None:
                ledger.unpriced.add((usage.provider, usage.model))
                continue
            account = accounts[usage.key]
            account.tokens += usage.tokens
            # The part for caches is asked for to be left out.
            account.cost_pd += usage.cost_pd - usage.cache_cost_pd
            account.known |= usage.priced > 0
            if not usage.unpriced:
                continue
            if query.unpriced != "tokens":
                # The list has a price of none of them.
                account.unknown = True
                continue
            cost_pd, cache_cost_pd = self._prices.bill(usage, query.splits, first_day)
            if cost_pd is None:
                account.unknown = True
                ledger.unpriced.add((usage.provider, usage.model))
            else:
                account.known = True
                account.cost_pd += cost_pd - cache_cost_pd if query.caches else cost_pd
        return ledger


@dataclass(frozen=True, slots=True)
class _Read:
    """Usages, and the query that they answer."""

    query: UsageQuery
    usages: Sequence[Usage]


async def _done(work: Callable[[_Value], _Result], value: _Value, *, at_once: bool) -> _Result:
    """Return the result of some work, done at once or in a thread."""
    return work(value) if at_once else await asyncio.to_thread(work, value)


def _with(query: UsageQuery, splits: PriceSplits | None) -> UsageQuery:
    """Return a query that asks for models, or for tokens with the splits that the range has."""
    if splits is None:
        return replace(query, unpriced="models")
    return replace(query, unpriced="tokens", splits=within(splits, query.range_us))


def within(splits: PriceSplits, range_us: tuple[int, int]) -> PriceSplits:
    """Return the splits that a range has on both sides."""
    first_day, last_day = (at_us // DAY_US for at_us in range_us)
    days = tuple(day for day in splits.days if first_day < day <= last_day)
    return PriceSplits(splits.input_tokens, days, splits.times_us)


def merged(one: PriceSplits, other: PriceSplits) -> PriceSplits:
    """Return the splits of both."""

    def union(some: Iterable[int], more: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({*some, *more}))

    return PriceSplits(
        union(one.input_tokens, other.input_tokens),
        union(one.days, other.days),
        union(one.times_us, other.times_us),
    )
