"""The statements of WorkspaceHistory, built once for each form of question, and the shapes of
their rows.

They ask the rows that `workspace_state` gives: one a run, a document, an operation, …, so that a
question reads the columns that it names only, and of those the blocks whose times are in its range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    bindparam,
    case,
    distinct,
    func,
    literal_column,
    null,
    select,
    union_all,
)

from footfall.analytics.metrics.questions import (
    ApiCall,
    Calls,
    CallsQuery,
    Field,
    Measure,
    Source,
    Tally,
    TallyQuery,
    Usage,
    UsageQuery,
)
from footfall.durations import DAY_US
from footfall.events import workspace_rollups
from footfall.events import workspace_state as state
from footfall.events.dedup import Int64s
from footfall.events.dialect import (
    exact_mean,
    exact_quantile,
    exact_sum,
    int_divide,
    shift_right,
)
from footfall.events.workspace_rollups import API_CALLS, EVENTS, MODELS, Part, WorkspaceRollup
from footfall.events.workspace_state import Entity, Standing

Row = Sequence[Any]

#: What the statements are asked with, beside the workspace.
_START: Final = bindparam("start_us", None, BigInteger)
_END: Final = bindparam("end_us", None, BigInteger)
_FROM: Final = bindparam("from_us", None, BigInteger)
_STEP: Final = bindparam("step_us", None, BigInteger)
_PART_BITS: Final = bindparam("part_bits", None, BigInteger)
_OFFSET: Final = bindparam("skipped", None, BigInteger)
_ROWS: Final = bindparam("rows_max", None, Integer)

_KEY: Final = "grp"
_BUCKET: Final = "bucket"
_SECTIONS: Final = ("size", "day", "time")
_NOTHING: Final = literal_column("''", String)
_ZERO: Final = literal_column("0", Integer)
_ONE: Final = literal_column("1", Integer)

#: A log's range is counted in at most two to the power of this many parts; parts with more calls
#: than that are counted in smaller ones.
_LOG_PARTS_BITS: Final = 9
_LOG_SORTED: Final = 20_000

#: The sources whose rows are states that events add up to.
ENTITIES: Final[Mapping[Source, Entity]] = {
    Source.RUNS: state.RUN,
    Source.DOCUMENTS: state.DOCUMENT,
    Source.TRIGGERS: state.TRIGGER,
}


#: The sources whose rows are events that count as they are.
_EVENTS: Final[Mapping[Source, Callable[[], FromClause]]] = {
    Source.OPERATIONS: state.operations,
    Source.CONVERSATIONS: state.conversations,
    Source.MESSAGES: state.messages,
    Source.API_CALLS: state.calls,
}
_STATES: Final[Mapping[Source, Callable[[Standing], FromClause]]] = {
    Source.RUNS: state.runs,
    Source.DOCUMENTS: state.documents,
    Source.TRIGGERS: state.triggers,
}


def _rows(source: Source, standing: Standing) -> FromClause:
    return _STATES[source](standing) if source in _STATES else _EVENTS[source]()


# Tallies.


def tally_values(query: TallyQuery) -> dict[str, Any]:
    """Return what the statement of a query takes."""
    start_us, end_us = query.range_us or (0, 0)
    step_us = query.bucket_us or 1
    return {
        "workspace_id": query.workspace_id,
        "start_us": start_us,
        "end_us": end_us,
        "from_us": start_us // step_us * step_us,
        "step_us": step_us,
    }


def tallies(query: TallyQuery, standing: Standing) -> Select[Any]:
    """Return the statement of a query: (group, bucket, measures …), buckets counted from the one
    that the range begins in.
    """
    return _tallies(_form(query), _rows(query.source, standing))


def rolled_up_tallies(
    query: TallyQuery, rollup: WorkspaceRollup, parts: frozenset[Part]
) -> Select[Any]:
    """Return the same from parts of the range that a rollup answers; takes its `values`, too."""
    names = {field.value for field in workspace_rollups.fields_of(query)}
    names |= {name for name in map(workspace_rollups.sum_of, query.measures) if name is not None}
    rows = workspace_rollups.rows(rollup, parts, frozenset(names))
    # The parts are of the range.
    return _tallies(_form(replace(query, range_us=None)), rows)


def _form(query: TallyQuery) -> TallyQuery:
    """Return what a query's statement depends on."""
    return replace(query, workspace_id="", range_us=query.range_us and (0, 0))


