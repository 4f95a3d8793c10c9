"""What workspace events that count as they are add up to, by the hour or the day (UTC).

An engine that folds events has them in tables, up to a sequence number. A range is then the
rollup's rows of the hours or days that lie in it whole, the events at its two ends, and those that
are not folded yet: as few rows however many events there are. All sums are of integers, so that
the answer is what the events alone would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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

from footfall.analytics.metrics.questions import Field, Source, TallyQuery, UsageQuery
from footfall.durations import DAY_US, HOUR_US
from footfall.events import workspace_tables as tables
from footfall.events.dialect import exact_sum, int_divide, shift_right
from footfall.events.workspace_state import WORKSPACE

#: Events up to this sequence number are in the rollups.
ROLLED_UP: Final = bindparam("rolled_up_seq", None, BigInteger)


def _ends(first: str, last: str) -> tuple[ColumnElement[int], ColumnElement[int]]:
    return bindparam(first, None, BigInteger), bindparam(last, None, BigInteger)


_BEFORE: Final = _ends("start_us", "before_us")
_WHOLE: Final = _ends("whole_us", "whole_end_us")
_AFTER: Final = _ends("after_us", "end_us")
#: How many bits of a value go into the lower of the two columns of a wide sum: neither overflows
#: before 2^33 values of 60 bits.
_LOW_BITS: Final = 30
#: A range that holds nothing.
_EMPTY: Final = (1, 0)


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
    #: What an event adds, by the table's column.
    sums: Mapping[str, ColumnElement[Any]]
    #: The columns that hold fields.
    fields: Mapping[Field, str]

    def answers(self, query: TallyQuery) -> bool:
        """Whether the query can be answered from its rows."""
        if query.range_us is None or (query.bucket_us or 0) % self.step_us:
            return False
        asked = {query.group, *(field for field, _ in query.where)} - {None}
        for measure in query.measures:
            asked |= {measure.only[0]} if measure.only is not None else set()
            counts = measure.function == "count" and measure.field is None
            if not counts and (measure.function, measure.field) != ("sum", Field.TOKENS):
                return False
        return asked <= self.fields.keys()

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

    @property
    def key_names(self) -> tuple[str, ...]:
        """The columns that tell its table's rows apart."""
        return ("workspace_id", "start_us", *self.keys)


_one: Final[ColumnElement[Any]] = literal_column("1")
_zero: Final[ColumnElement[Any]] = literal_column("0")
_operation: Final = tables.ai_operations.c
_unpriced: Final = _operation.cost_pd.is_(None)


def _flag(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return case((condition, _one), else_=_zero)


def _wide(name: str, value: ColumnElement[Any]) -> dict[str, ColumnElement[Any]]:
    """Return the two columns in which a sum is kept that 64 bits may not hold."""
    high = shift_right(value, _LOW_BITS)
    return {f"{name}_high": high, f"{name}_low": value - high * (1 << _LOW_BITS)}


def total(rows: FromClause, name: str) -> ColumnElement[Any]:
    """Return the sum of a column of `rows`, 0 over none."""
    if name in rows.c:
        return func.coalesce(exact_sum(rows.c[name]), _zero)
    high, low = (
        func.coalesce(exact_sum(rows.c[f"{name}_{part}"]), _zero) for part in ("high", "low")
    )
    return high * literal_column(str(1 << _LOW_BITS)) + low


def _operations_by(field: Field, table: Table) -> WorkspaceRollup:
    nothing: ColumnElement[Any] = literal_column("''")
    return WorkspaceRollup(
        Source.OPERATIONS,
        tables.ai_operations,
        table,
        DAY_US,
        keys={
            "value": _operation[field.value],
            "in_run": _flag(_operation.run_id != nothing),
            "in_conversation": _flag(_operation.conversation_id != nothing),
            "unpriced_provider": case((_unpriced, _operation.provider), else_=nothing),
            "unpriced_model": case((_unpriced, _operation.model), else_=nothing),
        },
        sums={
            "events": _one,
            **_wide("tokens", _operation.input_tokens + _operation.output_tokens),
            # The cost of a cached response is stored, as 0.
            "priced": _flag(_operation.cost_pd.is_not(None)) - _operation.cached,
            **_wide("cost_pd", func.coalesce(_operation.cost_pd, _zero)),
            **_wide("cache_cost_pd", _operation.cache_cost_pd),
            "unpriced": _flag(_unpriced),
        },
        fields={field: "value"},
    )


API_CALLS: Final = WorkspaceRollup(
    Source.API_CALLS,
    tables.api_calls,
    tables.api_call_hours,
    HOUR_US,
    keys={"endpoint": tables.api_calls.c.endpoint},
    sums={"events": _one},
    fields={Field.ENDPOINT: "endpoint"},
)

#: By source; what groups by nothing asks the first, which has the fewest rows.
ROLLUPS: Final[Sequence[WorkspaceRollup]] = (
    _operations_by(Field.TOOL, tables.operation_days_by_tool),
    _operations_by(Field.MODEL, tables.operation_days_by_model),
    _operations_by(Field.WORKFLOW, tables.operation_days_by_workflow),
    _operations_by(Field.NODE, tables.operation_days_by_node),
    _operations_by(Field.USER_ID, tables.operation_days_by_user),
    WorkspaceRollup(
        Source.MESSAGES,
        tables.messages,
        tables.message_hours,
        HOUR_US,
        keys={"role": tables.messages.c.role},
        sums={"events": _one},
        fields={Field.ROLE: "role"},
    ),
    API_CALLS,
)


def for_tallies(query: TallyQuery) -> WorkspaceRollup | None:
    """Return the rollup that answers a query, None if none does."""
    fitting = (rollup for rollup in ROLLUPS if rollup.source is query.source)
    return next((rollup for rollup in fitting if rollup.answers(query)), None)


def for_usage(query: UsageQuery) -> WorkspaceRollup | None:
    """Return the rollup that answers a query; None if the tokens of operations without a cost are
    asked for, which are in none.
    """
    if query.unpriced == "tokens":
        return None
    fitting = (rollup for rollup in ROLLUPS if rollup.source is Source.OPERATIONS)
    return next(rollup for rollup in fitting if query.group is None or query.group in rollup.fields)


@cache
def rows(rollup: WorkspaceRollup) -> FromClause:
    """Return what a range of a workspace adds up to, as rows of `ts_us`, the rollup's keys under
    the names of their fields, and its sums; takes what `values` returns.
    """
    stored, event = rollup.table.c, rollup.events.c
    names = {column: field.value for field, column in rollup.fields.items()}
    columns = (*rollup.keys, *rollup.sums)
    folded = select(
        stored.start_us.label("ts_us"),
        *(stored[name].label(names.get(name, name)) for name in columns),
    ).where(stored.workspace_id == WORKSPACE, stored.start_us.between(*_WHOLE))
    of_events = select(
        event.ts_us,
        *(
            value.label(names.get(name, name))
            for name, value in (*rollup.keys.items(), *rollup.sums.items())
        ),
    ).where(event.workspace_id == WORKSPACE)
    return union_all(
        folded,
        of_events.where(event.ts_us.between(*_BEFORE)),
        of_events.where(event.ts_us.between(*_AFTER)),
        of_events.where(event.ts_us.between(*_WHOLE), event.seq > ROLLED_UP),
    ).subquery("rolled_up")


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
