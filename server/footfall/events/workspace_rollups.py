"""What workspace events that count as they are add up to, by the hour or the day (UTC).

An engine that folds events has them in tables, up to a sequence number. A range is then the
rollup's rows of the hours or days that lie in it whole, the events at its two ends, and those that
are not folded yet: as few rows however many events there are. All sums are of integers, so that
the answer is what the events alone would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, cached_property
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Table,
    bindparam,
    case,
    func,
    literal_column,
    select,
    union_all,
)

from footfall.analytics.metrics.questions import (
    Field,
    Measure,
    Source,
    TallyQuery,
    UsageQuery,
)
from footfall.durations import DAY_US, HOUR_US
from footfall.events import workspace_tables as tables
from footfall.events.dialect import exact_sum, int_divide, shift_right
from footfall.events.workspace_state import WORKSPACE

#: Events up to this sequence number are in the rollups.
ROLLED_UP: Final = bindparam("rolled_up_seq", None, BigInteger)
#: The name of the sum that tells how many events there are.
EVENTS: Final = "events"

#: How many bits of a value go into the lower of the two columns of a wide sum: neither overflows
#: before 2^33 values of 60 bits.
_LOW_BITS: Final = 30
#: A range that holds nothing.
_EMPTY: Final = (1, 0)


class Part(Enum):
    """What a range of a workspace is made of."""

    #: The rollup's rows of the hours or days that lie in it whole.
    WHOLE = auto()
    #: The events at its two ends.
    BEFORE = auto()
    AFTER = auto()
    #: Events in the whole hours or days that are not folded.
    LATE = auto()


#: The first and the last time of the parts that `values` gives.
_ENDS: Final = {
    Part.BEFORE: ("start_us", "before_us"),
    Part.WHOLE: ("whole_us", "whole_end_us"),
    Part.AFTER: ("after_us", "end_us"),
}


def _between(at: ColumnElement[int], part: Part) -> ColumnElement[bool]:
    first, last = (bindparam(name, None, BigInteger) for name in _ENDS[part])
    return at.between(first, last)


@dataclass(frozen=True, eq=False)
class WorkspaceRollup:
    """Sums of a source's events by hours or days and by some of their fields.

    Its table has `workspace_id` and `start_us`, the start of the hour or day, beside the keys and
    sums.
    """

    source: Source
    events: Table
    table: Table
    step_us: int
    #: What an event's keys are, by the table's column.
    keys: Mapping[str, ColumnElement[Any]]
    #: What an event adds, by the name of the sum and by the table's columns that hold it.
    summed: Mapping[str, Mapping[str, ColumnElement[Any]]]
    #: The columns that hold fields.
    fields: Mapping[Field, str]

    @cached_property
    def sums(self) -> Mapping[str, ColumnElement[Any]]:
        """What an event adds, by the table's column."""
        return {name: value for held in self.summed.values() for name, value in held.items()}

    def answers(self, query: TallyQuery) -> bool:
        """Whether the query can be answered from its rows."""
        if query.range_us is None or (query.bucket_us or 0) % self.step_us:
            return False
        if not all(sum_of(measure) in self.summed for measure in query.measures):
            return False
        return fields_of(query) <= self.fields.keys()

    def folded(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Return the rows that the events under the conditions make, of all workspaces."""
        start_us = int_divide(self.events.c.ts_us, self.step_us) * self.step_us
        keys = {"workspace_id": self.events.c.workspace_id, "start_us": start_us, **self.keys}
        return (
            select(
                *(value.label(name) for name, value in keys.items()),
                *(func.sum(value).label(name) for name, value in self.sums.items()),
            )
            .where(*conditions)
            .group_by(*keys.values())
        )

    def columns(self, names: Iterable[str]) -> dict[str, str]:
        """Return the table's columns for fields, other keys and sums, by their names in `rows`."""
        fields = {field.value: column for field, column in self.fields.items()}
        found: dict[str, str] = {}
        for name in sorted(names):
            if name in self.summed:
                found |= {column: column for column in self.summed[name]}
            else:
                found[name] = fields.get(name, name)
        return found

    @property
    def key_names(self) -> tuple[str, ...]:
        """The columns that tell its table's rows apart."""
        return ("workspace_id", "start_us", *self.keys)


def fields_of(query: TallyQuery) -> set[Field]:
    """Return the fields that a query groups and filters by."""
    only = (measure.only for measure in query.measures)
    filters = (*query.where, *(condition for condition in only if condition is not None))
    group = {query.group} if query.group is not None else set()
    return group | {field for field, _ in filters}


def sum_of(measure: Measure) -> str | None:
    """Return the name of the sum that a measure asks for; None if it is not of that kind."""
    if measure.function == "count" and measure.field is None:
        return EVENTS
    if measure.function == "sum" and measure.field is not None:
        return measure.field.value
    return None


_one: Final[ColumnElement[Any]] = literal_column("1")
_zero: Final[ColumnElement[Any]] = literal_column("0")
_operation: Final = tables.ai_operations.c
_unpriced: Final = _operation.cost_pd.is_(None)


def _flag(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return case((condition, _one), else_=_zero)


def _sum(name: str, value: ColumnElement[Any]) -> dict[str, dict[str, ColumnElement[Any]]]:
    return {name: {name: value}}


def _wide_sum(name: str, value: ColumnElement[Any]) -> dict[str, dict[str, ColumnElement[Any]]]:
    """Return a sum in two columns, since 64 bits may not hold it."""
    high = shift_right(value, _LOW_BITS)
    return {name: {f"{name}_high": high, f"{name}_low": value - high * (1 << _LOW_BITS)}}


def total(rows: FromClause, name: str) -> ColumnElement[Any]:
    """Return the sum of a column of `rows`, 0 over none."""
    if name in rows.c:
        return func.coalesce(exact_sum(rows.c[name]), _zero)
    high, low = (
        func.coalesce(exact_sum(rows.c[f"{name}_{part}"]), _zero) for part in ("high", "low")
    )
    return high * literal_column(str(1 << _LOW_BITS)) + low


_COUNTED: Final = _sum(EVENTS, _one)
_NOTHING: Final[ColumnElement[Any]] = literal_column("''")


def _operations_by(field: Field, table: Table, **more_keys: ColumnElement[Any]) -> WorkspaceRollup:
    return WorkspaceRollup(
        Source.OPERATIONS,
        tables.ai_operations,
        table,
        DAY_US,
        keys={
            "value": _operation[field.value],
            "in_run": _flag(_operation.run_id != _NOTHING),
            "in_conversation": _flag(_operation.conversation_id != _NOTHING),
            **more_keys,
        },
        summed={
            **_COUNTED,
            **_wide_sum("tokens", _operation.input_tokens + _operation.output_tokens),
            # The cost of a cached response is stored, as 0.
            **_sum("priced", _flag(_operation.cost_pd.is_not(None)) - _operation.cached),
            **_wide_sum("cost_pd", func.coalesce(_operation.cost_pd, _zero)),
            **_wide_sum("cache_cost_pd", _operation.cache_cost_pd),
            **_sum("unpriced", _flag(_unpriced)),
        },
        fields={field: "value"},
    )


MODELS: Final = _operations_by(
    Field.MODEL,
    tables.operation_days_by_model,
    unpriced_provider=case((_unpriced, _operation.provider), else_=_NOTHING),
)
API_CALLS: Final = WorkspaceRollup(
    Source.API_CALLS,
    tables.api_calls,
    tables.api_call_hours,
    HOUR_US,
    keys={"endpoint": tables.api_calls.c.endpoint},
    summed=_COUNTED,
    fields={Field.ENDPOINT: "endpoint"},
)

#: By source; what groups by nothing asks the first, which has the fewest rows.
ROLLUPS: Final[Sequence[WorkspaceRollup]] = (
    _operations_by(Field.TOOL, tables.operation_days_by_tool),
    MODELS,
    _operations_by(Field.WORKFLOW, tables.operation_days_by_workflow),
    _operations_by(Field.NODE, tables.operation_days_by_node),
    _operations_by(Field.USER_ID, tables.operation_days_by_user),
    WorkspaceRollup(
        Source.MESSAGES,
        tables.messages,
        tables.message_hours,
        HOUR_US,
        keys={"role": tables.messages.c.role},
        summed=_COUNTED,
        fields={Field.ROLE: "role"},
    ),
    API_CALLS,
)


def for_tallies(query: TallyQuery) -> WorkspaceRollup | None:
    """Return the rollup that answers a query, None if none does."""
    fitting = (rollup for rollup in ROLLUPS if rollup.source is query.source)
    return next((rollup for rollup in fitting if rollup.answers(query)), None)


def for_usage(query: UsageQuery) -> WorkspaceRollup | None:
    """Return the rollup that answers a query, but for the models of operations without a cost,
    which MODELS tells; None if the tokens of those are asked for, which are in none.
    """
    if query.unpriced == "tokens":
        return None
    fitting = (rollup for rollup in ROLLUPS if rollup.source is Source.OPERATIONS)
    return next(rollup for rollup in fitting if query.group is None or query.group in rollup.fields)


@cache
def rows(rollup: WorkspaceRollup, parts: frozenset[Part], names: frozenset[str]) -> FromClause:
    """Return what parts of a workspace's range add up to, as rows of `ts_us`, keys, which have the
    names of their fields, and sums. Takes what `values` returns.

    Planning takes longer than running for so few rows, so there is nothing in it but what is
    asked for.
    """
    columns = rollup.columns(names)
    stored, event = rollup.table.c, rollup.events.c
    made = {**rollup.keys, **rollup.sums}
    folded = select(
        stored.start_us.label("ts_us"), *(stored[of].label(name) for name, of in columns.items())
    ).where(stored.workspace_id == WORKSPACE, _between(stored.start_us, Part.WHOLE))
    of_events = select(event.ts_us, *(made[of].label(name) for name, of in columns.items())).where(
        event.workspace_id == WORKSPACE
    )
    late = _between(event.ts_us, Part.WHOLE), event.seq > ROLLED_UP
    statements = {
        Part.WHOLE: folded,
        Part.BEFORE: of_events.where(_between(event.ts_us, Part.BEFORE)),
        Part.AFTER: of_events.where(_between(event.ts_us, Part.AFTER)),
        Part.LATE: of_events.where(*late),
    }
    first, *others = (statements[part] for part in Part if part in parts)
    return (union_all(first, *others) if others else first).subquery("rolled_up")


def values(rollup: WorkspaceRollup, range_us: tuple[int, int]) -> dict[str, int]:
    """Return what `rows` takes beside the workspace and the sequence number.

    `start_us` and `end_us` stay the ends of the range, both included.
    """
    start_us, end_us = range_us
    whole_us = -(-start_us // rollup.step_us) * rollup.step_us
    whole_end_us = (end_us + 1) // rollup.step_us * rollup.step_us - 1
    before_us, after_us = whole_us - 1, whole_end_us + 1
    if whole_us > whole_end_us:
        (whole_us, whole_end_us), before_us, after_us = _EMPTY, end_us, end_us + 1
    return {
        "start_us": start_us,
        "before_us": before_us,
        "whole_us": whole_us,
        "whole_end_us": whole_end_us,
        "after_us": after_us,
        "end_us": end_us,
    }


def parts_of(ends: Mapping[str, int], *, all_folded: bool) -> frozenset[Part]:
    """Return the parts of a range, of which `values` gave the ends, that may hold something."""
    found = {part for part, (first, last) in _ENDS.items() if ends[first] <= ends[last]}
    if Part.WHOLE in found and not all_folded:
        found.add(Part.LATE)
    return frozenset(found)