@cache
def _tallies(form: TallyQuery, rows: FromClause) -> Select[Any]:
    measures = [
        _measure(rows, measure).label(f"m{index}") for index, measure in enumerate(form.measures)
    ]
    bucket: ColumnElement[Any] = _ZERO
    if form.bucket_us is not None:
        # Never negative, where engines round differently: the range begins in the first bucket.
        bucket = int_divide(rows.c.ts_us - _FROM, _STEP)
    statement = select(_key(rows, form.group).label(_KEY), bucket.label(_BUCKET), *measures).where(
        *(_equals(rows, field, value) for field, value in form.where),
        # Means and quantiles are of what there is; this also spares the engine the other rows.
        *(rows.c[field.value].is_not(None) for field in _measured(form.measures)),
    )
    if form.range_us is not None:
        statement = statement.where(rows.c.ts_us.between(_START, _END))
    grouping: list[ColumnElement[Any]] = [
        literal_column(name)
        for name, used in ((_KEY, form.group is not None), (_BUCKET, form.bucket_us is not None))
        if used
    ]
    return statement.group_by(*grouping) if grouping else statement


def tallies_of(query: TallyQuery, rows: Iterable[Row]) -> list[Tally]:
    """Return the rows of a query's statement as values."""
    first_us: int = tally_values(query)["from_us"]
    step_us = query.bucket_us or 0
    if _measured(query.measures):
        # Engines disagree about the mean of nothing.
        rows = (
            [None if isinstance(value, float) and math.isnan(value) else value for value in row]
            for row in rows
        )
    return [
        Tally(key, first_us + bucket * step_us if step_us else 0, tuple(values))
        for key, bucket, *values in rows
    ]


def _measured(measures: Iterable[Measure]) -> set[Field]:
    """Return the fields that rows need to have a value in; all measures are of the same ones."""
    return {
        measure.field
        for measure in measures
        if measure.function in {"mean", "quantile"} and measure.field is not None
    }


def _measure(rows: FromClause, measure: Measure) -> ColumnElement[Any]:
    if measure.field is None:
        # A row of a rollup stands for several events.
        events: ColumnElement[Any] = rows.c.get(EVENTS, _ONE)
        if measure.only is not None:
            events = case((_equals(rows, *measure.only), events))
        if EVENTS in rows.c:
            return func.coalesce(exact_sum(events), _ZERO)
        return func.count() if measure.only is None else func.count(events)
    if measure.function == "sum":
        return workspace_rollups.total(rows, measure.field.value)
    column = rows.c[measure.field.value]
    of_column: Mapping[str, Callable[[], ColumnElement[Any]]] = {
        "distinct": lambda: func.count(distinct(case((column != "", column)))),
        "mean": lambda: exact_mean(column),
        "max": lambda: func.max(column),
        "quantile": lambda: exact_quantile(column, measure.percent),
    }
    return of_column[measure.function]()


def _equals(rows: FromClause, field: Field, value: str) -> ColumnElement[bool]:
    if field is Field.ENABLED:
        return rows.c.enabled == int(value == "true")
    return rows.c[field.value] == value


# What operations used and cost.

#: What there is of all operations of a key, whatever their model.
_TOTALS: Final = ("tokens", "priced", "cost_pd", "cache_cost_pd", "unpriced")


def usage_values(query: UsageQuery) -> dict[str, Any]:
    """Return what the statement of a query takes."""
    start_us, end_us = query.range_us
    values: dict[str, Any] = {
        "workspace_id": query.workspace_id,
        "start_us": start_us,
        "end_us": end_us,
    }
    for name, splits in zip(_SECTIONS, _splits(query), strict=True):
        values |= {f"{name}_{index}": value for index, value in enumerate(splits)}
    return values


def _splits(query: UsageQuery) -> tuple[tuple[int, ...], ...]:
    return query.splits.input_tokens, query.splits.days, query.splits.times_us


def usage(query: UsageQuery) -> Select[Any]:
    """Return the statement of a query, of which `usages_of` takes the rows."""
    if query.unpriced == "no":
        return _costs(query.group, query.naming, caches=query.caches)
    splits = tuple(map(len, _splits(query))) if query.unpriced == "tokens" else None
    return _usage(query.group, query.naming, splits, caches=query.caches)


