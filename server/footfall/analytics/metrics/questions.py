"""What metrics ask of the event store, as frozen values, and the rows that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple


class Source(StrEnum):
    """The kinds of workspace events, each in its latest state: one row a run, a document, …"""

    RUNS = "flow_run"
    OPERATIONS = "ai_operation"
    CONVERSATIONS = "conversation"
    MESSAGES = "message"
    DOCUMENTS = "document"
    TRIGGERS = "trigger"
    API_CALLS = "api_call"


class Field(StrEnum):
    """What rows are grouped and filtered by, and what is measured; each source has its own."""

    USER_ID = "user_id"
    #: manual, trigger or agent.
    RUN_SOURCE = "source"
    #: Of runs: queued, running, completed, failed or stopped; of documents: uploaded, processed
    #: or failed.
    STATUS = "status"
    #: Finished − started in microseconds; no value for a run that has not finished.
    RUN_TIME_US = "run_time_us"
    RUN_ID = "run_id"
    CONVERSATION_ID = "conversation_id"
    MODEL = "model"
    WORKFLOW = "workflow_name"
    NODE = "node"
    #: flow, agent or kb.
    TOOL = "tool"
    #: Input and output tokens of an operation together.
    TOKENS = "tokens"
    #: user or agent.
    ROLE = "role"
    KNOWLEDGE_BASE = "knowledge_base"
    FILE_TYPE = "file_type"
    ENABLED = "enabled"
    ENDPOINT = "endpoint"
    #: When a row counts, in microseconds since the epoch.
    TIME_US = "ts_us"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number about many rows.

    `count` counts rows, `distinct` the values of a field that are not "", `sum`, `mean`, `max` and
    `quantile` (linearly interpolated between neighbours) take a field's values where there are
    any. Over no rows, `count`, `distinct` and `sum` are 0 and the others None.
    """

    function: Literal["count", "distinct", "sum", "mean", "max", "quantile"] = "count"
    field: Field | None = None
    #: From 1 to 99, for `quantile`.
    percent: int = 0
    #: Takes the rows only whose field has the value.
    only: tuple[Field, str] | None = None


@dataclass(frozen=True, slots=True)
class TallyQuery:
    """Measures over a workspace's rows, by the values of a field, by buckets of time, or all in
    one.
    """

    workspace_id: str
    source: Source
    measures: tuple[Measure, ...]
    #: Takes the rows only whose fields have the values.
    where: tuple[tuple[Field, str], ...] = ()
    #: The rows' times, both ends included; None: all rows there are.
    range_us: tuple[int, int] | None = None
    group: Field | None = None
    #: Length of the buckets, which are counted from the epoch.
    bucket_us: int | None = None


class Tally(NamedTuple):
    """The measures of one group or bucket, in the order of the query's."""

    #: The group's value, "" for rows without one, and for queries that do not group.
    key: str
    #: Start of the bucket; 0 for queries without buckets.
    bucket_us: int
    values: tuple[int | float | None, ...]


@dataclass(frozen=True, slots=True)
class PriceSplits:
    """Where prices change, so that all operations between two splits cost the same a token."""

    #: An operation with more input tokens than one of these may have another price.
    input_tokens: tuple[int, ...] = ()
    #: Days since the epoch, UTC, from which on prices may be others.
    days: tuple[int, ...] = ()
    #: Microseconds of the UTC day from which on prices may be others.
    times_us: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a workspace's AI operations used and cost, by the values of a field."""

    workspace_id: str
    #: Both ends included.
    range_us: tuple[int, int]
    group: Field | None = None
    #: Takes the operations only that name a run, or a conversation.
    naming: Field | None = None
    #: Whether the part of the costs for caches is asked for, too; else it is 0.
    caches: bool = False
    #: How operations without a cost are told of: by their number, as all operations are, by key;
    #: also of which models they are, all keys together; or by key and model with their tokens, by
    #: the sections that the splits make, apart from the others of the key.
    unpriced: Literal["no", "models", "tokens"] = "no"
    splits: PriceSplits = PriceSplits()


class Usage(NamedTuple):
    """What some operations used and cost.

    An operation's cost is the client's, or the price list's when it came in; that of a cached
    response is 0. Sums of tokens by kind are of operations without a known cost, if those are
    asked for.
    """

    #: The group's value, "" for operations without one, and for queries that do not group; None
    #: where all operations of a model without a known cost are told of once more.
    key: str | None
    #: "" where operations are not told of by their models.
    provider: str = ""
    model: str = ""
    #: Sections of the input tokens, the day and the time of day, from 0, before the first split.
    size: int = 0
    day: int = 0
    time: int = 0
    #: Input and output tokens.
    tokens: int = 0
    #: Operations with a known cost that are not cached responses, if models are asked for; the sum
    #: of the costs in picodollars, and the part of it for caches.
    priced: int = 0
    cost_pd: int = 0
    cache_cost_pd: int = 0
    #: Operations without a known cost.
    unpriced: int = 0
    #: Input tokens that were neither read from nor written to a cache.
    fresh_input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    #: Output tokens, those for reasoning included.
    output: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class CallsQuery:
    """Rows of a workspace's API calls, newest first."""

    workspace_id: str
    #: Both ends included.
    range_us: tuple[int, int]
    offset: int
    rows_max: int


@dataclass(frozen=True, slots=True)
class ApiCall:
    endpoint: str
    method: str
    #: None where a call that the workspace reported has none.
    status: int | None
    duration_us: int | None


@dataclass(frozen=True, slots=True)
class Calls:
    """A page of API calls, and how many there are in the range; both of one moment."""

    total: int
    rows: Sequence[ApiCall]
