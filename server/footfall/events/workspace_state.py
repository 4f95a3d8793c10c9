"""What workspace events add up to, and the rows to ask of a workspace.

A run, a document and a trigger have a state. Of each field it has the newest known value: that of
the last event by (time, sequence number) among those in which the field is not absent. So the
state follows from the set of events, whatever the order in which they arrive. A run counts at its
`started_at`, else at its first event; a document at its first event that says `uploaded`, else at
its first; both once. Operations, conversations, messages and API calls count as they are.

To ask something of a workspace, select from what these functions return, with the values that the
reader gives (`workspace_id`, and `folded_seq` for a Standing.TAIL):

    runs(standing)          run_id, workflow_id, workflow_name, user_id, source, status, ts_us,
                            started_us, finished_us, run_time_us
    documents(standing)     document_id, knowledge_base, name, file_type, user_id, status, ts_us
    triggers(standing)      trigger_id, enabled, ts_us
    operations()            the columns of `ai_operations`, and tokens (input and output)
    conversations()         those of `conversations`
    messages()              those of `messages`
    calls()                 those of `api_calls`

`ts_us` is when a row counts. The rows are those of one workspace, each entity once, to the last
event that the reader's snapshot has; conditions on a column reach the scan. All of them are built
once, so that statements on them can be cached by what they ask and their standing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    String,
    Table,
    bindparam,
    case,
    column,
    func,
    literal_column,
    null,
    select,
    table,
    union_all,
)

from footfall.events import workspace_tables as tables
from footfall.events.dialect import newest

WORKSPACE: Final = bindparam("workspace_id", None, String)
#: Events up to this sequence number are in the state tables.
FOLDED: Final = bindparam("folded_seq", None, BigInteger)


#: A table of the keys that the statement `overtaken` returns, which reader and fold bring along: an
#: engine that knows how few they are joins them the right way round.
OVERTAKEN: Final = "overtaken"


class Standing(Enum):
    """Where the states of runs, documents and triggers are to be had from."""

    #: The state tables: no event of the workspace is newer.
    FOLDED = auto()
    #: The state tables and the events after `folded_seq`, with the table OVERTAKEN.
    TAIL = auto()
    #: The events alone.
    EVENTS = auto()


@dataclass(frozen=True)
class Entity:
    """A kind of thing whose events update each other."""

    events: Table
    states: Table
    #: The column that tells them apart, and the one with the id that it stands for.
    key: str
    id: str
    #: Fields that are absent where they are "", and where they are NULL.
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    #: A column of the state with the time of the first event that has this status.
    first_status: tuple[str, str] | None = None
    #: The column of the state that says when it counts, if it is known; else its first event does.
    since: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Return all fields of which the newest known value stands."""
        return self.texts + self.numbers


RUN: Final = Entity(
    tables.flow_run_events,
    tables.runs,
    "run_key",
    "run_id",
    texts=("workflow_id", "workflow_name", "user_id", "source", "status"),
    numbers=("started_us", "finished_us"),
    since="started_us",
)
DOCUMENT: Final = Entity(
    tables.document_events,
    tables.documents,
    "document_key",
    "document_id",
    texts=("knowledge_base", "name", "file_type", "user_id", "status"),
    first_status=("uploaded_us", "uploaded"),
    since="uploaded_us",
)
TRIGGER: Final = Entity(
    tables.trigger_events, tables.triggers, "trigger_key", "trigger_id", numbers=("enabled",)
)

ENTITIES: Final = (RUN, DOCUMENT, TRIGGER)


@cache
def runs(standing: Standing) -> FromClause:
    """Return a workspace's runs, each in its latest state."""
    return _current(RUN, standing)


@cache
def documents(standing: Standing) -> FromClause:
    """Return a workspace's documents, each in its latest state."""
    return _current(DOCUMENT, standing)


@cache
def triggers(standing: Standing) -> FromClause:
    """Return a workspace's triggers, each in its latest state."""
    return _current(TRIGGER, standing)


@cache
def operations() -> FromClause:
    """Return a workspace's AI operations."""
    operation = tables.ai_operations.c
    tokens = (operation.input_tokens + operation.output_tokens).label("tokens")
    return _rows(tables.ai_operations, tokens)


@cache
def conversations() -> FromClause:
    """Return a workspace's conversations."""
    return _rows(tables.conversations)


@cache
def messages() -> FromClause:
    """Return a workspace's messages."""
    return _rows(tables.messages)


@cache
def calls() -> FromClause:
    """Return a workspace's API calls."""
    return _rows(tables.api_calls)


@cache
def overtaken(entity: Entity, *, of_workspace: bool) -> Select[Any]:
    """Return the keys of folded states that are newer than an event after `folded_seq`.

    The newest value of a field may be older than such a state, so that only all of its events can
    tell what it is now. That reads the whole column of keys, and is rare.
    """
    states = entity.states.c
    touched = _touched(entity, of_workspace=of_workspace)
    return (
        select(states[entity.key])
        .join_from(entity.states, touched, touched.c[entity.key] == states[entity.key])
        .where(states.last_us > touched.c.low_us)
    )


@cache
def changed(entity: Entity) -> Select[Any]:
    """Return the state of all that has events after `folded_seq`, of all workspaces, as rows of
    the state table; takes the table OVERTAKEN.
    """
    return _merged(entity, _facts(entity, of_workspace=False))


