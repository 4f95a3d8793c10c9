"""API requests: what is taken as it is, what is rejected, and how it is said."""

from __future__ import annotations

import json
import math
from datetime import datetime
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.errors import TooLargeError
from footfall.ingest.api_requests import API_REQUEST_FIELDS, api_request_batch
from footfall.ingest.columns import columns_of_documents
from footfall.ingest.model import (
    NO_KEY,
    EventBatch,
    EventTable,
    InvalidEventsError,
    RejectedEvent,
)
from tests.ingest.values import NOW_S, NOW_US

GOOD = {"url": "/a?b=c", "method": "GET", "response_us": 1234, "status_code": 200}


def judge(*documents: Any, key: str | None = None) -> tuple[EventBatch | None, list[RejectedEvent]]:
    """Judge JSON documents; no batch if none is good."""
    columns = columns_of_documents(documents, API_REQUEST_FIELDS)
    try:
        batch, rejected = api_request_batch("app", columns, key, NOW_US)
    except InvalidEventsError as error:
        return None, list(error.rejected)
    return batch, list(rejected)


def taken(**fields: Any) -> dict[str, Any]:
    """Return the stored columns of one good event."""
    batch, rejected = judge(GOOD | fields)
    assert batch is not None, rejected
    return {name: column[0] for name, column in batch.columns.items()}


def refused(**fields: Any) -> str:
    """Return why an event is refused, between good ones that are not."""
    batch, rejected = judge(GOOD, GOOD | fields, GOOD)
    assert batch is not None
    assert len(batch) == 2
    assert [row.index for row in rejected] == [1]
    assert rejected[0].code == "INVALID_FIELD"
    return rejected[0].message


def test_the_published_clients_event_is_taken_as_it_is() -> None:
    batch, rejected = judge(
        {
            "timestamp": 1413378000,
            "consumer_id": "c",
            "method": "GET",
            "url": "/1/actor/?limit=10",
            "function": "unknown",
            "response_us": 4321,
            "status_code": 200,
            "data": None,
        }
    )
    assert rejected == []
    assert batch is not None
    assert (batch.table, batch.tenant_id, batch.received_us) == (
        EventTable.API_REQUESTS,
        "app",
        NOW_US,
    )
    assert batch.columns == {
        "event_id": [""],
        "ts_us": [1413378000_000_000],
        "consumer_id": ["c"],
        "method": ["GET"],
        "url": ["/1/actor/?limit=10"],
        "function": ["unknown"],
        "status_code": [200],
        "response_us": [4321],
        "data": [""],
    }
    assert batch.dedup_keys == [NO_KEY]


@pytest.mark.parametrize("extra", [0, 30], ids=["few", "many"])
@pytest.mark.parametrize(
    ("sent", "stored_us"),
    [
        (None, NOW_US),
        (0, 0),
        (0.0, 0),
        (1413378000, 1413378000_000_000),
        (1413378000.25, 1413378000_250_000),
        (1413378000.123456, 1413378000_123_456),
        (NOW_S + 86_400, NOW_US + 86_400_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2014-10-15T13:00:00Z", 1413378000_000_000),
        ("2014-10-15T15:00:00+02:00", 1413378000_000_000),
        ("2014-10-15t04:30:00.5-08:30", 1413378000_500_000),
        ("2014-10-15 13:00:00.1234567z", 1413378000_123_456),
        ("2016-12-31T23:59:60Z", 1483228800_000_000),
        ("2020-02-29T00:00:00-00:00", 1582934400_000_000),
    ],
)
def test_times(sent: Any, stored_us: int, extra: int) -> None:
    # Long columns of one type go another way than short ones.
    batch, _ = judge(*[GOOD | {"timestamp": sent}] * (1 + extra))
    assert batch is not None
    assert batch.columns["ts_us"] == [stored_us] * (1 + extra)


@pytest.mark.parametrize("extra", [0, 30], ids=["few", "many"])
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (True, "is true"),
        (math.nan, "is nan"),
        (math.inf, "is inf"),
        (-math.inf, "is -inf"),
        (-1, "before 1970"),
        (1e308, "since the epoch"),
        (-1e308, "since the epoch"),
        (-0.5, "before 1970"),
        (NOW_S + 86_401, "24 hours in the future"),
        (float(NOW_S) * 1000, "Milliseconds?"),
        (10**400, "more than 64 bits"),
        ("1413378000", 'is "1413378000"'),
        ("2014-10-15T13:00:00", "with offset"),
        ("2014-10-15", "with offset"),
        ("2014-02-30T00:00:00Z", "with offset"),
        ("2014-10-15T24:00:00Z", "with offset"),
        ("٢٠١٤-10-15T13:00:00Z", "with offset"),
        ("0001-01-01T00:00:00+23:00", "before 1970"),
        ("1960-01-01T00:00:00Z", "before 1970"),
        ("9999-12-31T23:59:59Z", "24 hours in the future"),
        ({}, "is an object"),
        ([1], "is an array"),
    ],
)
def test_wrong_times(sent: Any, said: str, extra: int) -> None:
    _, rejected = judge(*[GOOD | {"timestamp": sent}] * (1 + extra))
    assert len(rejected) == 1 + extra
    assert all("`timestamp`" in row.message and said in row.message for row in rejected)


