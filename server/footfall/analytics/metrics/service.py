"""Answers metrics: carries out the plans of the catalogue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from footfall.analytics.metrics import shapes
from footfall.analytics.metrics.answers import Answer, Empty, Result
from footfall.analytics.metrics.costs import CostReader, Ledger
from footfall.analytics.metrics.plans import CallLog, Cost, Count, Form, Over
from footfall.analytics.metrics.pricing import PriceList
from footfall.analytics.metrics.questions import CallsQuery, Tally, TallyQuery
from footfall.analytics.metrics.validation import Asked, MetricRequest, parse
from footfall.analytics.ports import WorkspaceHistory

#: No page begins further back than this; no workspace has as many calls.
_OFFSET_MAX: Final = 2**53


class MetricsService:
    """Answers the metrics of workspaces from committed events."""

    def __init__(self, history: WorkspaceHistory, prices: PriceList) -> None:
        self._history = history
        self._costs = CostReader(history, prices)

    async def answer(self, workspace_id: str, request: MetricRequest, timeout_s: float) -> Answer:
        """Return the answer of a metric about the workspace.

        Raises what `validation.parse` does, DeadlineError after `timeout_s`, and UnavailableError
        while the event store does not answer.
        """
        asked = parse(request)
        plan = asked.metric.plan
        match plan:
            case Count():
                result, warnings = await self._count(workspace_id, asked, plan, timeout_s)
                return Answer(asked.metric, result, warnings)
            case CallLog():
                query = CallsQuery(
                    workspace_id,
                    (asked.start_us, asked.end_us),
                    min((asked.page - 1) * asked.page_size, _OFFSET_MAX),
                    asked.page_size,
                )
                calls = await self._history.api_calls(query, timeout_s)
                return Answer(asked.metric, shapes.page(asked, calls))
            case Cost():
                ledger = await self._ledger(workspace_id, asked, plan, timeout_s)
                return await self._cost(asked, plan, ledger)
            case Over():
                return await self._over(workspace_id, asked, plan, timeout_s)

    async def _count(
        self, workspace_id: str, asked: Asked, plan: Count, timeout_s: float
    ) -> tuple[Result, list[str]]:
        columns = asked.metric.columns
        query = _query(workspace_id, asked, plan)
        if asked.metric.form is Form.SERIES:
            query = replace(query, bucket_us=asked.bucket_us)
            return shapes.series(asked, await self._history.tallies(query, timeout_s)), []
        tallies = await self._history.tallies(query, timeout_s)
        if plan.group is None:
            return shapes.scalar(columns[0], _only(tallies)), []
        return shapes.table(columns, shapes.tally_rows(columns, tallies))

    async def _ledger(
        self, workspace_id: str, asked: Asked, plan: Cost, timeout_s: float
    ) -> Ledger:
        return await self._costs.read(workspace_id, (asked.start_us, asked.end_us), plan, timeout_s)

    async def _cost(self, asked: Asked, plan: Cost, ledger: Ledger) -> Answer:
        columns = asked.metric.columns
        result: Result
        if plan.group is None:
            result = shapes.scalar(columns[0], shapes.dollars(ledger.cost_pd))
            left_out: list[str] = []
        else:
            result, left_out = shapes.table(columns, shapes.cost_rows(ledger))
        warnings = [*left_out, *ledger.warnings()]
        return Answer(asked.metric, result, warnings, await self._costs.load())

    async def _over(self, workspace_id: str, asked: Asked, plan: Over, timeout_s: float) -> Answer:
        """Return one number over another; both are read at once, of two moments."""
        column = asked.metric.columns[0]
        counting = self._history.tallies(_query(workspace_id, asked, plan.per), timeout_s)
        if isinstance(plan.number, Cost):
            tallies, ledger = await asyncio.gather(
                counting, self._ledger(workspace_id, asked, plan.number, timeout_s)
            )
            per = int(_only(tallies) or 0)
            result = shapes.scalar(column, shapes.dollars(ledger.cost_pd, per)) if per else Empty()
            return Answer(asked.metric, result, ledger.warnings(), await self._costs.load())
        tallies, numbers = await asyncio.gather(
            counting,
            self._history.tallies(_query(workspace_id, asked, plan.number), timeout_s),
        )
        per, number = int(_only(tallies) or 0), _only(numbers) or 0
        return Answer(asked.metric, shapes.scalar(column, number / per) if per else Empty())


def _query(workspace_id: str, asked: Asked, plan: Count) -> TallyQuery:
    return TallyQuery(
        workspace_id,
        plan.source,
        plan.measures,
        plan.where,
        None if plan.present else (asked.start_us, asked.end_us),
        plan.group,
    )


def _only(tallies: list[Tally]) -> int | float | None:
    """Return the one measure of a query that does not group."""
    ((value,),) = (tally.values for tally in tallies)
    return value
