"""A month of a busy workspace: the same two million events for every contestant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from footfall.analytics.metrics.pricing import PriceList
from footfall.events.duckdb.store import DuckDBStore
from footfall.ingest.model import NO_KEY, EventBatch, EventTable

DAY_US = 86_400_000_000
DAYS = 30
EVENTS_A_COMMIT = 20_000

USERS = [f"user-{index:04d}@example.com" for index in range(500)]
WORKFLOWS = [f"Workflow {index}" for index in range(40)]
NODES = [f"Node {index}" for index in range(120)]
BASES = [f"Knowledge base {index}" for index in range(30)]
MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5"),
    ("openai", "o3"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-1"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-v4-pro"),
    ("mistral", "mistral-large-latest"),
    ("x-ai", "grok-4"),
    ("", "our-own-7b"),
)
ENDPOINTS = ("/v1/events", "/v1/analytics/{metric}", "/v1/workflows/{id}/runs", "/v1/agents/{id}")

#: How many of a hundred events are of which kind; runs and documents have two events each.
MIX = {
    EventTable.AI_OPERATIONS: 40,
    EventTable.MESSAGES: 20,
    EventTable.API_CALLS: 20,
    EventTable.FLOW_RUN_EVENTS: 12,
    EventTable.DOCUMENT_EVENTS: 4,
    EventTable.CONVERSATIONS: 3,
    EventTable.TRIGGER_EVENTS: 1,
}

Columns = dict[str, list[Any]]


class _Part:
    """The events of one commit, of the same stretch of time."""

    def __init__(self, seed: int, start_us: int, end_us: int, prices: PriceList) -> None:
        self.pick = np.random.default_rng(seed)
        self.seed = seed
        self.ends = (start_us, end_us)
        self.prices = prices

    def times(self, count: int) -> list[int]:
        return sorted(self.pick.integers(*self.ends, count).tolist())

    def some(self, values: Sequence[Any], count: int) -> list[Any]:
        return [values[index] for index in self.pick.integers(0, len(values), count).tolist()]

    def ids(self, name: str, count: int) -> list[str]:
        return [f"{name}-{self.seed}-{index}" for index in range(count)]

    def below(self, highest: int, count: int) -> list[int]:
        return list(self.pick.integers(0, highest, count).tolist())

    def operations(self, count: int) -> Columns:
        models = self.some(MODELS, count)
        ts_us = self.times(count)
        size = np.minimum(self.pick.lognormal(7, 1.2, count), 400_000).astype(np.int64)
        tokens = (size, size // 6, size // 4, size // 20, size // 12)
        counts = [column.tolist() for column in tokens]
        costs = [
            self.prices.price(*model, at, *used)
            for model, at, *used in zip(models, ts_us, *counts, strict=True)
        ]
        in_run = self.pick.random(count) < 0.7
        return {
            "ts_us": ts_us,
            "operation_id": self.ids("operation", count),
            "run_id": [
                f"run-{self.seed}-{index // 8}" if yes else ""
                for index, yes in enumerate(in_run.tolist())
            ],
            "conversation_id": [
                "" if yes else f"conversation-{self.seed}-{index // 20}"
                for index, yes in enumerate(in_run.tolist())
            ],
            "workflow_name": self.some(WORKFLOWS, count),
            "node": self.some(NODES, count),
            "user_id": self.some(USERS, count),
            "tool": self.some(("flow", "agent", "kb"), count),
            "provider": [provider for provider, _ in models],
            "model": [model for _, model in models],
            "input_tokens": counts[0],
            "output_tokens": counts[1],
            "cache_read_tokens": counts[2],
            "cache_write_tokens": counts[3],
            "reasoning_tokens": counts[4],
            "cached": [0] * count,
            "cost_pd": [cost for cost, _ in costs],
            "cache_cost_pd": [cache for _, cache in costs],
            "price_list": [self.prices.version] * count,
        }

    def messages(self, count: int) -> Columns:
        return {
            "ts_us": self.times(count),
            "message_id": self.ids("message", count),
            "conversation_id": [f"conversation-{self.seed}-{index // 7}" for index in range(count)],
            "role": self.some(("user", "agent"), count),
            "user_id": self.some(USERS, count),
        }

    def calls(self, count: int) -> Columns:
        return {
            "ts_us": self.times(count),
            "endpoint": self.some(ENDPOINTS, count),
            "method": self.some(("GET", "POST"), count),
            "status": self.some((200, 200, 200, 429, 500), count),
            "duration_us": self.below(3_000_000, count),
        }

    def runs(self, count: int) -> Columns:
        """The first half begin, the second half are the ends of the same."""
        half = count // 2
        ids = self.ids("run", half)
        starts = self.times(half)
        took = (self.pick.lognormal(2, 1.5, half) * 1e6).astype(np.int64).tolist()
        ends = [start + seconds for start, seconds in zip(starts, took, strict=True)]
        nothing: list[Any] = [""] * half
        return {
            "ts_us": starts + ends,
            "run_key": [key_of(name) for name in ids] * 2,
            "run_id": ids * 2,
            "workflow_id": nothing * 2,
            "workflow_name": self.some(WORKFLOWS, half) + nothing,
            "user_id": self.some(USERS, half) + nothing,
            "source": self.some(("manual", "trigger", "agent"), half) + nothing,
            "status": ["running"] * half + self.some(("completed", "completed", "failed"), half),
            "started_us": starts + [None] * half,
            "finished_us": [None] * half + ends,
        }

    def documents(self, count: int) -> Columns:
        """The first half are uploaded, the second half are the same, done."""
        half = count // 2
        ids = self.ids("document", half)
        starts = self.times(half)
        nothing: list[Any] = [""] * half
        return {
            "ts_us": [*starts, *(start + 5_000_000 for start in starts)],
            "document_key": [key_of(name) for name in ids] * 2,
            "document_id": ids * 2,
            "knowledge_base": self.some(BASES, half) + nothing,
            "name": ids + nothing,
            "file_type": self.some(("pdf", "docx", "xlsx", "html"), half) + nothing,
            "user_id": self.some(USERS, half) + nothing,
            "status": ["uploaded"] * half + self.some(("processed", "processed", "failed"), half),
        }

    def conversations(self, count: int) -> Columns:
        return {
            "ts_us": self.times(count),
            "conversation_id": self.ids("conversation", count),
            "user_id": self.some(USERS, count),
        }

    def triggers(self, count: int) -> Columns:
        ids = [f"trigger-{index}" for index in self.below(2_000, count)]
        return {
            "ts_us": self.times(count),
            "trigger_key": [key_of(name) for name in ids],
            "trigger_id": ids,
            "enabled": self.below(2, count),
        }


_KINDS: dict[EventTable, Callable[[_Part, int], Columns]] = {
    EventTable.AI_OPERATIONS: _Part.operations,
    EventTable.MESSAGES: _Part.messages,
    EventTable.API_CALLS: _Part.calls,
    EventTable.FLOW_RUN_EVENTS: _Part.runs,
    EventTable.DOCUMENT_EVENTS: _Part.documents,
    EventTable.CONVERSATIONS: _Part.conversations,
    EventTable.TRIGGER_EVENTS: _Part.triggers,
}


def key_of(name: str) -> int:
    """Return the key of a run, a document or a trigger."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def month(workspace_id: str, start_us: int, events: int) -> Iterator[list[EventBatch]]:
    """Yield the batches of each commit of a month, in the order of time."""
    prices = PriceList()
    prices.load()
    commits = events // EVENTS_A_COMMIT
    step_us = DAYS * DAY_US // commits
    for number in range(commits):
        at_us = start_us + number * step_us
        part = _Part(number, at_us, at_us + step_us, prices)
        group = []
        for table, share in MIX.items():
            columns = _KINDS[table](part, EVENTS_A_COMMIT * share // 100)
            size = len(columns["ts_us"])
            columns["event_id"] = [""] * size
            group.append(EventBatch(table, workspace_id, at_us, columns, [NO_KEY] * size))
        yield group


def fill(path: Path, workspace_id: str, start_us: int, events: int) -> None:
    """Store a month in a DuckDB file as a server would, in the order of its events."""
    store = DuckDBStore(str(path), memory_mb=512)
    try:
        for group in month(workspace_id, start_us, events):
            store.commit(group)
        store.rest()
    finally:
        store.close()
