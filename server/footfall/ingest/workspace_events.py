"""Workspace events: from raw columns to one batch of good events a kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from footfall.ingest.columns import columns_of_documents
from footfall.ingest.dedup import dedup_keys
from footfall.ingest.model import EventBatch, EventTable, RawColumns, RejectedEvent
from footfall.ingest.ports import PriceSource
from footfall.ingest.validate import text_column, time_column
from footfall.ingest.verdicts import Verdicts, judge_sizes, open_verdicts, shown
from footfall.ingest.workspace_fields import FIELDS, JUDGES, TOKENS, Kind, KindFields

#: Models of one batch that are looked up in the price list. Looking for a name that the list does
#: not know takes up to half a millisecond, and names come from outside; operations of further
#: models stay without a cost, to be priced when they are asked about.
_MODELS_PRICED_MAX: Final = 200
_COMMON: Final = ("event_id", "timestamp")

_TABLES: Final[Mapping[Kind, EventTable]] = {
    Kind.FLOW_RUN: EventTable.FLOW_RUN_EVENTS,
    Kind.AI_OPERATION: EventTable.AI_OPERATIONS,
    Kind.CONVERSATION: EventTable.CONVERSATIONS,
    Kind.MESSAGE: EventTable.MESSAGES,
    Kind.DOCUMENT: EventTable.DOCUMENT_EVENTS,
    Kind.TRIGGER: EventTable.TRIGGER_EVENTS,
    Kind.API_CALL: EventTable.API_CALLS,
}

#: The kinds whose events update each other, with the column of their id and that of its key.
_ENTITIES: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.FLOW_RUN: ("run_id", "run_key"),
    Kind.DOCUMENT: ("document_id", "document_key"),
    Kind.TRIGGER: ("trigger_id", "trigger_key"),
}
#: The kinds that happen once, with the column of their id.
_FACTS: Final[Mapping[Kind, str]] = {
    Kind.AI_OPERATION: "operation_id",
    Kind.CONVERSATION: "conversation_id",
    Kind.MESSAGE: "message_id",
}


@dataclass(frozen=True, slots=True)
class RawKind:
    """The events of one kind as they arrive: their places in the batch, and their fields' columns,
    named like "flow_run.run_id".
    """

    places: Sequence[int]
    columns: RawColumns


@dataclass(frozen=True, slots=True)
class RawWorkspaceEvents:
    """A batch as it arrives."""

    #: The columns of `event_id` and `timestamp`, of all events.
    common: RawColumns
    kinds: Mapping[Kind, RawKind]
    #: Why events are of no kind, by their places.
    unkind: Mapping[int, str]


def workspace_events_of_documents(documents: Sequence[Any]) -> RawWorkspaceEvents:
    """Return parsed JSON documents as a batch; members that are no field are left out."""
    places: dict[Kind, list[int]] = {}
    bodies: dict[Kind, list[Any]] = {}
    unkind: dict[int, str] = {}
    for place, document in enumerate(documents):
        if not isinstance(document, dict):
            continue  # rejected by what its column says
        named = [kind for kind in Kind if document.get(kind) is not None]
        if len(named) != 1:
            unkind[place] = not_one_kind(named)
            continue
        (kind,) = named
        body = document[kind]
        if not isinstance(body, dict):
            unkind[place] = f"`{kind}` must be an object, but is {shown(body)}."
            continue
        places.setdefault(kind, []).append(place)
        bodies.setdefault(kind, []).append(body)
    return RawWorkspaceEvents(
        columns_of_documents(documents, _COMMON),
        {
            kind: RawKind(places[kind], columns_of_documents(found, FIELDS[kind], f"{kind}."))
            for kind, found in bodies.items()
        },
        unkind,
    )


def not_one_kind(named: Sequence[Kind]) -> str:
    """Return what is wrong with an event that names these kinds."""
    known = ", ".join(f"`{kind}`" for kind in Kind)
    has = " and ".join(f"`{kind}`" for kind in named) or "none"
    return f"An event must have exactly one of {known}, but has {has}."


def workspace_event_batches(
    workspace_id: str,
    raw: RawWorkspaceEvents,
    idempotency_key: str | None,
    prices: PriceSource,
    now_us: int,
) -> tuple[list[EventBatch], Sequence[RejectedEvent]]:
    """Return the good events, a batch a kind, and the bad ones.

    Raises InvalidEventsError if no event is good, TooLargeError if there are too many.
    """
    verdicts = open_verdicts(raw.common)
    event_ids = text_column(raw.common, "event_id", 128, verdicts)
    times = time_column(raw.common, "timestamp", verdicts, now_us)
    for place, message in raw.unkind.items():
        verdicts.reject(place, "", message)
    judged = {
        kind: _judge(kind, part, raw.common, verdicts, now_us) for kind, part in raw.kinds.items()
    }
    good = set(verdicts.good_indices()) if verdicts else None
    batches: list[EventBatch] = []
    for kind, judged_columns in judged.items():
        places = raw.kinds[kind].places
        columns: dict[str, list[Any]] = {
            "event_id": [event_ids[place] for place in places],
            "ts_us": [times[place] for place in places],
            **judged_columns,
        }
        if good is not None:
            kept = [row for row, place in enumerate(places) if place in good]
            columns = {name: [column[row] for row in kept] for name, column in columns.items()}
            places = [places[row] for row in kept]
        if not places:
            continue
        batch = EventBatch(
            table=_TABLES[kind],
            tenant_id=workspace_id,
            received_us=now_us,
            columns=_finished(kind, workspace_id, columns, prices),
            dedup_keys=_dedup_keys(kind, workspace_id, columns, places, idempotency_key),
            # What all kinds have together counts for the first.
            text_size=0 if batches else verdicts.text_size,
        )
        batches.append(batch)
    return batches, verdicts.rejected()


def _judge(
    kind: Kind, part: RawKind, common: RawColumns, verdicts: Verdicts, now_us: int
) -> dict[str, list[Any]]:
    """Return the kind's own columns, with its verdicts noted among those of the batch."""
    inner = Verdicts(len(part.places))
    columns = JUDGES[kind](KindFields(kind, part.columns, inner, now_us))
    inner.event_bytes_bound += verdicts.event_bytes_bound
    whole = dict(part.columns)
    for name in common.keys() & set(_COMMON):
        whole[name] = [common[name][place] for place in part.places]
    judge_sizes(whole, list(whole), inner)
    verdicts.take(inner, part.places)
    return columns


