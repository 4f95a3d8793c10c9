"""All metrics, each one entry: what it is called, what it counts, and how its answer looks.

The list of metrics, docs/metrics.md and the answers come from this table and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

from footfall.analytics.metrics.plans import (
    CallLog,
    Column,
    Cost,
    Count,
    Form,
    Kind,
    Metric,
    Over,
    Section,
)
from footfall.analytics.metrics.questions import Field, Measure, Source


def _number(suffix: str | None = None) -> tuple[Column, ...]:
    return (Column("", suffix=suffix),)


def _counts(name: str, *headings: str) -> tuple[Column, ...]:
    return (Column(name, Kind.TEXT), *(Column(heading) for heading in headings))


def _values(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name) for name in names)


def _tokens_and_cost(name: str) -> tuple[Column, ...]:
    return (*_counts(name, "Tokens"), Column("Cost", Kind.DOLLARS, prefix="$"))


def _distinct(field: Field) -> tuple[Measure, ...]:
    return (Measure("distinct", field),)


_DOLLARS = (Column("", Kind.DOLLARS, prefix="$"),)
_TOKENS = (Measure("sum", Field.TOKENS),)
_PROCESSED = Measure(only=(Field.STATUS, "processed"))
_FAILED = Measure(only=(Field.STATUS, "failed"))

_RUNS = Count(Source.RUNS)
_CONVERSATIONS = Count(Source.CONVERSATIONS)
_MESSAGES = Count(Source.MESSAGES)
_DOCUMENTS = Count(Source.DOCUMENTS)

_EXECUTION = (
    Metric(
        "flow_runs",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" runs"),
        _RUNS,
        "Total flow executions in the time range",
        "A run counts once, at its start.",
    ),
    Metric(
        "trigger_runs",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" runs"),
        Count(Source.RUNS, where=((Field.RUN_SOURCE, "trigger"),)),
        "Executions initiated by triggers",
    ),
    Metric(
        "manual_runs",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" runs"),
        Count(Source.RUNS, where=((Field.RUN_SOURCE, "manual"),)),
        "Executions initiated manually (editor or API)",
    ),
    Metric(
        "agent_runs",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" runs"),
        Count(Source.RUNS, where=((Field.RUN_SOURCE, "agent"),)),
        "Executions initiated by agents",
    ),
    Metric(
        "active_users",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" users"),
        Count(Source.RUNS, _distinct(Field.USER_ID)),
        "Distinct users who ran flows",
        "Runs that name no user have none.",
    ),
    Metric(
        "active_runs",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" runs"),
        Count(Source.RUNS, where=((Field.STATUS, "running"),), present=True),
        "Flows currently executing (live count)",
        "Runs whose latest state is running, whatever the range; queued ones are not executing.",
    ),
    Metric(
        "active_triggers",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" triggers"),
        Count(Source.TRIGGERS, where=((Field.ENABLED, "true"),), present=True),
        "Currently enabled triggers",
        "Triggers whose latest state is enabled, whatever the range.",
    ),
    Metric(
        "errors",
        Section.EXECUTION,
        Form.SCALAR,
        _number(" errors"),
        Count(Source.RUNS, where=((Field.STATUS, "failed"),)),
        "Number of failed runs",
        "A failed run counts at its start.",
    ),
    Metric(
        "average_run_time",
        Section.EXECUTION,
        Form.SCALAR,
        (Column("", Kind.SECONDS, suffix=" s"),),
        Count(Source.RUNS, (Measure("mean", Field.RUN_TIME_US),)),
        "Mean flow execution duration",
        "Finished − started of the runs that have finished, however they ended; seconds to 3 "
        "decimals.",
    ),
    Metric(
        "flow_runs_distribution",
        Section.EXECUTION,
        Form.SERIES,
        _values("manual", "trigger", "agent"),
        Count(
            Source.RUNS,
            tuple(
                Measure(only=(Field.RUN_SOURCE, source))
                for source in ("manual", "trigger", "agent")
            ),
        ),
        "Run count over time, split by source (manual, trigger, agent)",
    ),
    Metric(
        "flow_per_user",
        Section.EXECUTION,
        Form.TABLE,
        _counts("User", "Runs"),
        Count(Source.RUNS, group=Field.USER_ID),
        "Run count per user",
    ),
    Metric(
        "errors_over_time",
        Section.EXECUTION,
        Form.SERIES,
        _values("errors"),
        Count(Source.RUNS, where=((Field.STATUS, "failed"),)),
        "Failed runs over time",
    ),
    Metric(
        "run_time_over_time",
        Section.EXECUTION,
        Form.SERIES,
        tuple(Column(f"p{percent}", Kind.SECONDS) for percent in (25, 50, 90)),
        Count(
            Source.RUNS,
            tuple(Measure("quantile", Field.RUN_TIME_US, percent) for percent in (25, 50, 90)),
        ),
        "Execution duration over time (P25, P50, P90 percentiles)",
        "Exact percentiles, linearly interpolated between neighbours, of the runs that started in "
        "the bucket and have finished; seconds to 3 decimals, 0 where there are none.",
    ),
)

_COST = (
    Metric(
        "ai_models_total_cost",
        Section.COST,
        Form.SCALAR,
        _DOLLARS,
        Cost(),
        "Estimated total LLM cost across all models",
    ),
    Metric(
        "ai_models_total_tokens",
        Section.COST,
        Form.SCALAR,
        _number(" tokens"),
        Count(Source.OPERATIONS, _TOKENS),
        "Total tokens consumed across all models",
        "Input and output tokens, cached responses included.",
    ),
    Metric(
        "average_cost_per_run",
        Section.COST,
        Form.SCALAR,
        _DOLLARS,
        Over(Cost(naming=Field.RUN_ID), _RUNS),
        "Mean estimated cost per flow execution",
        "The cost of the operations in the range that name a run, over flow_runs.",
    ),
    Metric(
        "tokens_cost",
        Section.COST,
        Form.TABLE,
        _tokens_and_cost("Model"),
        Cost(Field.MODEL),
        "Tokens and estimated cost grouped by LLM model",
        "A model that several providers serve has one row, each provider's operations at its own "
        "price.",
    ),
    Metric(
        "tokens_cost_by_workflow",
        Section.COST,
        Form.TABLE,
        _tokens_and_cost("Workflow"),
        Cost(Field.WORKFLOW),
        "Tokens and estimated cost per workflow",
    ),
    Metric(
        "tokens_cost_by_user",
        Section.COST,
        Form.TABLE,
        _tokens_and_cost("User"),
        Cost(Field.USER_ID),
        "Tokens and estimated cost per user",
    ),
    Metric(
        "tokens_cost_by_node",
        Section.COST,
        Form.TABLE,
        _tokens_and_cost("Node"),
        Cost(Field.NODE),
        "Tokens and estimated cost per node",
    ),
    Metric(
        "model_tokens_total_cost",
        Section.COST,
        Form.SCALAR,
        _DOLLARS,
        Cost(fresh_only=True),
        "Estimated total cost (non-cached tokens only)",
        "Leaves out the cost of tokens that were read from caches or written to them. A cost that "
        "the client gave is not split, and counts in whole.",
    ),
    Metric(
        "ai_operations_per_tool",
        Section.COST,
        Form.TABLE,
        _counts("Tool", "Operations"),
        Count(Source.OPERATIONS, group=Field.TOOL),
        "AI operation count grouped by tool type (flow, agent, KB)",
    ),
    Metric(
        "model_tokens_per_tool",
        Section.COST,
        Form.TABLE,
        _counts("Tool", "Tokens"),
        Count(Source.OPERATIONS, _TOKENS, group=Field.TOOL),
        "Token usage grouped by tool type",
    ),
    Metric(
        "ai_operations_per_user",
        Section.COST,
        Form.TABLE,
        _counts("User", "Operations"),
        Count(Source.OPERATIONS, group=Field.USER_ID),
        "AI operation count per user",
    ),
    Metric(
        "model_tokens_per_user",
        Section.COST,
        Form.TABLE,
        _counts("User", "Tokens"),
        Count(Source.OPERATIONS, _TOKENS, group=Field.USER_ID),
        "Token usage per user",
    ),
)

_CONVERSATION = (
    Metric(
        "conversations_started",
        Section.CONVERSATIONS,
        Form.SCALAR,
        _number(" conversations"),
        _CONVERSATIONS,
        "Total conversations initiated",
    ),
    Metric(
        "messages_sent",
        Section.CONVERSATIONS,
        Form.SCALAR,
        _number(" messages"),
        _MESSAGES,
        "Total messages sent (user + agent)",
    ),
    Metric(
        "messages_per_conversation",
        Section.CONVERSATIONS,
        Form.SCALAR,
        (Column("", Kind.RATIO),),
        Over(_MESSAGES, _CONVERSATIONS),
        "Average messages per conversation",
        "messages_sent over conversations_started, to 2 decimals.",
    ),
    Metric(
        "conversation_users",
        Section.CONVERSATIONS,
        Form.SCALAR,
        _number(" users"),
        Count(Source.CONVERSATIONS, _distinct(Field.USER_ID)),
        "Distinct users who started conversations",
    ),
    Metric(
        "conversations_started_over_time",
        Section.CONVERSATIONS,
        Form.SERIES,
        _values("conversations"),
        _CONVERSATIONS,
        "Conversations started over time",
    ),
    Metric(
        "messages_sent_over_time",
        Section.CONVERSATIONS,
        Form.SERIES,
        _values("user", "agent"),
        Count(
            Source.MESSAGES,
            tuple(Measure(only=(Field.ROLE, role)) for role in ("user", "agent")),
        ),
        "Messages sent over time",
    ),
    Metric(
        "conversations_started_by_user",
        Section.CONVERSATIONS,
        Form.TABLE,
        _counts("User", "Conversations"),
        Count(Source.CONVERSATIONS, group=Field.USER_ID),
        "Conversations started per user",
    ),
    Metric(
        "messages_sent_by_user",
        Section.CONVERSATIONS,
        Form.TABLE,
        _counts("User", "Messages"),
        Count(Source.MESSAGES, group=Field.USER_ID),
        "Messages sent per user",
        "By the user that a message names, whoever wrote it.",
    ),
    Metric(
        "conversation_tokens_cost",
        Section.CONVERSATIONS,
        Form.TABLE,
        _tokens_and_cost("Model"),
        Cost(Field.MODEL, naming=Field.CONVERSATION_ID),
        "Token usage and cost per LLM model for conversations",
        "Of the operations that name a conversation.",
    ),
    Metric(
        "conversation_tokens_cost_by_user",
        Section.CONVERSATIONS,
        Form.TABLE,
        _tokens_and_cost("User"),
        Cost(Field.USER_ID, naming=Field.CONVERSATION_ID),
        "Conversation token usage and cost per user",
        "Of the operations that name a conversation.",
    ),
    Metric(
        "conversation_chat_costs_total",
        Section.CONVERSATIONS,
        Form.SCALAR,
        _DOLLARS,
        Cost(naming=Field.CONVERSATION_ID),
        "Estimated total cost of all conversation LLM calls",
        "Of the operations that name a conversation.",
    ),
)

_API_USAGE = (
    Metric(
        "api_calls_per_date",
        Section.API_USAGE,
        Form.SERIES,
        _values("calls"),
        Count(Source.API_CALLS),
        "API calls made per day/hour",
        "This service's own record of the workspace's calls to it, and calls that the workspace "
        "reports.",
    ),
    Metric(
        "api_calls_per_endpoint",
        Section.API_USAGE,
        Form.TABLE,
        _counts("Endpoint", "Calls"),
        Count(Source.API_CALLS, group=Field.ENDPOINT),
        "API call count grouped by endpoint",
        "An endpoint is a route's template, or the name of a gRPC method.",
    ),
    Metric(
        "api_calls_log",
        Section.API_USAGE,
        Form.PAGE,
        (
            Column("Endpoint", Kind.TEXT),
            Column("Method", Kind.TEXT),
            Column("Status"),
            Column("Duration", Kind.DURATION),
        ),
        CallLog(),
        "Detailed log of recent API calls with endpoint, method, response code, and duration",
        "Newest first; calls of the same time in the order in which they were stored, the last one "
        "first. A call that is stored between two requests moves older ones down by a place; a "
        "`time_end` in the past keeps pages where they are.",
    ),
)

_KNOWLEDGE_BASE = (
    Metric(
        "kb_total_documents",
        Section.KNOWLEDGE_BASE,
        Form.SCALAR,
        _number(" documents"),
        _DOCUMENTS,
        "Total documents across all knowledge bases",
        "A document counts once, at its upload, in its latest state.",
    ),
    Metric(
        "kb_processed_successfully",
        Section.KNOWLEDGE_BASE,
        Form.SCALAR,
        _number(" documents"),
        Count(Source.DOCUMENTS, where=((Field.STATUS, "processed"),)),
        "Documents successfully ingested and indexed",
    ),
    Metric(
        "kb_failed_documents",
        Section.KNOWLEDGE_BASE,
        Form.SCALAR,
        _number(" documents"),
        Count(Source.DOCUMENTS, where=((Field.STATUS, "failed"),)),
        "Documents that failed ingestion",
    ),
    Metric(
        "kb_contributors",
        Section.KNOWLEDGE_BASE,
        Form.SCALAR,
        _number(" users"),
        Count(Source.DOCUMENTS, _distinct(Field.USER_ID)),
        "Distinct users who uploaded documents",
    ),
    Metric(
        "kb_documents_over_time",
        Section.KNOWLEDGE_BASE,
        Form.SERIES,
        _values("documents"),
        _DOCUMENTS,
        "Document ingestion count over time",
    ),
    Metric(
        "kb_documents_per_kb",
        Section.KNOWLEDGE_BASE,
        Form.TABLE,
        _counts("Knowledge base", "Documents"),
        Count(Source.DOCUMENTS, group=Field.KNOWLEDGE_BASE),
        "Document count per knowledge base",
    ),
    Metric(
        "kb_documents_by_user",
        Section.KNOWLEDGE_BASE,
        Form.TABLE,
        _counts("User", "Documents"),
        Count(Source.DOCUMENTS, group=Field.USER_ID),
        "Document count per user",
    ),
    Metric(
        "kb_document_types",
        Section.KNOWLEDGE_BASE,
        Form.TABLE,
        _counts("Type", "Documents"),
        Count(Source.DOCUMENTS, group=Field.FILE_TYPE),
        "Document count grouped by file type (PDF, Word, Excel, etc.)",
        "By the type as the events give it.",
    ),
    Metric(
        "kb_user_activity",
        Section.KNOWLEDGE_BASE,
        Form.TABLE,
        (*_counts("User", "Uploaded", "Processed", "Failed"), Column("Last upload", Kind.TIME)),
        Count(
            Source.DOCUMENTS,
            (Measure(), _PROCESSED, _FAILED, Measure("max", Field.TIME_US)),
            group=Field.USER_ID,
        ),
        "Per-user breakdown of upload activity",
        "`Last upload` is a time in UTC, to the second.",
    ),
    Metric(
        "kb_overview",
        Section.KNOWLEDGE_BASE,
        Form.TABLE,
        _counts("Knowledge base", "Documents", "Processed", "Failed", "Contributors"),
        Count(
            Source.DOCUMENTS,
            (Measure(), _PROCESSED, _FAILED, *_distinct(Field.USER_ID)),
            group=Field.KNOWLEDGE_BASE,
        ),
        "Summary table across all knowledge bases",
    ),
)

#: Every metric by its name, in the order of the published tables.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (*_EXECUTION, *_COST, *_CONVERSATION, *_API_USAGE, *_KNOWLEDGE_BASE)
}
