"""What workspace events are made of: the fields of each kind, and what they must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from footfall.ingest.model import RawColumns
from footfall.ingest.validate import (
    choice_column,
    flag_column,
    integer_column,
    money_column,
    number_column,
    text_column,
    time_column,
    where_present,
)
from footfall.ingest.verdicts import Verdicts

TOKENS_MAX: Final = 2**53
COST_MAX_DOLLARS: Final = 1_000_000
STATUS_MAX: Final = 999
DURATION_MAX_MS: Final = 10**12

_ID: Final = 256
_NAME: Final = 256
_LONG: Final = 2048


class Kind(StrEnum):
    """The member of an event that says what happened."""

    FLOW_RUN = "flow_run"
    AI_OPERATION = "ai_operation"
    CONVERSATION = "conversation"
    MESSAGE = "message"
    DOCUMENT = "document"
    TRIGGER = "trigger"
    API_CALL = "api_call"


#: The counts of tokens that an operation may have.
TOKENS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


#: The fields of each kind as they are sent.
FIELDS: Final[Mapping[Kind, Sequence[str]]] = {
    Kind.FLOW_RUN: (
        "run_id",
        "workflow_id",
        "workflow_name",
        "user_id",
        "source",
        "status",
        "started_at",
        "finished_at",
    ),
    Kind.AI_OPERATION: (
        "operation_id",
        "run_id",
        "conversation_id",
        "workflow_name",
        "node",
        "user_id",
        "tool",
        "provider",
        "model",
        *TOKENS,
        "cached",
        "cost",
    ),
    Kind.CONVERSATION: ("conversation_id", "user_id"),
    Kind.MESSAGE: ("message_id", "conversation_id", "role", "user_id"),
    Kind.DOCUMENT: ("document_id", "knowledge_base", "name", "file_type", "user_id", "status"),
    Kind.TRIGGER: ("trigger_id", "enabled"),
    Kind.API_CALL: ("endpoint", "method", "status", "duration_ms"),
}


class KindFields:
    """The fields of one kind's events, each judged by what it must be."""

    def __init__(self, kind: Kind, raw: RawColumns, verdicts: Verdicts, now_us: int) -> None:
        self._prefix = f"{kind}."
        self._raw = raw
        self._verdicts = verdicts
        self._now_us = now_us

    def text(self, name: str, characters_max: int, *, required: bool = False) -> list[str]:
        return text_column(
            self._raw, self._prefix + name, characters_max, self._verdicts, required=required
        )

    def choice(self, name: str, *choices: str) -> list[str]:
        known = {choice: choice for choice in ("", *choices)}
        return choice_column(self._raw, self._prefix + name, known, self._verdicts)

    def time(self, name: str) -> list[int | None]:
        name = self._prefix + name
        times = time_column(self._raw, name, self._verdicts, self._now_us)
        return where_present(self._raw, name, times)

    def tokens(self, name: str) -> list[int]:
        counts = integer_column(self._raw, self._prefix + name, TOKENS_MAX, self._verdicts)
        return [count or 0 for count in counts]

    def integer(self, name: str, highest: int) -> list[int | None]:
        return integer_column(self._raw, self._prefix + name, highest, self._verdicts)

    def dollars(self, name: str) -> list[int | None]:
        return money_column(self._raw, self._prefix + name, COST_MAX_DOLLARS, self._verdicts)

    def milliseconds(self, name: str) -> list[int | None]:
        """Return microseconds, `None` where absent."""
        name = self._prefix + name
        durations = number_column(self._raw, name, DURATION_MAX_MS, self._verdicts)
        return where_present(self._raw, name, [round(value * 1000) for value in durations])

    def flag(self, name: str, *, required: bool = False) -> list[int]:
        return flag_column(self._raw, self._prefix + name, self._verdicts, required=required)


def _flow_run(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "run_id": fields.text("run_id", _ID, required=True),
        "workflow_id": fields.text("workflow_id", _ID),
        "workflow_name": fields.text("workflow_name", _NAME),
        "user_id": fields.text("user_id", _ID),
        "source": fields.choice("source", "manual", "trigger", "agent"),
        "status": fields.choice("status", "queued", "running", "completed", "failed", "stopped"),
        "started_us": fields.time("started_at"),
        "finished_us": fields.time("finished_at"),
    }


def _ai_operation(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "operation_id": fields.text("operation_id", _ID, required=True),
        "run_id": fields.text("run_id", _ID),
        "conversation_id": fields.text("conversation_id", _ID),
        "workflow_name": fields.text("workflow_name", _NAME),
        "node": fields.text("node", _NAME),
        "user_id": fields.text("user_id", _ID),
        "tool": fields.choice("tool", "flow", "agent", "kb"),
        "provider": fields.text("provider", _NAME),
        "model": fields.text("model", _NAME),
        **{name: fields.tokens(name) for name in TOKENS},
        "cached": fields.flag("cached"),
        "cost_pd": fields.dollars("cost"),
    }


def _conversation(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "conversation_id": fields.text("conversation_id", _ID, required=True),
        "user_id": fields.text("user_id", _ID),
    }


def _message(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "message_id": fields.text("message_id", _ID, required=True),
        "conversation_id": fields.text("conversation_id", _ID),
        "role": fields.choice("role", "user", "agent"),
        "user_id": fields.text("user_id", _ID),
    }


def _document(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "document_id": fields.text("document_id", _ID, required=True),
        "knowledge_base": fields.text("knowledge_base", _NAME),
        "name": fields.text("name", _LONG),
        "file_type": fields.text("file_type", _NAME),
        "user_id": fields.text("user_id", _ID),
        "status": fields.choice("status", "uploaded", "processed", "failed"),
    }


def _trigger(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "trigger_id": fields.text("trigger_id", _ID, required=True),
        "enabled": fields.flag("enabled", required=True),
    }


def _api_call(fields: KindFields) -> dict[str, list[Any]]:
    return {
        "endpoint": fields.text("endpoint", _LONG, required=True),
        "method": fields.text("method", 32),
        "status": fields.integer("status", STATUS_MAX),
        "duration_us": fields.milliseconds("duration_ms"),
    }


#: Returns a kind's own columns as they will be stored, before anything is made of them.
JUDGES: Final[Mapping[Kind, Callable[[KindFields], dict[str, list[Any]]]]] = {
    Kind.FLOW_RUN: _flow_run,
    Kind.AI_OPERATION: _ai_operation,
    Kind.CONVERSATION: _conversation,
    Kind.MESSAGE: _message,
    Kind.DOCUMENT: _document,
    Kind.TRIGGER: _trigger,
    Kind.API_CALL: _api_call,
}
