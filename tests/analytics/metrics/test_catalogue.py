"""The catalogue is the published list, and the documentation is the catalogue."""

from __future__ import annotations

from pathlib import Path

from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.plans import Form, Kind
from footfall.analytics.metrics.reference import reference

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"

#: The published tables: name, response type, description.
PUBLISHED = """
flow_runs|simple|Total flow executions in the time range
trigger_runs|simple|Executions initiated by triggers
manual_runs|simple|Executions initiated manually (editor or API)
agent_runs|simple|Executions initiated by agents
active_users|simple|Distinct users who ran flows
active_runs|simple|Flows currently executing (live count)
active_triggers|simple|Currently enabled triggers
errors|simple|Number of failed runs
average_run_time|simple|Mean flow execution duration
flow_runs_distribution|barchart|Run count over time, split by source (manual, trigger, agent)
flow_per_user|table|Run count per user
errors_over_time|barchart|Failed runs over time
run_time_over_time|barchart|Execution duration over time (P25, P50, P90 percentiles)
ai_models_total_cost|simple|Estimated total LLM cost across all models
ai_models_total_tokens|simple|Total tokens consumed across all models
average_cost_per_run|simple|Mean estimated cost per flow execution
tokens_cost|table|Tokens and estimated cost grouped by LLM model
tokens_cost_by_workflow|table|Tokens and estimated cost per workflow
tokens_cost_by_user|table|Tokens and estimated cost per user
tokens_cost_by_node|table|Tokens and estimated cost per node
model_tokens_total_cost|simple|Estimated total cost (non-cached tokens only)
ai_operations_per_tool|table|AI operation count grouped by tool type (flow, agent, KB)
model_tokens_per_tool|table|Token usage grouped by tool type
ai_operations_per_user|table|AI operation count per user
model_tokens_per_user|table|Token usage per user
conversations_started|simple|Total conversations initiated
messages_sent|simple|Total messages sent (user + agent)
messages_per_conversation|simple|Average messages per conversation
conversation_users|simple|Distinct users who started conversations
conversations_started_over_time|barchart|Conversations started over time
messages_sent_over_time|barchart|Messages sent over time
conversations_started_by_user|table|Conversations started per user
messages_sent_by_user|table|Messages sent per user
conversation_tokens_cost|table|Token usage and cost per LLM model for conversations
conversation_tokens_cost_by_user|table|Conversation token usage and cost per user
conversation_chat_costs_total|simple|Estimated total cost of all conversation LLM calls
api_calls_per_date|barchart|API calls made per day/hour
api_calls_per_endpoint|table|API call count grouped by endpoint
api_calls_log|table (paginated)|Detailed log of recent API calls with endpoint, method, response \
code, and duration
kb_total_documents|simple|Total documents across all knowledge bases
kb_processed_successfully|simple|Documents successfully ingested and indexed
kb_failed_documents|simple|Documents that failed ingestion
kb_contributors|simple|Distinct users who uploaded documents
kb_documents_over_time|barchart|Document ingestion count over time
kb_documents_per_kb|table|Document count per knowledge base
kb_documents_by_user|table|Document count per user
kb_document_types|table|Document count grouped by file type (PDF, Word, Excel, etc.)
kb_user_activity|table|Per-user breakdown of upload activity
kb_overview|table|Summary table across all knowledge bases
"""

#: Headings, names of values and affixes, where they are given.
HEADINGS = {
    "flow_runs_distribution": ["manual", "trigger", "agent"],
    "errors_over_time": ["errors"],
    "run_time_over_time": ["p25", "p50", "p90"],
    "flow_per_user": ["User", "Runs"],
    "tokens_cost": ["Model", "Tokens", "Cost"],
    "conversation_tokens_cost": ["Model", "Tokens", "Cost"],
    "tokens_cost_by_workflow": ["Workflow", "Tokens", "Cost"],
    "tokens_cost_by_user": ["User", "Tokens", "Cost"],
    "tokens_cost_by_node": ["Node", "Tokens", "Cost"],
    "conversation_tokens_cost_by_user": ["User", "Tokens", "Cost"],
    "ai_operations_per_tool": ["Tool", "Operations"],
    "model_tokens_per_tool": ["Tool", "Tokens"],
    "ai_operations_per_user": ["User", "Operations"],
    "model_tokens_per_user": ["User", "Tokens"],
    "conversations_started_over_time": ["conversations"],
    "messages_sent_over_time": ["user", "agent"],
    "conversations_started_by_user": ["User", "Conversations"],
    "messages_sent_by_user": ["User", "Messages"],
    "api_calls_per_date": ["calls"],
    "api_calls_per_endpoint": ["Endpoint", "Calls"],
    "api_calls_log": ["Endpoint", "Method", "Status", "Duration"],
    "kb_documents_over_time": ["documents"],
    "kb_documents_per_kb": ["Knowledge base", "Documents"],
    "kb_documents_by_user": ["User", "Documents"],
    "kb_document_types": ["Type", "Documents"],
    "kb_user_activity": ["User", "Uploaded", "Processed", "Failed", "Last upload"],
    "kb_overview": ["Knowledge base", "Documents", "Processed", "Failed", "Contributors"],
}
SUFFIXES = {
    " runs": ("flow_runs", "trigger_runs", "manual_runs", "agent_runs", "active_runs"),
    " users": ("active_users", "conversation_users", "kb_contributors"),
    " triggers": ("active_triggers",),
    " errors": ("errors",),
    " conversations": ("conversations_started",),
    " messages": ("messages_sent",),
    " s": ("average_run_time",),
    " tokens": ("ai_models_total_tokens",),
    " documents": ("kb_total_documents", "kb_processed_successfully", "kb_failed_documents"),
}
DOLLARS = {
    "ai_models_total_cost",
    "average_cost_per_run",
    "model_tokens_total_cost",
    "conversation_chat_costs_total",
}


def test_the_catalogue_is_the_published_list() -> None:
    published = [tuple(line.split("|")) for line in PUBLISHED.strip().splitlines()]
    assert len(published) == 49
    assert [
        (metric.name, metric.form.value, metric.description) for metric in METRICS.values()
    ] == published


def test_headings_are_as_agreed() -> None:
    shown = {
        metric.name: [column.heading for column in metric.columns]
        for metric in METRICS.values()
        if metric.form is not Form.SCALAR
    }
    assert shown == HEADINGS


def test_units_are_as_agreed() -> None:
    suffixes = {name: suffix for suffix, names in SUFFIXES.items() for name in names}
    for metric in METRICS.values():
        if metric.form is Form.SCALAR:
            (column,) = metric.columns
            prefix = "$" if metric.name in DOLLARS else None
            assert (column.prefix, column.suffix) == (prefix, suffixes.get(metric.name))
        else:
            affixes = {
                column.heading: (column.prefix, column.suffix)
                for column in metric.columns
                if column.prefix or column.suffix
            }
            with_cost = "Cost" in HEADINGS[metric.name]
            assert affixes == ({"Cost": ("$", None)} if with_cost else {})


def test_every_table_has_a_name_and_a_column_to_sort_by() -> None:
    for metric in METRICS.values():
        if metric.form is Form.TABLE:
            name, *others = metric.columns
            assert name.kind is Kind.TEXT
            assert any(column.kind.numeric for column in others)


def test_the_documentation_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference()


def test_the_documentation_tells_of_every_metric() -> None:
    for name in METRICS:
        assert reference().count(f"| `{name}` |") == 1
