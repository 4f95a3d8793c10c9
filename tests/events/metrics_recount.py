"""All metrics once more, in plain Python over lists of events, as a check on the service's own."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import genai_prices

from footfall.ingest.model import EventTable
from tests.events.workspaces import Event

Row = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000
DAY = 24 * HOUR


class Recount:
    """What a workspace's events say about a range, both ends included."""

    def __init__(self, events: Sequence[Event], start_us: int, end_us: int) -> None:
        self.start_us, self.end_us = start_us, end_us
        kinds: defaultdict[EventTable, list[Row]] = defaultdict(list)
        for event in events:
            kinds[event.table].append({"ts_us": event.ts_us, **event.fields})
        self.all_runs = _states(kinds[EventTable.FLOW_RUN_EVENTS], "run_id")
        for run in self.all_runs:
            run["ts_us"] = run["first_us"] if run["started_us"] is None else run["started_us"]
            known = run["started_us"] is not None and run["finished_us"] is not None
            took = run["finished_us"] - run["started_us"] if known else -1
            run["took_us"] = took if took >= 0 else None
        self.all_triggers = _states(kinds[EventTable.TRIGGER_EVENTS], "trigger_id")
        documents = _states(kinds[EventTable.DOCUMENT_EVENTS], "document_id")
        for document in documents:
            uploads = [
                row["ts_us"]
                for row in kinds[EventTable.DOCUMENT_EVENTS]
                if row["document_id"] == document["document_id"] and row["status"] == "uploaded"
            ]
            document["ts_us"] = min(uploads, default=document["first_us"])
        self.runs = self.within(self.all_runs)
        self.documents = self.within(documents)
        self.operations = self.within(kinds[EventTable.AI_OPERATIONS])
        self.conversations = self.within(kinds[EventTable.CONVERSATIONS])
        self.messages = self.within(kinds[EventTable.MESSAGES])
        self.calls = self.within(kinds[EventTable.API_CALLS])
        self.unpriced: set[tuple[str, str]] = set()
        for operation in self.operations:
            operation["tokens"] = operation["input_tokens"] + operation["output_tokens"]
            operation["cost"], operation["fresh_cost"] = _costs(operation)

    def within(self, rows: Iterable[Row]) -> list[Row]:
        return [row for row in rows if self.start_us <= row["ts_us"] <= self.end_us]

    def answer(self, metric: str, page: int = 1, size: int = 50) -> Any:
        """Return the published document without warnings."""
        if metric == "api_calls_log":
            return self.log(page, size)
        return getattr(self, metric)()

    # Execution.

    def flow_runs(self) -> Any:
        return simple(len(self.runs), " runs")

    def trigger_runs(self) -> Any:
        return simple(len(having(self.runs, source="trigger")), " runs")

    def manual_runs(self) -> Any:
        return simple(len(having(self.runs, source="manual")), " runs")

    def agent_runs(self) -> Any:
        return simple(len(having(self.runs, source="agent")), " runs")

    def active_users(self) -> Any:
        return simple(users(self.runs), " users")

    def active_runs(self) -> Any:
        return simple(len(having(self.all_runs, status="running")), " runs")

    def active_triggers(self) -> Any:
        return simple(len(having(self.all_triggers, enabled=1)), " triggers")

    def errors(self) -> Any:
        return simple(len(having(self.runs, status="failed")), " errors")

    def average_run_time(self) -> Any:
        times = [run["took_us"] for run in self.runs if run["took_us"] is not None]
        return simple(round(statistics.fmean(times) / 1e6, 3), " s") if times else empty()

    def flow_runs_distribution(self) -> Any:
        return self.chart(
            self.runs,
            lambda rows: {
                source: len(having(rows, source=source))
                for source in ("manual", "trigger", "agent")
            },
        )

    def flow_per_user(self) -> Any:
        return counted("User", "Runs", self.runs, "user_id")

    def errors_over_time(self) -> Any:
        failed = having(self.runs, status="failed")
        return self.chart(failed, lambda rows: {"errors": len(rows)})

    def run_time_over_time(self) -> Any:
        finished = [run for run in self.runs if run["took_us"] is not None]
        return self.chart(
            finished,
            lambda rows: {
                f"p{percent}": round(percentile([row["took_us"] for row in rows], percent) / 1e6, 3)
                for percent in (25, 50, 90)
            },
        )

    # Cost and tokens.

    def ai_models_total_cost(self) -> Any:
        return money(total(self.operations))

    def ai_models_total_tokens(self) -> Any:
        return simple(sum(row["tokens"] for row in self.operations), " tokens")

    def average_cost_per_run(self) -> Any:
        cost = total(row for row in self.operations if row["run_id"])
        return money(cost / len(self.runs)) if self.runs else empty()

    def tokens_cost(self) -> Any:
        return costs("Model", self.operations, "model")

    def tokens_cost_by_workflow(self) -> Any:
        return costs("Workflow", self.operations, "workflow_name")

    def tokens_cost_by_user(self) -> Any:
        return costs("User", self.operations, "user_id")

    def tokens_cost_by_node(self) -> Any:
        return costs("Node", self.operations, "node")

    def model_tokens_total_cost(self) -> Any:
        return money(total(self.operations, "fresh_cost"))

    def ai_operations_per_tool(self) -> Any:
        return counted("Tool", "Operations", self.operations, "tool")

    def model_tokens_per_tool(self) -> Any:
        return counted("Tool", "Tokens", self.operations, "tool", weight="tokens")

    def ai_operations_per_user(self) -> Any:
        return counted("User", "Operations", self.operations, "user_id")

    def model_tokens_per_user(self) -> Any:
        return counted("User", "Tokens", self.operations, "user_id", weight="tokens")

    # Conversations.

    def conversations_started(self) -> Any:
        return simple(len(self.conversations), " conversations")

    def messages_sent(self) -> Any:
        return simple(len(self.messages), " messages")

    def messages_per_conversation(self) -> Any:
        if not self.conversations:
            return empty()
        return simple(round(len(self.messages) / len(self.conversations), 2), None)

    def conversation_users(self) -> Any:
        return simple(users(self.conversations), " users")

    def conversations_started_over_time(self) -> Any:
        return self.chart(self.conversations, lambda rows: {"conversations": len(rows)})

    def messages_sent_over_time(self) -> Any:
        return self.chart(
            self.messages,
            lambda rows: {role: len(having(rows, role=role)) for role in ("user", "agent")},
        )

    def conversations_started_by_user(self) -> Any:
        return counted("User", "Conversations", self.conversations, "user_id")

    def messages_sent_by_user(self) -> Any:
        return counted("User", "Messages", self.messages, "user_id")

    def chats(self) -> list[Row]:
        return [row for row in self.operations if row["conversation_id"]]

    def conversation_tokens_cost(self) -> Any:
        return costs("Model", self.chats(), "model")

    def conversation_tokens_cost_by_user(self) -> Any:
        return costs("User", self.chats(), "user_id")

    def conversation_chat_costs_total(self) -> Any:
        return money(total(self.chats()))

    # API usage.

    def api_calls_per_date(self) -> Any:
        return self.chart(self.calls, lambda rows: {"calls": len(rows)})

    def api_calls_per_endpoint(self) -> Any:
        return counted("Endpoint", "Calls", self.calls, "endpoint")

    def log(self, page: int, size: int) -> Any:
        if not self.calls:
            return empty()
        # Sorting keeps the order of arrival among equals, which is the other way round then, too.
        newest = sorted(self.calls, key=lambda row: row["ts_us"])[::-1]
        items = [
            {
                "Endpoint": row["endpoint"],
                "Method": row["method"],
                "Status": row["status"],
                "Duration": None
                if row["duration_us"] is None
                else f"{int(row['duration_us'] / 1000 + 0.5)}ms",
            }
            for row in newest
        ]
        value = {
            "headings": ["Endpoint", "Method", "Status", "Duration"],
            "items": items[(page - 1) * size : page * size],
            "total": len(items),
            "pages": -(-len(items) // size),
            "size": size,
            "page": page,
        }
        return {"type": "table", "value": value}

    # Knowledge bases.

    def kb_total_documents(self) -> Any:
        return simple(len(self.documents), " documents")

    def kb_processed_successfully(self) -> Any:
        return simple(len(having(self.documents, status="processed")), " documents")

    def kb_failed_documents(self) -> Any:
        return simple(len(having(self.documents, status="failed")), " documents")

    def kb_contributors(self) -> Any:
        return simple(users(self.documents), " users")

    def kb_documents_over_time(self) -> Any:
        return self.chart(self.documents, lambda rows: {"documents": len(rows)})

    def kb_documents_per_kb(self) -> Any:
        return counted("Knowledge base", "Documents", self.documents, "knowledge_base")

    def kb_documents_by_user(self) -> Any:
        return counted("User", "Documents", self.documents, "user_id")

    def kb_document_types(self) -> Any:
        return counted("Type", "Documents", self.documents, "file_type")

    def kb_user_activity(self) -> Any:
        return table(
            ["User", "Uploaded", "Processed", "Failed", "Last upload"],
            [
                (
                    name,
                    len(rows),
                    len(having(rows, status="processed")),
                    len(having(rows, status="failed")),
                    f"{_moment(max(row['ts_us'] for row in rows)):%Y-%m-%dT%H:%M:%SZ}",
                )
                for name, rows in grouped(self.documents, "user_id").items()
            ],
            by=3,
        )

    def kb_overview(self) -> Any:
        return table(
            ["Knowledge base", "Documents", "Processed", "Failed", "Contributors"],
            [
                (
                    name,
                    len(rows),
                    len(having(rows, status="processed")),
                    len(having(rows, status="failed")),
                    users(rows),
                )
                for name, rows in grouped(self.documents, "knowledge_base").items()
            ],
            by=4,
        )

    # Forms.

    def chart(self, rows: list[Row], values: Callable[[list[Row]], Row]) -> Any:
        if not rows:
            return empty()
        hourly = self.end_us - self.start_us <= 72 * HOUR
        step = timedelta(hours=1) if hourly else timedelta(days=1)
        name = "%Y-%m-%dT%H:00:00Z" if hourly else "%Y-%m-%d"
        buckets: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            buckets[_moment(row["ts_us"]).strftime(name)].append(row)
        nothing = dict.fromkeys(values(rows), 0)
        at = _moment(self.start_us).replace(minute=0, second=0, microsecond=0)
        at = at if hourly else at.replace(hour=0)
        listed = []
        while at <= _moment(self.end_us):
            mine = buckets.get(at.strftime(name))
            listed.append(
                {
                    "name": at.strftime(name),
                    "values": values(mine) if mine else nothing,
                    "value_mapping": None,
                }
            )
            at += step
        return {"type": "barchart", "value": {"values": listed}}

    def warnings(self, rows: Iterable[Row]) -> list[str]:
        """Return what an answer about the operations warns of."""
        models = sorted({(row["model"], row["provider"]) for row in rows if row["cost"] is None})
        return [
            "No price is known for "
            + (f'the model "{model}"' if model else "operations without a model")
            + (f' of the provider "{provider}"' if provider else "")
            + "; costs leave its operations out."
            for model, provider in models
        ]


def _states(events: list[Row], identity: str) -> list[Row]:
    """Return the newest known value of every field, by what events are about."""
    states: dict[str, Row] = {}
    # Stable: of events of the same time, the one that arrived last is the newest.
    for event in sorted(events, key=lambda row: row["ts_us"]):
        state = states.setdefault(event[identity], dict.fromkeys(event, "") | {"first_us": None})
        for name, value in event.items():
            if value not in ("", None) or state[name] in ("", None):
                state[name] = value
        if state["first_us"] is None:
            state["first_us"] = event["ts_us"]
    return list(states.values())


def _costs(operation: Row) -> tuple[Fraction | None, Fraction | None]:
    """Return an operation's cost in dollars, and its cost without caches; None if not known."""
    if operation["cached"]:
        return Fraction(), Fraction()
    if operation["given_pd"] is not None:
        given = Fraction(operation["given_pd"], 10**12)
        return given, given
    read, write = operation["cache_read_tokens"], operation["cache_write_tokens"]
    whole = _listed(operation, operation["input_tokens"], read, write)
    if whole is None:
        return None, None
    at = _moment(operation["ts_us"])
    # What is left of the input, at the prices of the whole.
    _, model = genai_prices.data_snapshot.get_snapshot().find_provider_model(
        operation["model"], None, operation["provider"] or None, None
    )
    prices = model.get_prices(at)
    cached = Fraction()
    for tokens, name in ((read, "cache_read_mtok"), (write, "cache_write_mtok")):
        price = getattr(prices, name) if getattr(prices, name) is not None else prices.input_mtok
        if hasattr(price, "tiers"):
            fitting = [t.price for t in price.tiers if operation["input_tokens"] > t.start]
            price = fitting[-1] if fitting else price.base
        cached += tokens * Fraction(price) / 1_000_000
    return whole, whole - cached


def _listed(operation: Row, input_tokens: int, read: int, write: int) -> Fraction | None:
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=input_tokens,
                output_tokens=operation["output_tokens"],
                cache_read_tokens=read,
                cache_write_tokens=write,
                output_reasoning_tokens=operation["reasoning_tokens"],
            ),
            operation["model"],
            provider_id=operation["provider"] or None,
            genai_request_timestamp=_moment(operation["ts_us"]),
        )
    except LookupError:
        return None
    return Fraction(price.total_price)