@given(st.floats(0, NOW_S + 86_400))
def test_times_are_rounded_to_microseconds(seconds: float) -> None:
    many, _ = judge(*[GOOD | {"timestamp": seconds}] * 30)
    assert many is not None
    assert many.columns["ts_us"] == [round(seconds * 1e6)] * 30
    assert taken(timestamp=seconds)["ts_us"] == round(seconds * 1e6)


FIRST, LAST = datetime(1970, 1, 2), datetime(2023, 11, 14)  # noqa: DTZ001 - any zone's


@given(st.datetimes(FIRST, LAST, timezones=st.timezones()))
def test_any_rfc_3339_time_is_read(moment: datetime) -> None:
    text = moment.isoformat()
    if moment.utcoffset().seconds % 60:  # type: ignore[union-attr]  # RFC 3339 has whole minutes
        return
    whole = round(moment.replace(microsecond=0).timestamp())
    assert taken(timestamp=text)["ts_us"] == whole * 1_000_000 + moment.microsecond


def test_integers() -> None:
    assert taken(response_us=0)["response_us"] == 0
    assert taken(response_us=2**53 - 1)["response_us"] == 2**53 - 1
    assert taken(response_us=12.0)["response_us"] == 12
    assert taken(status_code=None)["status_code"] is None
    assert taken(status_code=404.0)["status_code"] == 404
    assert type(taken(status_code=404.0)["status_code"]) is int


@pytest.mark.parametrize("value", [-1, 2**53, 1.5, math.nan, math.inf, True, "12", [], {}, 10**30])
def test_wrong_integers(value: Any) -> None:
    assert "`response_us` must be an integer from 0 to 9007199254740991" in refused(
        response_us=value
    )
    if value != 2**53:
        assert "`status_code` must be an integer from 0 to 999" in refused(status_code=value)


def test_response_us_is_required() -> None:
    assert "`response_us` is required" in refused(response_us=None)
    batch, rejected = judge({"url": "/"}, {"url": "/"})
    assert batch is None
    assert len(rejected) == 2


LIMITS = {"event_id": 128, "consumer_id": 256, "method": 32, "url": 8192, "function": 256}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_texts_are_bounded(name: str, limit: int) -> None:
    for character in ("x", "é", "😀"):
        assert taken(**{name: character * limit})[name] == character * limit
        message = refused(**{name: character * (limit + 1)})
        assert message == (f"`{name}` has {limit + 1} characters; at most {limit} are taken.")
    for wrong, said in ((1, "1"), (True, "true"), ([], "an array"), ({}, "an object")):
        assert refused(**{name: wrong}) == f"`{name}` must be a text, but is {said}."
    assert taken(**{name: None})[name] == ""


def test_what_no_store_can_hold_is_replaced() -> None:
    assert taken(url="/a\0b\ud83d")["url"] == "/a\ufffdb\ufffd"
    # Two halves that belong together are one character.
    assert taken(consumer_id="\ud83d\ude00")["consumer_id"] == "😀"
    assert json.loads(taken(data={"k\ud800": "v\udfff😀"})["data"]) == {"k\ufffd": "v\ufffd😀"}


def test_data_is_kept_as_json() -> None:
    pairs = {"b": "2", "a": 'é\n"', "": ""}
    assert json.loads(taken(data=pairs)["data"]) == pairs
    assert taken(data={})["data"] == ""
    assert '"a" is 1' in refused(data={"a": 1})
    assert '`data` must be an object, but is "x"' in refused(data="x")
    assert "51 members" in refused(data={str(n): "" for n in range(51)})
    assert len(json.loads(taken(data={str(n): "" for n in range(50)})["data"])) == 50


