"""The error table: every domain error has a row, and nothing that a client refuses is sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, unquote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from footfall import errors
from footfall.ingest.model import InvalidEventsError, RejectedEvent
from footfall.rpc.status import ERROR_TABLE, failure, internal_failure, lookup

EXPECTED = {
    "FootfallError": (grpc.StatusCode.INTERNAL, 500),
    "InvalidInputError": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "InvalidEventsError": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "InvalidParametersError": (grpc.StatusCode.INVALID_ARGUMENT, 422),
    "InvalidQueryError": (grpc.StatusCode.INVALID_ARGUMENT, 400),
    "TooLargeError": (grpc.StatusCode.INVALID_ARGUMENT, 413),
    "UnsupportedMediaTypeError": (grpc.StatusCode.INVALID_ARGUMENT, 415),
    "UnauthenticatedError": (grpc.StatusCode.UNAUTHENTICATED, 401),
    "ForbiddenError": (grpc.StatusCode.PERMISSION_DENIED, 403),
    "NotFoundError": (grpc.StatusCode.NOT_FOUND, 404),
    "ConflictError": (grpc.StatusCode.FAILED_PRECONDITION, 409),
    "NotModifiedError": (grpc.StatusCode.FAILED_PRECONDITION, 304),
    "RateLimitedError": (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    "OverloadedError": (grpc.StatusCode.RESOURCE_EXHAUSTED, 503),
    "UnavailableError": (grpc.StatusCode.UNAVAILABLE, 503),
    "DeadlineError": (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
}


def all_errors(base: type[errors.FootfallError]) -> Iterator[type[errors.FootfallError]]:
    yield base
    for kind in base.__subclasses__():
        yield from all_errors(kind)


def own_errors() -> list[type[errors.FootfallError]]:
    return [kind for kind in all_errors(errors.FootfallError) if kind.__module__.startswith("foot")]


def trailing_of(error: errors.FootfallError) -> dict[str, str | bytes]:
    return dict(failure(error, request_id="r-1").trailing)


def details_of(error: errors.FootfallError) -> dict[str, object]:
    raw = trailing_of(error)["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    found: dict[str, object] = {"": status}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        part = getattr(error_details_pb2, name)()
        assert packed.Unpack(part)
        found[name] = part
    return found


@pytest.mark.parametrize("kind", own_errors(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_codes(kind: type[errors.FootfallError]) -> None:
    code, http = EXPECTED[kind.__name__]
    row = lookup(kind)
    assert (row.code, row.http) == (code, http)
    trailing = trailing_of(kind("What went wrong."))
    assert trailing["footfall-status"] == str(http)
    assert trailing["footfall-reason"] == kind.default_reason
    assert trailing["footfall-message"] == "What went wrong."
    assert trailing["x-request-id"] == "r-1"


def test_every_row_is_of_a_known_error() -> None:
    assert set(ERROR_TABLE) <= set(own_errors())


def test_details_name_the_reason_and_the_domain() -> None:
    found = details_of(errors.ForbiddenError("No.", "SCOPE_REQUIRED", {"scope": "write"}))
    info = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "SCOPE_REQUIRED",
        "footfall",
        {"scope": "write"},
    )
    status = found[""]
    assert isinstance(status, status_pb2.Status)
    assert (status.code, status.message) == (7, "No.")


def test_limits_carry_a_retry_delay_and_the_subject() -> None:
    error = errors.RateLimitedError("Slow.", metadata={"subject": "site:a"}, retry_after_s=12)
    found = details_of(error)
    retry, quota = found["RetryInfo"], found["QuotaFailure"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert isinstance(quota, error_details_pb2.QuotaFailure)
    assert retry.retry_delay.seconds == 12
    assert [item.subject for item in quota.violations] == ["site:a"]
    assert trailing_of(error)["retry-after"] == "12"


def test_violations_become_a_bad_request() -> None:
    violation = errors.FieldViolation("events[3].url", "is required", "INVALID_FIELD")
    bad = details_of(errors.InvalidInputError("Bad.", violations=[violation]))["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [(item.field, item.description, item.reason) for item in bad.field_violations] == [
        ("events[3].url", "is required", "INVALID_FIELD")
    ]


def test_faults_of_parameters_are_told_in_the_published_words() -> None:
    fault = errors.ParameterFault(("query", "page"), "100 % wrong", "type_error.integer")
    detail = trailing_of(errors.InvalidParametersError("Bad.", faults=[fault]))["footfall-detail"]
    assert isinstance(detail, str)
    assert json.loads(unquote(detail)) == [
        {"loc": ["query", "page"], "msg": "100 % wrong", "type": "type_error.integer"}
    ]


@pytest.mark.parametrize("text", ["naïve – 日本語", "100 % \r\n\x00", 'a, "b"; {c}', ""])
def test_messages_survive_metadata(text: str) -> None:
    encoded = trailing_of(errors.NotFoundError(text))["footfall-message"]
    assert isinstance(encoded, str)
    assert all(0x20 <= ord(character) < 0x7F for character in encoded)
    assert unquote(encoded) == text


@pytest.mark.parametrize("character", ["a", "é", "日", "😀", "%"])
def test_the_largest_error_fits_what_clients_accept(character: str) -> None:
    rows = [RejectedEvent(index, "INVALID_FIELD", character * 300) for index in range(10_000)]
    error = InvalidEventsError(
        character * 100_000,
        metadata={"key": character * 1000},
        rejected=rows,
        violations=[errors.FieldViolation(f"events[{row.index}].url", row.message) for row in rows],
    )
    made = failure(error, request_id="r" * 128)
    encoded = {
        key: base64.b64encode(value) if isinstance(value, bytes) else value.encode()
        for key, value in made.trailing
    }
    encoded["grpc-message"] = quote(made.message, safe=" ").encode()
    # A header costs 32 bytes beside its name and value; the limit is on the sum.
    size = sum(len(key) + len(value) + 32 for key, value in encoded.items())
    assert size < 8192
    assert 0 < len(encoded["footfall-rejected"]) <= 4096


def test_rejected_events_are_listed_up_to_twenty() -> None:
    rows = [RejectedEvent(index, "INVALID_FIELD", f"bad – {index}") for index in range(30)]
    encoded = trailing_of(InvalidEventsError("All bad.", rejected=rows))["footfall-rejected"]
    assert isinstance(encoded, str)
    listed = json.loads(unquote(encoded))
    assert listed == [
        {"index": index, "code": "INVALID_FIELD", "message": f"bad – {index}"}
        for index in range(20)
    ]


def test_an_internal_failure_says_nothing_but_the_request_id() -> None:
    made = internal_failure("r-9")
    assert made.code is grpc.StatusCode.INTERNAL
    assert made.message == "internal error"
    trailing = dict(made.trailing)
    assert trailing["footfall-reason"] == "INTERNAL"
    assert trailing["x-request-id"] == "r-9"


def test_faults_of_a_query_travel_as_the_published_array_as_far_as_they_fit() -> None:
    faults = [errors.QueryFault("limit", "limit is wrong", "Did you mean 'ü'?")]
    faults += [errors.QueryFault(f"filters[{n}]", "ä" * 100) for n in range(50)]
    trailing = trailing_of(errors.InvalidQueryError("Two things are wrong.", faults=faults))
    text = str(trailing["footfall-detail"])
    listed = json.loads(unquote(text))
    assert listed[0] == {
        "field": "limit",
        "message": "limit is wrong",
        "suggestion": "Did you mean 'ü'?",
    }
    assert listed[1] == {"field": "filters[0]", "message": "ä" * 100}
    assert 2 < len(listed) < 50
    assert len(text) <= 3500