def _moment(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def having(rows: Iterable[Row], **values: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def users(rows: Iterable[Row]) -> int:
    return len({row["user_id"] for row in rows} - {""})


def grouped(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[name] or "(unknown)"].append(row)
    return groups


def percentile(values: list[int], percent: int) -> float:
    """Return the exact percentile, interpolated between neighbours."""
    ordered = sorted(values)
    at = Fraction(percent, 100) * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (at - low) * (ordered[high] - ordered[low]))


def total(rows: Iterable[Row], name: str = "cost") -> Fraction:
    return sum((row[name] for row in rows if row[name] is not None), Fraction())


def empty() -> Any:
    return {"type": "empty", "value": {}}


def simple(value: Any, suffix: str | None, prefix: str | None = None) -> Any:
    return {"type": "simple", "value": {"value": value, "prefix": prefix, "suffix": suffix}}


def money(value: Fraction) -> Any:
    return simple(float(value), None, "$")


def table(headings: list[str], rows: list[tuple[Any, ...]], by: int, prefixes: Any = None) -> Any:
    if not rows:
        return empty()
    rows.sort(key=lambda row: (row[by] is None, -(row[by] or 0), row[0]))
    return {
        "type": "table",
        "value": {
            "headings": headings,
            "rows": [dict(zip(headings, row, strict=True)) for row in rows],
            "prefixes": prefixes,
            "suffixes": None,
        },
    }


def counted(
    of: str, heading: str, rows: Iterable[Row], name: str, weight: str | None = None
) -> Any:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row[name] or "(unknown)"] += row[weight] if weight else 1
    return table([of, heading], list(counts.items()), by=1)


def costs(of: str, rows: Iterable[Row], name: str) -> Any:
    listed = []
    for key, mine in grouped(rows, name).items():
        known = [row["cost"] for row in mine if row["cost"] is not None and not row["cached"]]
        unknown = any(row["cost"] is None for row in mine)
        cost = None if unknown and not known else float(sum(known, Fraction()))
        listed.append((key, sum(row["tokens"] for row in mine), cost))
    return table([of, "Tokens", "Cost"], listed, by=2, prefixes={"Cost": "$"})


def ordered(document: Any) -> str:
    """Return a document as text that tells keys' orders apart, and numbers by their values."""
    return json.dumps(json.loads(json.dumps(document), parse_float=_number), ensure_ascii=False)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value