def test_an_event_over_64_kib_is_too_large() -> None:
    kib = 64 * 1024
    small, rejected = judge(GOOD, GOOD | {"data": {"k": "x" * kib}}, GOOD)
    assert small is not None
    assert [(row.index, row.code) for row in rejected] == [(1, "EVENT_TOO_LARGE")]
    assert str(kib) in rejected[0].message
    # Whatever else is wrong with it; and bytes are counted, not characters.
    _, rejected = judge(GOOD | {"url": "x" * (kib + 1)}, GOOD | {"data": {"k": "é" * (kib // 2)}})
    assert [row.code for row in rejected] == ["EVENT_TOO_LARGE"] * 2
    batch, rejected = judge(*[GOOD | {"data": {"k": "x" * (kib - 200)}}] * 3)
    assert batch is not None
    assert rejected == []


@pytest.mark.parametrize("wrong", [None, 1, 1.5, True, "x", []])
def test_an_event_that_is_no_object(wrong: Any) -> None:
    batch, rejected = judge(wrong, GOOD, wrong)
    assert batch is not None
    assert len(batch) == 1
    assert [row.index for row in rejected] == [0, 2]
    assert "must be an object" in rejected[0].message


def test_a_batch_without_a_good_event_fails_and_says_why() -> None:
    columns = columns_of_documents([{"url": 1}, {}, {}, {}, {}], API_REQUEST_FIELDS)
    with pytest.raises(InvalidEventsError) as caught:
        api_request_batch("app", columns, None, NOW_US)
    error = caught.value
    assert error.reason == "INVALID_EVENTS"
    assert len(error.rejected) == 5
    assert error.message.startswith("All 5 events are invalid. Event 0: `url` must be a text")
    assert error.message.endswith("And 2 more.")
    assert error.violations[1].field == "events[1].response_us"


@pytest.mark.parametrize("columns", [{}, {"url": []}, {"url": [], "data": []}])
def test_an_empty_batch_fails(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(InvalidEventsError, match="holds no event"):
        api_request_batch("app", columns, None, NOW_US)


def test_too_many_events_fail_as_a_whole() -> None:
    columns: dict[str, list[Any]] = {"response_us": [1] * 10_000}
    batch, _ = api_request_batch("app", columns, None, NOW_US)
    assert len(batch) == 10_000
    with pytest.raises(TooLargeError, match="10001 events"):
        api_request_batch("app", {"response_us": [1] * 10_001}, None, NOW_US)


def test_unknown_members_are_ignored() -> None:
    batch, rejected = judge(GOOD | {"unheard_of": object()})
    assert batch is not None
    assert rejected == []


def expected_key(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def test_dedup_keys_cover_tenant_and_id() -> None:
    documents = [GOOD | {"event_id": "é1"}, GOOD, GOOD | {"event_id": 5}, GOOD]
    batch, _ = judge(*documents)
    assert batch is not None
    assert batch.dedup_keys == [expected_key("app\0eé1"), NO_KEY, NO_KEY]
    batch, _ = judge(*documents, key="K")
    assert batch is not None
    # Places are those in the batch as sent, the bad event's included.
    assert batch.dedup_keys == [
        expected_key("app\0eé1"),
        expected_key("app\0kK\x001"),
        expected_key("app\0kK\x003"),
    ]
    mended, _ = judge(*documents[:2], GOOD, GOOD, key="K")
    assert mended is not None
    assert set(batch.dedup_keys) < set(mended.dedup_keys)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=300)
    | st.text("ab\0\ud800\udfff😀", max_size=300),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(API_REQUEST_FIELDS), JSON_VALUES) | JSON_VALUES, max_size=5
    ),
    st.none() | st.text(max_size=5),
)
def test_anything_is_judged(documents: list[Any], key: str | None) -> None:
    batch, rejected = judge(*documents, GOOD, key=key)
    assert batch is not None
    assert len(batch) + len(rejected) == len(documents) + 1
    assert all(len(column) == len(batch) for column in batch.columns.values())
    for row in rejected:
        row.message.encode()
        assert len(row.message) < 300
    for name, column in batch.columns.items():
        for value in column:
            if name in {"ts_us", "response_us"}:
                assert type(value) is int
            elif name == "status_code":
                assert value is None or type(value) is int
            else:
                assert "\0" not in value
                value.encode()