@cache
def _costs(group: Field | None, naming: Field | None, *, caches: bool) -> Select[Any]:
    """Return what `totals_of` takes; how many operations are priced is left open."""
    rows = state.operations()
    columns = {"priced": _ZERO, **_sums(rows, group, caches=caches)}
    statement = select(
        *(columns[name].label(name) for name in (_KEY, *_TOTALS[:-1])), _unpriced(rows)
    ).where(*_in_range(rows, naming))
    return _grouped(statement, group)


@cache
def _usage(
    group: Field | None, naming: Field | None, splits: tuple[int, ...] | None, *, caches: bool
) -> Select[Any]:
    """Return what a Usage is made of: of all operations by key, and of those without a cost by
    model; with splits by key and section, too, and with what they used.

    Apart, because these are few: grouping all operations as finely takes up to ten times as long.
    One statement, so that both are of one moment.
    """
    rows = state.operations()
    column = rows.c
    in_range = _in_range(rows, naming)
    everything = _sums(rows, group, caches=caches)
    # The cost of a cached response is stored, as 0.
    everything["priced"] = func.count(column.cost_pd) - exact_sum(column.cached)
    parts: dict[str, ColumnElement[Any]] = {
        "of_provider": column.provider,
        "of_model": column.model,
    }
    used: dict[str, ColumnElement[Any]] = {"unpriced": func.count()}
    if splits is None:
        everything["unpriced"] = _unpriced(rows)
        used[_KEY] = null()
    else:
        sizes, days, times = splits
        day = int_divide(column.ts_us, DAY_US)
        parts |= {
            _KEY: _key(rows, group),
            "size": _section("size", sizes, column.input_tokens, above=True),
            "day": _section("day", days, day),
            "time": _section("time", times, column.ts_us - day * DAY_US),
        }
        cached = column.cache_read_tokens + column.cache_write_tokens
        used |= {
            "fresh": exact_sum(func.greatest(column.input_tokens - cached, 0)),
            "cache_read": exact_sum(column.cache_read_tokens),
            "cache_write": exact_sum(column.cache_write_tokens),
            "output": exact_sum(column.output_tokens),
            "reasoning": exact_sum(func.least(column.reasoning_tokens, column.output_tokens)),
        }
    both = union_all(
        _grouped(_usages(everything).where(*in_range), group),
        _usages(parts | used)
        .where(column.cost_pd.is_(None), *in_range)
        .group_by(*(literal_column(name) for name in parts)),
    )
    return select(both.subquery("used"))


@cache
def rolled_up_usage(
    group: Field | None,
    naming: Field | None,
    rollup: WorkspaceRollup,
    parts: frozenset[Part],
    *,
    caches: bool,
) -> Select[Any]:
    """Return what `totals_of` takes, from parts of a range that a rollup answers; takes its
    `values`.
    """
    names = {"tokens", "priced", "cost_pd", "unpriced"} | ({"cache_cost_pd"} if caches else set())
    rows, conditions = _rolled_up(
        rollup, parts, naming, names | ({group.value} if group is not None else set())
    )
    statement = select(
        _key(rows, group).label(_KEY),
        *(
            (workspace_rollups.total(rows, name) if name in names else _ZERO).label(name)
            for name in _TOTALS
        ),
    ).where(*conditions)
    return _grouped(statement, group)


@cache
def rolled_up_models(naming: Field | None, parts: frozenset[Part]) -> Select[Any]:
    """Return (provider, model, number) of the operations without a cost, from parts of a range;
    takes the `values` of MODELS.
    """
    names = {"unpriced_provider", Field.MODEL.value, "unpriced"}
    rows, conditions = _rolled_up(MODELS, parts, naming, names)
    keys = rows.c.unpriced_provider, rows.c[Field.MODEL.value]
    unpriced = workspace_rollups.total(rows, "unpriced")
    return select(*keys, unpriced).where(rows.c.unpriced > _ZERO, *conditions).group_by(*keys)


#: The key of a rollup that tells whether operations name a run, or a conversation.
_NAMING: Final = {Field.RUN_ID: "in_run", Field.CONVERSATION_ID: "in_conversation"}


