"""The tables of workspace events: one for each kind's events, and the states that they add up to.

Events of runs, documents and triggers update each other, so what counts is their state; all other
events count as they are. How a state follows from events is in `workspace_state.py`, which also
has the rows to ask of a workspace: the same columns on every engine, whatever is folded there.
What events that count as they are add up to is in `workspace_rollups.py`.
Texts are "" where nothing is known, times are microseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, MetaData, SmallInteger, String, Table

from footfall.ingest.model import EventTable

metadata = MetaData()


def _of_events(kind: EventTable, *columns: Column[object]) -> Table:
    """Return a table of events, with what all of them have."""
    return Table(
        kind.value,
        metadata,
        Column("seq", BigInteger),
        Column("workspace_id", String),
        Column("received_us", BigInteger),
        Column("key_hi", BigInteger),
        Column("key_lo", BigInteger),
        Column("event_id", String),
        # When it happened: the event's `timestamp`.
        Column("ts_us", BigInteger),
        *columns,
    )


#: What was said of runs. `run_key` is 64 bits of a digest of the workspace and the run's id.
flow_run_events = _of_events(
    EventTable.FLOW_RUN_EVENTS,
    Column("run_key", BigInteger),
    Column("run_id", String),
    Column("workflow_id", String),
    Column("workflow_name", String),
    Column("user_id", String),
    # manual, trigger, agent or "".
    Column("source", String),
    # queued, running, completed, failed, stopped or "".
    Column("status", String),
    Column("started_us", BigInteger, nullable=True),
    Column("finished_us", BigInteger, nullable=True),
)

#: One row an operation.
ai_operations = _of_events(
    EventTable.AI_OPERATIONS,
    Column("operation_id", String),
    Column("run_id", String),
    Column("conversation_id", String),
    Column("workflow_name", String),
    Column("node", String),
    Column("user_id", String),
    # flow, agent, kb or "".
    Column("tool", String),
    Column("provider", String),
    Column("model", String),
    # Absent counts are 0. Cache reads and writes are parts of the input, reasoning of the output.
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    # Whether the answer came from a cache of the client's: 0 or 1.
    Column("cached", SmallInteger),
    # What it cost, in picodollars (10^-12 $): as the client says, else by the price list; 0 where
    # `cached`, NULL where neither knows.
    Column("cost_pd", BigInteger, nullable=True),
    # The part of a list price for cache reads and writes; 0 for a cost of the client's.
    Column("cache_cost_pd", BigInteger),
    # Name and version of the price list that was asked; "" where none was.
    Column("price_list", String),
)

conversations = _of_events(
    EventTable.CONVERSATIONS,
    Column("conversation_id", String),
    Column("user_id", String),
)

messages = _of_events(
    EventTable.MESSAGES,
    Column("message_id", String),
    Column("conversation_id", String),
    # user, agent or "".
    Column("role", String),
    Column("user_id", String),
)

#: What was said of documents.
document_events = _of_events(
    EventTable.DOCUMENT_EVENTS,
    Column("document_key", BigInteger),
    Column("document_id", String),
    Column("knowledge_base", String),
    Column("name", String),
    Column("file_type", String),
    Column("user_id", String),
    # uploaded, processed, failed or "".
    Column("status", String),
)

#: What was said of triggers.
trigger_events = _of_events(
    EventTable.TRIGGER_EVENTS,
    Column("trigger_key", BigInteger),
    Column("trigger_id", String),
    # 0 or 1.
    Column("enabled", SmallInteger),
)

#: The workspace's calls: those that it reports, and those that it made here.
api_calls = _of_events(
    EventTable.API_CALLS,
    # The route's template, not the path that was asked for.
    Column("endpoint", String),
    Column("method", String),
    Column("status", Integer, nullable=True),
    Column("duration_us", BigInteger, nullable=True),
)

#: The state of each run, as of the events that are folded. Engines that do not fold have it empty.
runs = Table(
    "runs",
    metadata,
    Column("workspace_id", String),
    Column("run_key", BigInteger),
    Column("run_id", String),
    # The time of its first and its last event.
    Column("first_us", BigInteger),
    Column("last_us", BigInteger),
    Column("workflow_id", String),
    Column("workflow_name", String),
    Column("user_id", String),
    Column("source", String),
    Column("status", String),
    Column("started_us", BigInteger, nullable=True),
    Column("finished_us", BigInteger, nullable=True),
    # When it counts: `started_us` if that is known, else `first_us`.
    Column("ts_us", BigInteger),
    # `finished_us` − `started_us`, where both are known and the difference is not negative.
    Column("run_time_us", BigInteger, nullable=True),
)

#: The state of each document.
documents = Table(
    "documents",
    metadata,
    Column("workspace_id", String),
    Column("document_key", BigInteger),
    Column("document_id", String),
    Column("first_us", BigInteger),
    Column("last_us", BigInteger),
    # The time of its first event with status `uploaded`.
    Column("uploaded_us", BigInteger, nullable=True),
    Column("knowledge_base", String),
    Column("name", String),
    Column("file_type", String),
    Column("user_id", String),
    Column("status", String),
    # When it counts: `uploaded_us` if that is known, else `first_us`.
    Column("ts_us", BigInteger),
)

#: The state of each trigger.
triggers = Table(
    "triggers",
    metadata,
    Column("workspace_id", String),
    Column("trigger_key", BigInteger),
    Column("trigger_id", String),
    Column("first_us", BigInteger),
    Column("last_us", BigInteger),
    Column("enabled", SmallInteger),
    # When it counts: its first event.
    Column("ts_us", BigInteger),
)


def _operation_days(by: str, *keys: Column[Any]) -> Table:
    """Return the table of what operations add up to by UTC day and the values of one field."""
    return Table(
        f"operation_days_by_{by}",
        metadata,
        Column("workspace_id", String),
        Column("start_us", BigInteger),
        Column("value", String),
        # Whether the operations name a run, and a conversation: 0 or 1.
        Column("in_run", SmallInteger),
        Column("in_conversation", SmallInteger),
        *keys,
        Column("events", BigInteger),
        # Input and output. Two columns a sum that may be too wide for one: those of the values'
        # high bits and of their low ones. DuckDB reads 128 bits wide columns ten times as slowly.
        Column("tokens_high", BigInteger),
        Column("tokens_low", BigInteger),
        # Operations with a cost that are not cached responses.
        Column("priced", BigInteger),
        # In picodollars.
        Column("cost_pd_high", BigInteger),
        Column("cost_pd_low", BigInteger),
        Column("cache_cost_pd_high", BigInteger),
        Column("cache_cost_pd_low", BigInteger),
        # Operations without a cost.
        Column("unpriced", BigInteger),
    )


operation_days_by_tool = _operation_days("tool")
operation_days_by_model = _operation_days(
    "model",
    # Of operations without a cost, "" for all others.
    Column("unpriced_provider", String),
)
operation_days_by_workflow = _operation_days("workflow")
operation_days_by_node = _operation_days("node")
operation_days_by_user = _operation_days("user")

#: How many messages there are by hour and role.
message_hours = Table(
    "message_hours",
    metadata,
    Column("workspace_id", String),
    Column("start_us", BigInteger),
    Column("role", String),
    Column("events", BigInteger),
)

#: How many API calls there are by hour and endpoint.
api_call_hours = Table(
    "api_call_hours",
    metadata,
    Column("workspace_id", String),
    Column("start_us", BigInteger),
    Column("endpoint", String),
    Column("events", BigInteger),
)

WORKSPACE_TABLES: Final = {
    EventTable.FLOW_RUN_EVENTS: flow_run_events,
    EventTable.AI_OPERATIONS: ai_operations,
    EventTable.CONVERSATIONS: conversations,
    EventTable.MESSAGES: messages,
    EventTable.DOCUMENT_EVENTS: document_events,
    EventTable.TRIGGER_EVENTS: trigger_events,
    EventTable.API_CALLS: api_calls,
}

#: Columns of events that may be NULL; all others have a value in every row.
WORKSPACE_NULLABLE: Final = frozenset(
    {
        flow_run_events.c.started_us,
        flow_run_events.c.finished_us,
        ai_operations.c.cost_pd,
        api_calls.c.status,
        api_calls.c.duration_us,
    }
)
