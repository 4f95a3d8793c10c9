"""A workspace with a month of everything that workspaces report, and its events as batches."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from footfall.analytics.metrics.pricing import PriceList
from footfall.events.tables import TABLES, batch_columns
from footfall.ingest.model import NO_KEY, EventBatch, EventTable

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: The month: [START, END], 30 days of August and September 2026, when a price changed.
START = int(datetime(2026, 8, 10, tzinfo=UTC).timestamp()) * SECOND
END = START + 30 * DAY - SECOND

USERS = ("ana", "bo", "Zoë", "用户", "d'Arc", "")
WORKFLOWS = ("Invoices", "Support “bot”", "ETL", "")
NODES = ("summarise", "classify", "extract", "")
#: (provider, model); the last four have no price.
MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-v4-pro"),
    ("", "gpt-4o"),
    ("azure", "gpt-4o"),
    ("acme", "gpt-4o"),
    ("", "our-own-7b"),
    ("acme", "our-own-7b"),
    ("", ""),
)
BASES = ("Handbook", "Contracts", "日本語", "")
TYPES = ("pdf", "docx", "xlsx", "")
ENDPOINTS = ("/v1/workflows/{id}/runs", "/v1/events", "/v1/analytics/{metric}")


@dataclass(frozen=True)
class Event:
    """An event: its kind as published, its time, and its fields as the tables have them."""

    table: EventTable
    ts_us: int
    fields: dict[str, Any] = field(hash=False)


def month(seed: int = 7) -> list[Event]:
    """Return the events of a month and its edges, in the order of their arrival."""
    made = _Month(random.Random(seed))
    made.runs(250)
    made.operations(700)
    made.conversations(80)
    made.documents(120)
    made.triggers(25)
    made.calls(400)
    made.edges()
    # Late ones, and updates before what they update.
    made.pick.shuffle(made.events)
    return made.events


class _Month:
    def __init__(self, pick: random.Random) -> None:
        self.pick = pick
        self.events: list[Event] = []

    def add(self, table: EventTable, ts_us: int, **fields: Any) -> None:
        self.events.append(Event(table, ts_us, fields))

    def time(self) -> int:
        """A moment in the month, or up to two days outside of it."""
        return self.pick.randrange(START - 2 * DAY, END + 2 * DAY)

    def run(self, run_id: str, **fields: Any) -> dict[str, Any]:
        nothing: dict[str, Any] = dict.fromkeys(
            ("workflow_id", "workflow_name", "user_id", "source", "status"), ""
        )
        return nothing | {
            "run_id": run_id,
            "started_us": None,
            "finished_us": None,
            **fields,
        }

    def runs(self, count: int) -> None:
        pick, table = self.pick, EventTable.FLOW_RUN_EVENTS
        for index in range(count):
            name, begins = f"run-{index}", self.time()
            ends = begins + pick.choice((0, 1, 1499, pick.randrange(HOUR), pick.randrange(3 * DAY)))
            self.add(
                table,
                begins,
                **self.run(
                    name,
                    workflow_id=f"w{index % 4}",
                    workflow_name=pick.choice(WORKFLOWS),
                    user_id=pick.choice(USERS),
                    source=pick.choice(("manual", "trigger", "agent")),
                    status=pick.choice(("queued", "running")),
                    started_us=pick.choice((None, begins, begins + pick.randrange(DAY))),
                ),
            )
            if pick.random() < 0.8:
                done = pick.choice(("completed", "completed", "failed", "stopped"))
                started = pick.choice((None, begins))
                more = self.run(name, status=done, started_us=started, finished_us=ends)
                self.add(table, ends, **more)
            if pick.random() < 0.1:
                self.add(table, ends + 1, **self.run(name, user_id=pick.choice(USERS)))

    def operations(self, count: int) -> None:
        pick = self.pick
        for index in range(count):
            provider, model = pick.choice(MODELS)
            input_tokens = pick.choice(
                (0, pick.randrange(9000), pick.randrange(9000), 200_000, 200_001, 350_000)
            )
            output_tokens = pick.randrange(4000)
            read = pick.randint(0, input_tokens) if pick.random() < 0.3 else 0
            write = pick.randint(0, input_tokens - read) if pick.random() < 0.2 else 0
            self.add(
                EventTable.AI_OPERATIONS,
                self.time(),
                operation_id=f"op-{index}",
                run_id=pick.choice(("", f"run-{pick.randrange(250)}")),
                conversation_id=pick.choice(("", f"conversation-{pick.randrange(80)}")),
                workflow_name=pick.choice(WORKFLOWS),
                node=pick.choice(NODES),
                user_id=pick.choice(USERS),
                tool=pick.choice(("flow", "agent", "kb", "")),
                provider=provider,
                model=model,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cache_read_tokens=read,
                cache_write_tokens=write,
                reasoning_tokens=pick.randint(0, output_tokens) if pick.random() < 0.2 else 0,
                cached=int(pick.random() < 0.1),
                #: What the client says: picodollars.
                given_pd=pick.randrange(10**12) if pick.random() < 0.1 else None,
            )

    def conversations(self, count: int) -> None:
        pick = self.pick
        for index in range(count):
            name, begins, user = f"conversation-{index}", self.time(), pick.choice(USERS)
            self.add(EventTable.CONVERSATIONS, begins, conversation_id=name, user_id=user)
            for number in range(pick.randrange(9)):
                self.add(
                    EventTable.MESSAGES,
                    begins + number * pick.randrange(HOUR),
                    message_id=f"{name}-{number}",
                    conversation_id=name,
                    role=("user", "agent")[number % 2],
                    user_id=pick.choice((user, "")),
                )

    def documents(self, count: int) -> None:
        pick, table = self.pick, EventTable.DOCUMENT_EVENTS
        for index in range(count):
            name, begins = f"doc-{index}", self.time()
            known = {
                "document_id": name,
                "knowledge_base": "",
                "name": "",
                "file_type": "",
                "user_id": "",
            }
            first = known | {
                "knowledge_base": pick.choice(BASES),
                "name": f"{name}.bin",
                "file_type": pick.choice(TYPES),
                "user_id": pick.choice(USERS),
            }
            self.add(table, begins, **first, status=pick.choice(("uploaded", "uploaded", "")))
            if pick.random() < 0.8:
                done = pick.choice(("processed", "processed", "failed"))
                self.add(table, begins + pick.randrange(DAY), **known, status=done)

    def triggers(self, count: int) -> None:
        for index in range(count):
            name = f"trigger-{index}"
            for _ in range(self.pick.randint(1, 3)):
                self.add(
                    EventTable.TRIGGER_EVENTS,
                    self.time(),
                    trigger_id=name,
                    enabled=self.pick.randrange(2),
                )

    def call(self, ts_us: int, **fields: Any) -> None:
        pick = self.pick
        common = {
            "endpoint": pick.choice(ENDPOINTS),
            "method": pick.choice(("GET", "POST")),
            "status": pick.choice((200, 200, 429, 500, None)),
            "duration_us": pick.choice((None, 0, 499, 500, 142_000, pick.randrange(5 * SECOND))),
        }
        self.add(EventTable.API_CALLS, ts_us, **(common | fields))

    def calls(self, count: int) -> None:
        for _ in range(count):
            self.call(self.time())
        # At the same microsecond: the order of storage decides.
        for index in range(70):
            self.call(START + 5 * DAY, endpoint=f"/tie/{index}")

    def edges(self) -> None:
        """At both ends of the month, and a microsecond outside of them."""
        for at in (START - 1, START, END, END + 1):
            self.call(at, endpoint="/edge")
            self.add(
                EventTable.FLOW_RUN_EVENTS,
                at,
                **self.run(f"edge-{at}", source="manual", status="failed", user_id="edge"),
            )
            self.add(
                EventTable.MESSAGES,
                at,
                message_id=f"edge-{at}",
                conversation_id="",
                role="user",
                user_id="edge",
            )


#: The key that stands for the id of what events add up to.
_KEYS = {"run_key": "run_id", "document_key": "document_id", "trigger_key": "trigger_id"}


def _key(workspace_id: str, name: str) -> int:
    digest = hashlib.blake2b(f"{workspace_id}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def batches(events: Iterable[Event], workspace_id: str, prices: PriceList) -> list[EventBatch]:
    """Return events as the batches of one commit, every other operation priced."""
    rows: defaultdict[EventTable, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        row = {"event_id": "", "ts_us": event.ts_us, **event.fields}
        row |= {key: _key(workspace_id, row[name]) for key, name in _KEYS.items() if name in row}
        if event.table is EventTable.AI_OPERATIONS:
            late = len(rows[event.table]) % 2 == 1
            row |= _priced(row, None if late else prices)
        rows[event.table].append(row)
    return [
        EventBatch(
            table,
            workspace_id,
            END,
            {
                column.name: [row[column.name] for row in mine]
                for column in batch_columns(TABLES[table])
            },
            [NO_KEY] * len(mine),
        )
        for table, mine in rows.items()
    ]


#: What each table's events are called as they are sent.
KINDS = {
    EventTable.FLOW_RUN_EVENTS: "flow_run",
    EventTable.AI_OPERATIONS: "ai_operation",
    EventTable.CONVERSATIONS: "conversation",
    EventTable.MESSAGES: "message",
    EventTable.DOCUMENT_EVENTS: "document",
    EventTable.TRIGGER_EVENTS: "trigger",
    EventTable.API_CALLS: "api_call",
}


def as_sent(event: Event) -> dict[str, Any]:
    """Return an event as the JSON document that a workspace sends."""
    body: dict[str, Any] = {}
    for name, value in event.fields.items():
        if value is None:
            continue
        match name:
            case "started_us" | "finished_us":
                body[name.replace("_us", "_at")] = _text(value)
            case "duration_us":
                body["duration_ms"] = value / 1000
            case "given_pd":
                body["cost"] = value / 10**12
            case "enabled" | "cached":
                body[name] = bool(value)
            case _:
                body[name] = value
    return {"timestamp": _text(event.ts_us), KINDS[event.table]: body}


def _text(us: int) -> str:
    moment = datetime.fromtimestamp(us // SECOND, UTC) + timedelta(microseconds=us % SECOND)
    return moment.isoformat(timespec="microseconds")


def _priced(row: dict[str, Any], prices: PriceList | None) -> dict[str, Any]:
    if row["cached"]:
        return {"cost_pd": 0, "cache_cost_pd": 0, "price_list": ""}
    if row["given_pd"] is not None:
        return {"cost_pd": row["given_pd"], "cache_cost_pd": 0, "price_list": ""}
    if prices is None:
        return {"cost_pd": None, "cache_cost_pd": 0, "price_list": ""}
    kinds = ("input", "output", "cache_read", "cache_write", "reasoning")
    tokens = [row[f"{kind}_tokens"] for kind in kinds]
    cost, cache = prices.price(row["provider"], row["model"], row["ts_us"], *tokens)
    return {"cost_pd": cost, "cache_cost_pd": cache, "price_list": prices.version}
