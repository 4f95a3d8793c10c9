"""Tokens and costs of AI operations, priced group by group."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from footfall.analytics.metrics.catalogue import Cost
from footfall.analytics.metrics.pricing import PriceList
from footfall.analytics.metrics.questions import PriceSplits, Usage, UsageQuery
from footfall.analytics.metrics.validation import DAY_US
from footfall.analytics.ports import WorkspaceHistory
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

    These are grouped by the engine and priced by the group, so the price must be the same for all
    of a group. Where prices change depends on the models, which are not known before they have
    been read: what a workspace's models needed the last time is asked for, and asked again with
    more if one turns up that needs it.
    """

    def __init__(self, history: WorkspaceHistory, prices: PriceList) -> None:
        self._history = history
        self._prices = prices
        #: Of the workspaces that have operations without a cost.
        self._splits: OrderedDict[str, PriceSplits] = OrderedDict()

    async def read(
        self, workspace_id: str, range_us: tuple[int, int], plan: Cost, timeout_s: float
    ) -> Ledger:
        """Return the accounts of the operations in a range."""
        deadline = time.monotonic() + timeout_s
        splits = self._splits.get(workspace_id)
        while True:
            asked = None if splits is None else within(splits, range_us)
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise DeadlineError("The query took longer than its deadline allows.")
            usages = await self._history.usage(
                UsageQuery(workspace_id, range_us, plan.group, plan.naming, plan.fresh_only, asked),
                remaining_s,
            )
            unpriced = {(item.provider, item.model) for item in usages if item.unpriced}
            if not unpriced:
                break
            if asked is not None:
                few = len(unpriced) <= _MODELS_AT_ONCE
                found = await _done(self._prices.splits, unpriced, at_once=few)
                splits = merged(splits or PriceSplits(), found)
                if within(splits, range_us) == asked:
                    break
            else:
                await self.load()
                splits = PriceSplits()
        if splits is not None:
            self._remember(workspace_id, splits)
        read = _Read(usages, asked or PriceSplits(), range_us[0] // DAY_US, plan.fresh_only)
        return await _done(self._ledger, read, at_once=len(usages) <= _GROUPS_AT_ONCE)

    async def load(self) -> str:
        """Load the price list and return its name and version."""
        if not self._prices.version:
            await asyncio.to_thread(self._prices.load)
        return self._prices.version

    def _remember(self, workspace_id: str, splits: PriceSplits) -> None:
        self._splits[workspace_id] = splits
        self._splits.move_to_end(workspace_id)
        if len(self._splits) > _WORKSPACES_MAX:
            self._splits.popitem(last=False)

    def _ledger(self, read: _Read) -> Ledger:
        accounts: defaultdict[str, Account] = defaultdict(Account)
        ledger = Ledger(accounts)
        for usage in read.usages:
            account = accounts[usage.key]
            account.tokens += usage.tokens
            account.cost_pd += usage.cost_pd
            if read.fresh_only:
                account.cost_pd -= usage.cache_cost_pd
            account.known |= usage.priced > 0
            if not usage.unpriced:
                continue
            cost_pd, cache_cost_pd = self._prices.bill(usage, read.splits, read.first_day)
            if cost_pd is None:
                account.unknown = True
                ledger.unpriced.add((usage.provider, usage.model))
            else:
                account.known = True
                account.cost_pd += cost_pd - cache_cost_pd if read.fresh_only else cost_pd
        return ledger


@dataclass(frozen=True, slots=True)
class _Read:
    """Usages, and what they were read with."""

    usages: Sequence[Usage]
    splits: PriceSplits
    first_day: int
    fresh_only: bool


async def _done(work: Callable[[_Value], _Result], value: _Value, *, at_once: bool) -> _Result:
    """Return the result of some work, done at once or in a thread."""
    return work(value) if at_once else await asyncio.to_thread(work, value)


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
