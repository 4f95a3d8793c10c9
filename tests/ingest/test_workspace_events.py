"""Workspace events: what is taken as it is, what is rejected, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.errors import TooLargeError
from footfall.events.tables import TABLES, batch_columns
from footfall.ingest.model import (
    NO_KEY,
    EventBatch,
    EventTable,
    InvalidEventsError,
    RejectedEvent,
)
from footfall.ingest.workspace_events import (
    entity_key,
    workspace_event_batches,
    workspace_events_of_documents,
)
from footfall.ingest.workspace_fields import FIELDS, Kind
from footfall.v1 import ingest_pb2
from tests.ingest.values import NOW_S, NOW_US, FixedPrices

#: The least of each kind.
LEAST: Mapping[Kind, Mapping[str, Any]] = {
    Kind.FLOW_RUN: {"run_id": "r"},
    Kind.AI_OPERATION: {"operation_id": "o"},
    Kind.CONVERSATION: {"conversation_id": "c"},
    Kind.MESSAGE: {"message_id": "m"},
    Kind.DOCUMENT: {"document_id": "d"},
    Kind.TRIGGER: {"trigger_id": "t", "enabled": True},
    Kind.API_CALL: {"endpoint": "/"},
}
GOOD = {"message": {"message_id": "m"}}

Batches = dict[EventTable, EventBatch]


def judge(*documents: Any, key: str | None = None) -> tuple[Batches, list[RejectedEvent]]:
    """Judge JSON documents; no batches if none is good."""
    events = workspace_events_of_documents(documents)
    try:
        batches, rejected = workspace_event_batches("w", events, key, FixedPrices(), NOW_US)
    except InvalidEventsError as error:
        return {}, list(error.rejected)
    for batch in batches:
        names = {column.name for column in batch_columns(TABLES[batch.table])}
        assert batch.columns.keys() == names, "what the table takes"
        assert {len(column) for column in batch.columns.values()} == {len(batch)}
        assert (batch.tenant_id, batch.received_us) == ("w", NOW_US)
    assert len({batch.table for batch in batches}) == len(batches)
    return {batch.table: batch for batch in batches}, list(rejected)


def taken(kind: Kind, **fields: Any) -> dict[str, Any]:
    """Return the stored columns of one good event of a kind."""
    batches, rejected = judge({kind: {**LEAST[kind], **fields}})
    assert rejected == []
    (batch,) = batches.values()
    return {name: column[0] for name, column in batch.columns.items()}


def refused(kind: Kind, **fields: Any) -> str:
    """Return why an event is refused, between good ones that are not."""
    good = {kind: LEAST[kind]}
    batches, rejected = judge(good, {kind: {**LEAST[kind], **fields}}, GOOD, good)
    assert sum(map(len, batches.values())) == 3
    assert [row.index for row in rejected] == [1]
    assert rejected[0].code == "INVALID_FIELD"
    return rejected[0].message


def test_a_whole_run_is_taken_as_it_is() -> None:
    row = taken(
        Kind.FLOW_RUN,
        workflow_id="w1",
        workflow_name="Invoices",
        user_id="ana",
        source="trigger",
        status="completed",
        started_at="2023-11-14T22:00:00.25+00:00",
        finished_at=NOW_S - 1.5,
    )
    assert row == {
        "event_id": "",
        "ts_us": NOW_US,
        "run_key": entity_key("w", "r"),
        "run_id": "r",
        "workflow_id": "w1",
        "workflow_name": "Invoices",
        "user_id": "ana",
        "source": "trigger",
        "status": "completed",
        "started_us": 1_699_999_200_250_000,
        "finished_us": NOW_US - 1_500_000,
    }


def test_a_whole_operation_is_taken_as_it_is() -> None:
    sent = {
        "operation_id": "o",
        "run_id": "r",
        "conversation_id": "c",
        "workflow_name": "Invoices",
        "node": "summarise",
        "user_id": "ana",
        "tool": "kb",
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 2**53,
        "output_tokens": 2,
        "cache_read_tokens": 3,
        "cache_write_tokens": 4,
        "reasoning_tokens": 0,
    }
    row = taken(Kind.AI_OPERATION, **sent, cached=False, cost=0.1)
    assert row == {
        "event_id": "",
        "ts_us": NOW_US,
        **sent,
        "cached": 0,
        "cost_pd": 10**11,
        "cache_cost_pd": 0,
        "price_list": "",
    }


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        (Kind.FLOW_RUN, {}, {"source": "", "status": "", "started_us": None, "finished_us": None}),
        (Kind.AI_OPERATION, {}, {"model": "", "input_tokens": 0, "cached": 0, "cost_pd": None}),
        (Kind.CONVERSATION, {"user_id": "ana"}, {"conversation_id": "c", "user_id": "ana"}),
        (
            Kind.MESSAGE,
            {"role": "agent", "conversation_id": "c"},
            {"message_id": "m", "role": "agent", "conversation_id": "c", "user_id": ""},
        ),
        (
            Kind.DOCUMENT,
            {"knowledge_base": "kb", "name": "é.pdf", "file_type": "pdf", "status": "failed"},
            {"document_key": entity_key("w", "d"), "name": "é.pdf", "status": "failed"},
        ),
        (Kind.TRIGGER, {}, {"trigger_key": entity_key("w", "t"), "enabled": 1}),
        (Kind.TRIGGER, {"enabled": False}, {"enabled": 0}),
        (
            Kind.API_CALL,
            {"method": "GET", "status": 404.0, "duration_ms": 12.3456},
            {"endpoint": "/", "method": "GET", "status": 404, "duration_us": 12_346},
        ),
        (Kind.API_CALL, {}, {"method": "", "status": None, "duration_us": None}),
        (Kind.API_CALL, {"duration_ms": 0}, {"duration_us": 0}),
    ],
)
def test_the_other_kinds(kind: Kind, more: dict[str, Any], expected: dict[str, Any]) -> None:
    row = taken(kind, **more)
    assert {name: row[name] for name in expected} == expected


def test_kinds_are_parted_and_keep_their_places() -> None:
    documents = [{kind: LEAST[kind], "timestamp": NOW_S - n} for n, kind in enumerate(Kind)]
    bad = {"flow_run": {}}
    batches, rejected = judge(*documents, bad, *documents)
    assert [row.index for row in rejected] == [7]
    assert len(batches) == len(Kind)
    assert [batch.columns["ts_us"] for batch in batches.values()] == [
        [NOW_US - n * 1_000_000] * 2 for n in range(len(Kind))
    ]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "but has none"),
        ({"flow_run": None, "unheard_of": {}}, "but has none"),
        ({"event_id": "e", "timestamp": 1}, "but has none"),
        (
            {"message": {"message_id": "m"}, "flow_run": {"run_id": "r"}},
            "exactly one of `flow_run`, `ai_operation`, `conversation`, `message`, `document`, "
            "`trigger`, `api_call`, but has `flow_run` and `message`",
        ),
        ({"flow_run": "r"}, '`flow_run` must be an object, but is "r"'),
        ({"flow_run": []}, "`flow_run` must be an object, but is an array"),
        (7, "must be an object, but this one is a number"),
    ],
)
def test_an_event_has_exactly_one_kind(document: Any, said: str) -> None:
    batches, rejected = judge(GOOD, document)
    assert len(batches) == 1
    assert [row.index for row in rejected] == [1]
    assert said in rejected[0].message
    alone, rejected = judge(document)
    assert not alone
    assert said in rejected[0].message


@pytest.mark.parametrize("kind", list(Kind))
def test_ids_are_required(kind: Kind) -> None:
    name = next(iter(LEAST[kind]))
    for value in (None, ""):
        assert refused(kind, **{name: value}) == (
            f"`{kind}.{name}` is required, but is absent or empty."
        )


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (Kind.FLOW_RUN, {"source": "cron"}, '`flow_run.source` must be one of "manual", "trigger"'),
        (Kind.FLOW_RUN, {"status": "Running"}, '"stopped", but is "Running"'),
        (Kind.FLOW_RUN, {"status": 1}, "`flow_run.status` must be a text, but is 1"),
        (Kind.FLOW_RUN, {"started_at": "yesterday"}, "`flow_run.started_at` must be seconds"),
        (Kind.FLOW_RUN, {"finished_at": NOW_S + 86_401}, "`flow_run.finished_at` must be at most"),
        (Kind.AI_OPERATION, {"tool": "KB"}, '`ai_operation.tool` must be one of "flow"'),
        (Kind.AI_OPERATION, {"input_tokens": -1}, "`ai_operation.input_tokens` must be an integer"),
        (Kind.AI_OPERATION, {"output_tokens": 2**53 + 1}, "0 to 9007199254740992"),
        (Kind.AI_OPERATION, {"reasoning_tokens": "3"}, "`ai_operation.reasoning_tokens`"),
        (Kind.AI_OPERATION, {"cached": 1}, "`ai_operation.cached` must be true or false, but is 1"),
        (Kind.AI_OPERATION, {"cost": -0.01}, "`ai_operation.cost` must be a number of dollars"),
        (Kind.AI_OPERATION, {"cost": "0.1"}, 'from 0 to 1000000, but is "0.1"'),
        (Kind.AI_OPERATION, {"cost": 1_000_000.01}, "`ai_operation.cost`"),
        (Kind.AI_OPERATION, {"cost": math.nan}, "`ai_operation.cost`"),
        (Kind.AI_OPERATION, {"cost": True}, "but is true"),
        (Kind.MESSAGE, {"role": "assistant"}, '`message.role` must be one of "user", "agent"'),
        (Kind.DOCUMENT, {"status": "trained"}, "`document.status`"),
        (Kind.DOCUMENT, {"name": "x" * 2049}, "`document.name` has 2049 characters; at most 2048"),
        (Kind.TRIGGER, {"enabled": None}, "`trigger.enabled` is required: true or false"),
        (Kind.TRIGGER, {"enabled": "yes"}, '`trigger.enabled` must be true or false, but is "yes"'),
        (Kind.API_CALL, {"status": 1000}, "`api_call.status` must be an integer from 0 to 999"),
        (Kind.API_CALL, {"duration_ms": -1}, "`api_call.duration_ms` must be a number from 0"),
    ],
)
def test_wrong_fields(kind: Kind, fields: dict[str, Any], said: str) -> None:
    assert said in refused(kind, **fields)


def test_texts_are_bounded() -> None:
    assert taken(Kind.MESSAGE, message_id="é" * 256)["message_id"] == "é" * 256
    assert "257 characters" in refused(Kind.MESSAGE, message_id="é" * 257)
    assert taken(Kind.FLOW_RUN, run_id="\0\ud800")["run_key"] == entity_key("w", "\ufffd\ufffd")


def test_what_all_events_have_is_judged_once() -> None:
    _, rejected = judge(
        GOOD,
        {**GOOD, "timestamp": "2020"},
        {**GOOD, "event_id": "x" * 129},
        {"message": {}, "event_id": 7},
    )
    assert [row.index for row in rejected] == [1, 2, 3]
    assert "`timestamp`" in rejected[0].message
    assert "`event_id` has 129 characters" in rejected[1].message
    assert "`event_id` must be a text" in rejected[2].message, "the first fault"


def test_an_event_over_64_kib_is_too_large() -> None:
    large = {"message": {"message_id": "x" * 65_537}}
    halves = {"event_id": "é" * 16_384, "message": {"message_id": "é" * 16_385}}
    batches, rejected = judge(large, GOOD, halves)
    assert len(batches[EventTable.MESSAGES]) == 1
    assert [(row.index, row.code) for row in rejected] == [
        (0, "EVENT_TOO_LARGE"),
        (2, "EVENT_TOO_LARGE"),
    ]


def test_batches_are_bounded() -> None:
    with pytest.raises(TooLargeError):
        judge(*[GOOD] * 10_001)
    with pytest.raises(InvalidEventsError, match="holds no event"):
        workspace_event_batches("w", workspace_events_of_documents([]), None, FixedPrices(), NOW_US)
    batches, _ = judge(*[GOOD, {"flow_run": {"run_id": "r" * 200}}] * 10)
    first, second = batches.values()
    assert first.text_size >= 10 * 201
    assert second.text_size == 0, "counted with the first"


# No deadline: the machine may be busy.
@given(st.decimals(0, 1_000_000, places=12))
def test_costs_are_kept_to_the_last_digit(dollars: Decimal) -> None:
    amount = float(dollars)
    kept = taken(Kind.AI_OPERATION, cost=amount)["cost_pd"]
    assert kept == round(Decimal(repr(amount)) * 10**12)
    if dollars < 1000:
        assert kept == int(dollars * 10**12), "doubles tell these apart"


def test_costs_are_the_clients_else_the_lists() -> None:
    def cost(**fields: Any) -> tuple[Any, ...]:
        row = taken(Kind.AI_OPERATION, input_tokens=10, cache_read_tokens=4, **fields)
        return row["cost_pd"], row["cache_cost_pd"], row["price_list"]

    assert cost(model="model-7") == (70, 28, "list 1")
    assert cost(model="model-7", cost=0) == (0, 0, "")
    assert cost(model="model-7", cost=1_000_000) == (10**18, 0, "")
    assert cost(model="model-7", cached=True) == (0, 0, "")
    assert cost(cost=3.5, cached=True) == (0, 0, "")
    assert cost(model="model-8") == (None, 0, "list 1")
    assert cost(provider="acme") == (None, 0, "list 1")
    assert cost() == (None, 0, "")


def test_so_many_models_are_looked_up_in_one_batch_and_no_more() -> None:
    def operation(model: str) -> dict[str, Any]:
        return {"ai_operation": {"operation_id": model, "model": model, "input_tokens": 1}}

    models = [*(f"unheard-of-{n}" for n in range(199)), "model-7", "another", "model-7"]
    batches, _ = judge(*map(operation, models))
    columns = batches[EventTable.AI_OPERATIONS].columns
    assert columns["cost_pd"][-3:] == [7, None, 7]
    assert columns["price_list"][-3:] == ["list 1", "", "list 1"]


def keys_of(document: dict[str, Any], key: str | None = None) -> bytes:
    batches, _ = judge(document, key=key)
    ((found,),) = (batch.dedup_keys for batch in batches.values())
    return found


@pytest.mark.parametrize("kind", list(Kind))
def test_what_makes_an_event_the_same(kind: Kind) -> None:
    event = {kind: LEAST[kind]}
    named = keys_of({**event, "event_id": "e"})
    assert named == keys_of({"event_id": "e", "timestamp": 5, "flow_run": {"run_id": "other"}})
    assert named != keys_of({**event, "event_id": "f"})
    bare, keyed = keys_of(event), keys_of(event, key="K")
    if kind in {Kind.AI_OPERATION, Kind.CONVERSATION, Kind.MESSAGE}:
        # By their own id, each kind by itself, in whatever batch they come.
        assert NO_KEY != bare == keyed
        (id_name,) = LEAST[kind]
        assert bare != keys_of({kind: {id_name: "other"}})
        assert bare != named
    else:
        assert bare == NO_KEY != keyed


def test_ids_of_kinds_do_not_meet() -> None:
    same = {
        keys_of({Kind.AI_OPERATION: {"operation_id": "x"}}),
        keys_of({Kind.CONVERSATION: {"conversation_id": "x"}}),
        keys_of({Kind.MESSAGE: {"message_id": "x"}}),
        keys_of({**GOOD, "event_id": "x"}),
    }
    assert len(same) == 4


def test_places_are_those_of_the_batch_as_sent() -> None:
    run = {"flow_run": {"run_id": "r"}}
    batches, _ = judge(GOOD, {}, run, run, key="K")
    mended, _ = judge(GOOD, GOOD, run, run, key="K")
    table = EventTable.FLOW_RUN_EVENTS
    assert batches[table].dedup_keys == mended[table].dedup_keys
    assert len(set(batches[table].dedup_keys)) == 2


def test_fields_are_those_of_the_protos() -> None:
    kinds = ingest_pb2.WorkspaceEvent.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert {field.name: [f.name for f in field.message_type.fields] for field in kinds} == {
        kind.value: list(names) for kind, names in FIELDS.items()
    }


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("ab\0\ud800\udfff😀", max_size=300)
    | st.sampled_from(["manual", "running", "flow", "user", "uploaded"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children),
    max_leaves=4,
)
BODIES = {
    kind: st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON_VALUES))
    for kind, names in FIELDS.items()
}
EVENTS = st.sampled_from(list(Kind)).flatmap(
    lambda kind: st.fixed_dictionaries(
        {kind.value: BODIES[kind] | JSON_VALUES},
        optional=dict.fromkeys({"event_id", "timestamp", "message"} - {kind.value}, JSON_VALUES),
    )
)


@given(st.lists(EVENTS | JSON_VALUES, max_size=6), st.none() | st.text(max_size=5))
def test_anything_is_judged(documents: list[Any], key: str | None) -> None:
    batches, rejected = judge(*documents, GOOD, key=key)
    assert sum(map(len, batches.values())) + len(rejected) == len(documents) + 1
    for row in rejected:
        row.message.encode()
        assert len(row.message) < 300
    for batch in batches.values():
        for name, column in batch.columns.items():
            for value in column:
                if isinstance(value, str):
                    assert "\0" not in value
                    value.encode()
                else:
                    assert value is None or type(value) is int, name