def entity_key(workspace_id: str, entity_id: str) -> int:
    """Return the key of a run, document or trigger: a signed 64-bit integer, the same on every
    server for ever.
    """
    digest = blake2b(f"{workspace_id}\0{entity_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _dedup_keys(
    kind: Kind,
    workspace_id: str,
    columns: Mapping[str, list[Any]],
    places: Sequence[int],
    idempotency_key: str | None,
) -> list[bytes]:
    """Return an event's key each.

    What happens once is known by its own id where the event has none: an operation that is
    reported twice has cost its tokens once.
    """
    event_ids = columns["event_id"]
    if kind not in _FACTS or all(event_ids):
        return dedup_keys(workspace_id, event_ids, places, idempotency_key)
    own = dedup_keys(f"{workspace_id}\0{kind}", columns[_FACTS[kind]], places, None)
    named = dedup_keys(workspace_id, event_ids, places, None)
    return [
        key if event_id else of_fact
        for event_id, key, of_fact in zip(event_ids, named, own, strict=True)
    ]


def _finished(
    kind: Kind, workspace_id: str, columns: dict[str, list[Any]], prices: PriceSource
) -> dict[str, list[Any]]:
    """Return all columns of good events, with what is made of what was sent."""
    if kind in _ENTITIES:
        id_name, key_name = _ENTITIES[kind]
        columns[key_name] = [entity_key(workspace_id, text) for text in columns[id_name]]
    elif kind is Kind.AI_OPERATION:
        _add_costs(columns, prices)
    return columns


def _add_costs(columns: dict[str, list[Any]], prices: PriceSource) -> None:
    """Add what operations cost by the price list, where the client does not say; a response from a
    cache of the client's costs nothing.
    """
    costs, cached = columns["cost_pd"], columns["cached"]
    cache_costs = [0] * len(costs)
    lists = [""] * len(costs)
    models: set[tuple[str, str]] = set()
    operations = zip(
        columns["provider"],
        columns["model"],
        columns["ts_us"],
        *(columns[name] for name in TOKENS),
        strict=True,
    )
    for row, (provider, model, *of_operation) in enumerate(operations):
        if cached[row]:
            costs[row] = 0
        elif costs[row] is None and (provider or model):
            if (provider, model) not in models:
                if len(models) == _MODELS_PRICED_MAX:
                    continue
                models.add((provider, model))
            costs[row], cache_costs[row] = prices.price(provider, model, *of_operation)
            lists[row] = prices.version
    columns |= {"cache_cost_pd": cache_costs, "price_list": lists}