@cache
def made(entity: Entity) -> Select[Any]:
    """Return the state of all there is, of all workspaces, from the events up to `folded_seq`."""
    events = entity.events
    facts = select(*_of_events(entity)).where(events.c.seq <= FOLDED)
    return _merged(entity, facts.subquery("told"))


def _rows(kind: Table, *more: ColumnElement[Any]) -> FromClause:
    return (
        select(*kind.columns, *more)
        .where(kind.c.workspace_id == WORKSPACE)
        .subquery(kind.name.removesuffix("s"))
    )


def _current(entity: Entity, standing: Standing) -> FromClause:
    name = entity.id.removesuffix("_id")
    states, events = entity.states, entity.events
    mine = states.c.workspace_id == WORKSPACE
    match standing:
        case Standing.FOLDED:
            return select(states).where(mine).subquery(name)
        case Standing.EVENTS:
            facts = select(*_of_events(entity)).where(events.c.workspace_id == WORKSPACE)
            return _merged(entity, facts.subquery("told")).subquery(name)
        case Standing.TAIL:
            touched = _touched(entity, of_workspace=True)
            # NOT EXISTS would first make a list of all keys that there are.
            untouched = select(states).where(
                mine, states.c[entity.key].not_in(select(touched.c[entity.key]))
            )
            merged = _merged(entity, _facts(entity, of_workspace=True))
            return union_all(untouched, merged).subquery(name)


@cache
def _touched(entity: Entity, *, of_workspace: bool) -> CTE:
    """Return (key, low_us): what has events after `folded_seq`, with the first of their times."""
    key = entity.events.c[entity.key]
    return (
        select(key, func.min(entity.events.c.ts_us).label("low_us"))
        .where(*_in_tail(entity, of_workspace=of_workspace))
        .group_by(key)
        .cte("touched")
    )


def _in_tail(entity: Entity, *, of_workspace: bool) -> list[ColumnElement[bool]]:
    events = entity.events.c
    conditions = [events.seq > FOLDED]
    if of_workspace:
        conditions.append(events.workspace_id == WORKSPACE)
    return conditions


def _facts(entity: Entity, *, of_workspace: bool) -> FromClause:
    """Return all that the states of what has events after `folded_seq` follow from.

    A folded state stands for the events that it was made of, unless it is overtaken.
    """
    states, events = entity.states, entity.events
    touched = _touched(entity, of_workspace=of_workspace)
    late = table(OVERTAKEN, column(entity.key, BigInteger)).c[entity.key]
    tail = select(*_of_events(entity)).where(*_in_tail(entity, of_workspace=of_workspace))
    known = (
        select(*_of_states(entity))
        .join_from(states, touched, touched.c[entity.key] == states.c[entity.key])
        .where(states.c.last_us <= touched.c.low_us)
    )
    retold = select(*_of_events(entity)).where(events.c[entity.key] == late, events.c.seq <= FOLDED)
    return union_all(tail, known, retold).subquery("told")


def _of_events(entity: Entity) -> Sequence[ColumnElement[Any]]:
    """Return events as facts."""
    events = entity.events.c
    columns: list[ColumnElement[Any]] = [
        events.workspace_id,
        events[entity.key],
        events[entity.id],
        events.ts_us.label("first_us"),
        events.ts_us.label("last_us"),
        events.seq,
        *(events[name] for name in entity.fields),
    ]
    if entity.first_status is not None:
        name, status = entity.first_status
        columns.append(case((events.status == status, events.ts_us), else_=null()).label(name))
    return columns


def _of_states(entity: Entity) -> Sequence[ColumnElement[Any]]:
    """Return states as facts, each like an event that comes before all others of its time."""
    states = entity.states.c
    columns: list[ColumnElement[Any]] = [
        states.workspace_id,
        states[entity.key],
        states[entity.id],
        states.first_us,
        states.last_us,
        literal_column("0", BigInteger).label("seq"),
        *(states[name] for name in entity.fields),
    ]
    if entity.first_status is not None:
        columns.append(states[entity.first_status[0]])
    return columns


def _merged(entity: Entity, facts: FromClause) -> Select[Any]:
    """Return the states that facts add up to, in the columns of the state table."""
    told = facts.c
    columns: dict[str, ColumnElement[Any]] = {
        "workspace_id": func.any_value(told.workspace_id),
        entity.id: func.any_value(told[entity.id]),
        "first_us": func.min(told.first_us),
        "last_us": func.max(told.last_us),
    }
    for name in entity.texts:
        value = newest(told[name], told.last_us, told.seq, told[name] != "")
        columns[name] = func.coalesce(value, "")
    for name in entity.numbers:
        columns[name] = newest(told[name], told.last_us, told.seq, told[name].is_not(None))
    if entity.first_status is not None:
        name = entity.first_status[0]
        columns[name] = func.min(told[name])
    grouped = (
        select(told[entity.key], *(value.label(name) for name, value in columns.items()))
        .group_by(told[entity.key])
        .subquery("merged")
    )
    when: ColumnElement[Any] = grouped.c.first_us
    if entity.since is not None:
        when = func.coalesce(grouped.c[entity.since], when)
    derived: dict[str, ColumnElement[Any]] = {"ts_us": when}
    if entity is RUN:
        started, finished = grouped.c.started_us, grouped.c.finished_us
        derived["run_time_us"] = case((finished >= started, finished - started), else_=null())
    everything = {**grouped.c, **derived}
    names = [column.name for column in entity.states.columns]
    return select(*(everything[name].label(name) for name in names))
