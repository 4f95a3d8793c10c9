"""Events from messages and JSON bodies to raw columns, and verdicts and times back to messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict

from footfall.errors import InvalidInputError, UnsupportedMediaTypeError
from footfall.ingest.model import IngestResult, RawColumns, RejectedEvent
from footfall.ingest.workspace_events import RawKind, RawWorkspaceEvents, not_one_kind
from footfall.ingest.workspace_fields import Kind
from footfall.v1 import ingest_pb2 as pb

_NUMBERS = frozenset({"timestamp", "engaged_seconds"})


def api_request_columns(batch: Sequence[pb.ApiRequestEvent]) -> RawColumns:
    """Return the columns of a batch of API requests; one comprehension a field, since a loop over
    events would cost several times as much.
    """
    # A repeated field makes a new object of an event each time it is asked for it.
    events = list(batch)
    return {
        "event_id": [event.event_id for event in events],
        "timestamp": [event.timestamp if event.HasField("timestamp") else None for event in events],
        "consumer_id": [event.consumer_id for event in events],
        "method": [event.method for event in events],
        "url": [event.url for event in events],
        "function": [event.function for event in events],
        "response_us": [
            event.response_us if event.HasField("response_us") else None for event in events
        ],
        "status_code": [
            event.status_code if event.HasField("status_code") else None for event in events
        ],
        # Most events have none, and a map is slow to copy.
        "data": [dict(data) if data else None for data in [event.data for event in events]],
    }


def web_event_columns(batch: Sequence[pb.WebEvent]) -> RawColumns:
    """Return the columns of a batch of web events; fields that no event has are left out, since
    most events have few.
    """
    events = list(batch)
    columns: dict[str, list[Any]] = {
        # Required, and never left out: a batch of empty events gets its verdicts, too.
        "url": [event.url for event in events],
        "event_id": [event.event_id for event in events],
        "type": [event.type for event in events],
        "timestamp": [event.timestamp if event.HasField("timestamp") else None for event in events],
        "title": [event.title for event in events],
        "author": [event.author for event in events],
        "pubdate": [event.pubdate for event in events],
        "og_image": [event.og_image for event in events],
        "referrer": [event.referrer for event in events],
        "visitor_id": [event.visitor_id for event in events],
        "user_agent": [event.user_agent for event in events],
        "ip": [event.ip for event in events],
        "country": [event.country for event in events],
        "city": [event.city for event in events],
        "language": [event.language for event in events],
        "timezone": [event.timezone for event in events],
        "screen": [event.screen for event in events],
        "name": [event.name for event in events],
        "properties": [
            MessageToDict(event.properties) if event.HasField("properties") else None
            for event in events
        ],
        "engaged_seconds": [
            event.engaged_seconds if event.HasField("engaged_seconds") else None for event in events
        ],
    }
    return {
        name: column
        for name, column in columns.items()
        # Zero is a time of an event's own, while "" is a text that it lacks.
        if name == "url" or any(column) or (name in _NUMBERS and column.count(None) < len(column))
    }


def workspace_events(batch: Sequence[pb.WorkspaceEvent]) -> RawWorkspaceEvents:
    """Return a batch of workspace events, kind by kind."""
    events = list(batch)
    kinds = [event.WhichOneof("kind") for event in events]
    columns: dict[str, list[Any]] = {
        "event_id": [event.event_id for event in events],
        "timestamp": [event.timestamp if event.HasField("timestamp") else None for event in events],
    }
    found: dict[Kind, RawKind] = {}
    for kind in Kind:
        places = [place for place, named in enumerate(kinds) if named == kind]
        if places:
            bodies = [getattr(events[place], kind) for place in places]
            found[kind] = RawKind(
                places,
                {
                    f"{kind}.{field.name}": _field_column(bodies, field)
                    for field in bodies[0].DESCRIPTOR.fields
                },
            )
    unkind = {place: not_one_kind(()) for place, kind in enumerate(kinds) if kind is None}
    return RawWorkspaceEvents(columns, found, unkind)


def _field_column(messages: Sequence[Any], field: FieldDescriptor) -> list[Any]:
    name = field.name
    if not field.has_presence:
        return [getattr(message, name) for message in messages]
    return [getattr(message, name) if message.HasField(name) else None for message in messages]


def require_json(body: HttpBody, metadata: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaTypeError unless the body calls itself JSON, or nothing at all."""
    media_type = body.content_type.partition(";")[0].strip().lower()
    subtype = media_type.partition("/")[2]
    if media_type and subtype != "json" and not subtype.endswith("+json"):
        raise UnsupportedMediaTypeError(
            f"The body must be application/json, but its content type is {media_type[:64]!r}."
        )
    require_identity(metadata)


def require_identity(metadata: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaTypeError for a compressed body."""
    encoding = metadata.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedMediaTypeError(
            f"The body must be sent as it is, but its content encoding is {encoding[:64]!r}."
        )


def parse_documents(body: HttpBody, *, single: bool) -> list[Any]:
    """Return the elements of a JSON array; where `single`, an object is an array of itself.

    Elements may be anything: each is judged as an event. Raises InvalidInputError for a body that
    is no such JSON document.
    """
    wanted = "a JSON object or an array of objects" if single else "a JSON array of objects"
    if not body.data.strip():
        raise InvalidInputError(f"The body is empty, but must be {wanted}.", metadata=_BODY)
    try:
        document = orjson.loads(body.data)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(
            f"The body is not valid JSON, at line {error.lineno}, column {error.colno}; "
            f"it must be {wanted}.",
            metadata={**_BODY, "line": str(error.lineno), "column": str(error.colno)},
        ) from None
    if isinstance(document, list):
        return document
    if single and isinstance(document, dict):
        return [document]
    raise InvalidInputError(
        f"The body is {_JSON_NAMES[type(document)]}, but must be {wanted}.", metadata=_BODY
    )


_BODY: Mapping[str, str] = {"parameter": "body"}
_JSON_NAMES: Mapping[type, str] = {
    dict: "an object",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def rejections(rows: Sequence[RejectedEvent], offset: int = 0) -> list[pb.Rejection]:
    """Return rejected events as messages, their places moved by `offset`."""
    return [
        pb.Rejection(index=row.index + offset, code=row.code, message=row.message) for row in rows
    ]


def ingest_response(result: IngestResult) -> pb.IngestResponse:
    """Return the answer to a batch."""
    return pb.IngestResponse(
        accepted=result.accepted,
        duplicates=result.duplicates,
        rejected=rejections(result.rejected),
    )


def rfc3339(seconds: float | None) -> str:
    """Return a time (seconds since the Unix epoch) in UTC, to the second; "" for None."""
    if seconds is None:
        return ""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
