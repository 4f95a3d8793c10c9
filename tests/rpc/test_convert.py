"""Messages to raw columns: every field arrives, and absence stays absence."""

from __future__ import annotations

import pytest

from footfall.ingest.api_requests import API_REQUEST_FIELDS
from footfall.ingest.model import RejectedEvent
from footfall.ingest.web_events import WEB_EVENT_FIELDS
from footfall.rpc.convert import api_request_columns, rejections, web_event_columns
from footfall.v1 import ingest_pb2 as pb


def test_every_field_of_an_api_request_is_a_column() -> None:
    names = {field.name for field in pb.ApiRequestEvent.DESCRIPTOR.fields}
    assert names == set(API_REQUEST_FIELDS) == set(api_request_columns([]))


def test_every_field_of_a_web_event_is_a_column() -> None:
    full = pb.WebEvent(timestamp=1.5, engaged_seconds=2.5, properties={"a": 1})
    for field in pb.WebEvent.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING:
            setattr(full, field.name, f"the {field.name}")
    columns = web_event_columns([full])
    assert set(columns) == {field.name for field in pb.WebEvent.DESCRIPTOR.fields}
    assert set(columns) == set(WEB_EVENT_FIELDS)
    assert columns["og_image"] == ["the og_image"]
    assert columns["timestamp"] == [1.5]
    assert columns["properties"] == [{"a": 1.0}]


def test_zero_is_not_absent() -> None:
    zero = pb.ApiRequestEvent(response_us=0, status_code=0, timestamp=0)
    columns = api_request_columns([zero, pb.ApiRequestEvent()])
    for name in ("response_us", "status_code", "timestamp"):
        assert columns[name] == [0, None]
    web = web_event_columns([pb.WebEvent(timestamp=0, engaged_seconds=0), pb.WebEvent()])
    assert web["timestamp"] == web["engaged_seconds"] == [0, None]


def test_data_is_an_object_or_nothing() -> None:
    events = [pb.ApiRequestEvent(data={"ключ": "значение"}), pb.ApiRequestEvent()]
    assert api_request_columns(events)["data"] == [{"ключ": "значение"}, None]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches_of_empty_events_keep_their_length(count: int) -> None:
    columns = web_event_columns([pb.WebEvent()] * count)
    assert columns == {"url": [""] * count}


def test_properties_of_any_depth() -> None:
    event = pb.WebEvent(properties={"a": [None, True, {"b": "ü"}], "n": 1.5})
    assert web_event_columns([event, pb.WebEvent()])["properties"] == [
        {"a": [None, True, {"b": "ü"}], "n": 1.5},
        None,
    ]


def test_rejections_are_moved_by_the_offset() -> None:
    [row] = rejections([RejectedEvent(3, "INVALID_FIELD", "why")], 100)
    assert (row.index, row.code, row.message) == (103, "INVALID_FIELD", "why")