def _rolled_up(
    rollup: WorkspaceRollup, parts: frozenset[Part], naming: Field | None, names: set[str]
) -> tuple[FromClause, list[ColumnElement[bool]]]:
    """Return a rollup's rows of operations, with some columns, and the conditions on them."""
    if naming is None:
        return workspace_rollups.rows(rollup, parts, frozenset(names)), []
    flag = _NAMING[naming]
    rows = workspace_rollups.rows(rollup, parts, frozenset({*names, flag}))
    return rows, [rows.c[flag] == _ONE]


def _grouped(statement: Select[Any], group: Field | None) -> Select[Any]:
    """Return a statement by groups, or with its one row if there is anything to tell of."""
    # Grouping by a constant would take half as long again.
    if group is None:
        return statement.having(func.count() > 0)
    return statement.group_by(literal_column(_KEY))


def _sums(rows: FromClause, group: Field | None, *, caches: bool) -> dict[str, ColumnElement[Any]]:
    return {
        _KEY: _key(rows, group),
        "tokens": func.coalesce(exact_sum(rows.c.tokens), 0),
        "cost_pd": func.coalesce(exact_sum(rows.c.cost_pd), 0),
        "cache_cost_pd": func.coalesce(exact_sum(rows.c.cache_cost_pd), 0) if caches else _ZERO,
    }


def _unpriced(rows: FromClause) -> ColumnElement[int]:
    return func.count() - func.count(rows.c.cost_pd)


#: The columns of a Usage, in its order, with what stands where a select has no such column.
_USAGE: Final[Mapping[str, ColumnElement[Any]]] = {
    **dict.fromkeys((_KEY, "of_provider", "of_model"), _NOTHING),
    **dict.fromkeys(
        (
            *(*_SECTIONS, *_TOTALS),
            *("fresh", "cache_read", "cache_write", "output", "reasoning"),
        ),
        _ZERO,
    ),
}


def _usages(columns: Mapping[str, ColumnElement[Any]]) -> Select[Any]:
    return select(*(columns.get(name, none).label(name) for name, none in _USAGE.items()))


def _key(rows: FromClause, group: Field | None) -> ColumnElement[Any]:
    return _NOTHING if group is None else rows.c[group.value]


def usages_of(query: UsageQuery, rows: Iterable[Row]) -> list[Usage]:
    """Return the rows of a query's statement as values."""
    return totals_of(rows) if query.unpriced == "no" else list(map(Usage._make, rows))


def totals_of(rows: Iterable[Row]) -> list[Usage]:
    """Return rows of (key, tokens, priced operations, cost, cost for caches, operations without a
    cost) as values.
    """
    return [
        Usage(key, "", "", 0, 0, 0, tokens, priced, cost_pd, cache_cost_pd, unpriced)
        for key, tokens, priced, cost_pd, cache_cost_pd, unpriced in rows
    ]


def models_of(rows: Iterable[Row]) -> list[Usage]:
    """Return the rows of `rolled_up_models` as values."""
    return [Usage(None, provider, model, unpriced=number) for provider, model, number in rows]


def _in_range(rows: FromClause, naming: Field | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [rows.c.ts_us.between(_START, _END)]
    if naming is not None:
        conditions.append(rows.c[naming.value] != "")
    return conditions


def _section(
    name: str, splits: int, value: ColumnElement[Any], *, above: bool = False
) -> ColumnElement[Any]:
    """Return how many of the splits a value has reached, or is above."""
    if not splits:
        return _ZERO
    parameters = [bindparam(f"{name}_{index}", None, BigInteger) for index in range(splits)]
    below = (value <= at if above else value < at for at in parameters)
    return case(
        *((condition, literal_column(str(index))) for index, condition in enumerate(below)),
        else_=literal_column(str(splits)),
    )


# The log of API calls.


@dataclass(frozen=True, slots=True)
class LogParts:
    """Parts of a range that hold all of its calls: as long as each other, the newest first."""

    start_us: Int64s
    calls: Int64s
    length_us: int

    @classmethod
    def of(cls, ts_us: Int64s, calls: Int64s, first_us: int, length_us: int) -> LogParts:
        """Return the parts into which numbers of calls fall that are known of some times."""
        parts, place = np.unique((ts_us - first_us) // length_us, return_inverse=True)
        # Sums of whole numbers, as exact as 2^53 calls are many.
        total = np.bincount(place, weights=calls, minlength=len(parts)).astype(np.int64)
        return cls((first_us + parts * length_us)[::-1], total[::-1], length_us)


class LogSearch:
    """Finds the time in which a page of the log lies, so that only the calls there are sorted and
    every page costs the same.

    Counting a column of times by parts of the range is fast. The parts in which the page begins and
    ends are counted again, in smaller ones, as long as they hold many calls.
    """

    def __init__(self, query: CallsQuery) -> None:
        start_us, end_us = query.range_us
        #: What `log_parts` and `log_page` take.
        self.values: dict[str, Any] = {
            "workspace_id": query.workspace_id,
            "start_us": start_us,
            "end_us": end_us,
            "part_bits": _part_bits(start_us, end_us),
            "skipped": query.offset,
            "rows_max": query.rows_max,
        }
        #: Calls in the whole range; None until they have been counted.
        self.total: int | None = None
        self.wide = True

    @property
    def found(self) -> bool:
        """Whether the page has a call."""
        return self.total is not None and self.values["skipped"] < self.total

    def parts(self, rows: Iterable[Row]) -> LogParts:
        """Return the rows of `log_parts` as parts of the range."""
        start_us, length_us = self.values["start_us"], 1 << self.values["part_bits"]
        counted = np.array([(part, calls) for part, calls in rows], np.int64).reshape(-1, 2)
        return LogParts.of(start_us + counted[:, 0] * length_us, counted[:, 1], start_us, length_us)

    def narrow(self, parts: LogParts) -> None:
        """Look for the page in fewer of the parts, which hold all calls of the range."""
        values = self.values
        reached = np.cumsum(parts.calls)
        total = int(reached[-1]) if len(reached) else 0
        if self.total is None:
            self.total = total
        skipped, last = values["skipped"], values["skipped"] + values["rows_max"]
        if skipped >= total:
            self.wide = False
            return
        newest = int(np.searchsorted(reached, skipped, "right"))
        oldest = min(int(np.searchsorted(reached, last, "left")), len(reached) - 1)
        before = int(reached[newest] - parts.calls[newest])
        bits = values["part_bits"]
        newest_end_us = int(parts.start_us[newest]) + parts.length_us - 1
        values["end_us"] = min(newest_end_us, values["end_us"])
        values["start_us"] = max(int(parts.start_us[oldest]), values["start_us"])
        values["part_bits"] = _part_bits(values["start_us"], values["end_us"])
        values["skipped"] = skipped - before
        self.wide = int(reached[oldest]) - before > _LOG_SORTED and values["part_bits"] < bits


def _part_bits(start_us: int, end_us: int) -> int:
    """Return how many bits of a time a part of a range leaves out."""
    return max((end_us - start_us).bit_length() - _LOG_PARTS_BITS, 0)


@cache
def rolled_up_calls(parts: frozenset[Part]) -> Select[Any]:
    """Return (time, calls) of a range: by the hour, or one by one where the hours do not have them;
    takes the `values` of API_CALLS.

    Adding them up costs the engine as much as all the rest; `LogParts.of` does.
    """
    rows = workspace_rollups.rows(API_CALLS, parts, frozenset({EVENTS}))
    return select(rows.c.ts_us.label("ts_us"), rows.c[EVENTS].label("calls"))


@cache
def log_parts() -> Select[Any]:
    """Return the statement that counts calls by parts of a range: (part, calls)."""
    rows = state.calls()
    # Parts are powers of two long: dividing would take as long as all the rest.
    part = shift_right(rows.c.ts_us - _START, _PART_BITS)
    columns: list[ColumnElement[Any]] = [part.label(_BUCKET), func.count()]
    return (
        select(*columns).where(rows.c.ts_us.between(_START, _END)).group_by(literal_column(_BUCKET))
    )


@cache
def log_page() -> Select[Any]:
    """Return the statement of a page's calls, newest first."""
    rows = state.calls()
    return (
        select(rows.c.endpoint, rows.c.method, rows.c.status, rows.c.duration_us)
        .where(rows.c.ts_us.between(_START, _END))
        .order_by(rows.c.ts_us.desc(), rows.c.seq.desc())
        .limit(_ROWS)
        .offset(_OFFSET)
    )


def calls_of(search: LogSearch, rows: Iterable[Row]) -> Calls:
    """Return the rows of `log_page` as values."""
    return Calls(search.total or 0, [ApiCall(*row) for row in rows])
