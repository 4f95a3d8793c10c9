"""The error table: what a domain error is on the wire.

One table says which canonical gRPC code and which HTTP status a class of domain errors has; one
function turns an error into trailing metadata. Callers of gRPC read the canonical code and
`google.rpc` details; the gateway reads the `footfall-*` keys, builds the family's document of them
and removes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import grpc
import orjson
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from footfall import errors

ERROR_DOMAIN = "footfall"

#: Trailing metadata has to stay under the 8 KiB that clients accept by default; each part that an
#: input can make long has its own bound, in bytes of the form that it travels in.
MESSAGE_BYTES_MAX = 600
REJECTED_BYTES_MAX = 3500
REJECTED_ROWS_MAX = 20
VIOLATIONS_BYTES_MAX = 800
METADATA_VALUE_BYTES_MAX = 128

INTERNAL_MESSAGE = "internal error"

#: The printable ASCII characters but the percent sign.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Mapped:
    """How a class of errors is answered."""

    code: grpc.StatusCode
    http: int


#: Domain class → canonical code and HTTP status; a class that is not here has its base's row.
ERROR_TABLE: Mapping[type[errors.FootfallError], Mapped] = {
    errors.InvalidInputError: Mapped(grpc.StatusCode.INVALID_ARGUMENT, 400),
    errors.InvalidParametersError: Mapped(grpc.StatusCode.INVALID_ARGUMENT, 422),
    errors.TooLargeError: Mapped(grpc.StatusCode.INVALID_ARGUMENT, 413),
    errors.UnsupportedMediaTypeError: Mapped(grpc.StatusCode.INVALID_ARGUMENT, 415),
    errors.UnauthenticatedError: Mapped(grpc.StatusCode.UNAUTHENTICATED, 401),
    errors.ForbiddenError: Mapped(grpc.StatusCode.PERMISSION_DENIED, 403),
    errors.NotFoundError: Mapped(grpc.StatusCode.NOT_FOUND, 404),
    errors.ConflictError: Mapped(grpc.StatusCode.FAILED_PRECONDITION, 409),
    # gRPC has no word for it; over REST it is the answer that a conditional GET asks for.
    errors.NotModifiedError: Mapped(grpc.StatusCode.FAILED_PRECONDITION, 304),
    errors.RateLimitedError: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    # The caller did nothing wrong, so over HTTP a full queue is the service's fault.
    errors.OverloadedError: Mapped(grpc.StatusCode.RESOURCE_EXHAUSTED, 503),
    errors.UnavailableError: Mapped(grpc.StatusCode.UNAVAILABLE, 503),
    errors.DeadlineError: Mapped(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    errors.FootfallError: Mapped(grpc.StatusCode.INTERNAL, 500),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A call's failure, ready to be sent."""

    code: grpc.StatusCode
    reason: str
    message: str
    trailing: tuple[tuple[str, str | bytes], ...] = field(repr=False)


def lookup(kind: type[errors.FootfallError]) -> Mapped:
    """Return the row of a class of errors, or of its nearest base."""
    for base in kind.__mro__:
        row = ERROR_TABLE.get(base)
        if row is not None:
            return row
    raise LookupError(kind)  # unreachable: FootfallError is in the table


def failure(
    error: errors.FootfallError,
    *,
    request_id: str = "",
    headers: Sequence[tuple[str, str]] = (),
) -> Failure:
    """Return how `error` is answered; `headers` travel along as trailing metadata."""
    row = lookup(type(error))
    message = _bounded(error.message, MESSAGE_BYTES_MAX)
    trailing: list[tuple[str, str | bytes]] = [
        ("footfall-reason", error.reason),
        ("footfall-message", _encoded(message)),
        ("footfall-status", str(row.http)),
    ]
    rejected = _rejected(error)
    if rejected:
        trailing.append(("footfall-rejected", rejected))
    if isinstance(error, errors.InvalidParametersError):
        trailing.append(("footfall-detail", _faults(error)))
    elif isinstance(error, errors.InvalidQueryError):
        trailing.append(("footfall-detail", _query_faults(error)))
    if request_id:
        trailing.append(("x-request-id", request_id))
    trailing.extend(headers)
    if isinstance(error, errors.RateLimitedError):
        trailing.append(("retry-after", str(error.retry_after_s)))
        if error.holds_ms:
            # The gateway answers others with it (refusals.lua).
            trailing.append(("footfall-holds", f"{error.holds_ms} {error.holds_for}".rstrip()))
            request_id = ""
    details = _details(error, row, message, request_id)
    trailing.append(("grpc-status-details-bin", details.SerializeToString()))
    return Failure(row.code, error.reason, message, tuple(trailing))


def internal_failure(request_id: str) -> Failure:
    """Return the answer to an error that nobody expected: nothing about it leaves the server but
    the request id, by which the log entry is found.
    """
    return failure(
        errors.FootfallError(INTERNAL_MESSAGE, metadata={"request_id": request_id}),
        request_id=request_id,
    )


def _encoded(text: str) -> str:
    """Return `text` percent-encoded where metadata cannot carry it as it is."""
    return quote(text, safe=_PLAIN)


def _bounded(text: str, bytes_max: int) -> str:
    """Return `text`, cut with an ellipsis where its percent-encoded form would be too long."""
    if len(_encoded(text)) <= bytes_max:
        return text
    used = 0
    for index, character in enumerate(text):
        used += len(_encoded(character))
        if used > bytes_max:
            return text[:index] + "…"
    return text


def _rejected(error: errors.FootfallError) -> str:
    """Return the first rejected events of a batch without a good one as JSON, or ""."""
    listed: list[str] = []
    used = 2
    for row in getattr(error, "rejected", ())[:REJECTED_ROWS_MAX]:
        message = _bounded(row.message, MESSAGE_BYTES_MAX)
        document = {"index": row.index, "code": row.code, "message": message}
        text = _encoded(orjson.dumps(document).decode())
        used += len(text) + 1
        if used > REJECTED_BYTES_MAX:
            break
        listed.append(text)
    return f"[{','.join(listed)}]" if listed else ""


def _faults(error: errors.InvalidParametersError) -> str:
    """Return the faults as the JSON array that the published API shows; there are as many as a
    request has parameters, and they repeat nothing of it.
    """
    document = [
        {"loc": fault.location, "msg": fault.message, "type": fault.kind} for fault in error.faults
    ]
    return _encoded(orjson.dumps(document).decode())


def _query_faults(error: errors.InvalidQueryError) -> str:
    """Return the first faults of a batch query as the JSON array that the published API shows."""
    listed: list[str] = []
    used = 2
    for fault in error.faults:
        document = {"field": fault.field, "message": _bounded(fault.message, MESSAGE_BYTES_MAX)}
        if fault.suggestion:
            document["suggestion"] = fault.suggestion
        text = _encoded(orjson.dumps(document).decode())
        used += len(text) + 1
        if used > REJECTED_BYTES_MAX:
            break
        listed.append(text)
    return f"[{','.join(listed)}]"


def _details(
    error: errors.FootfallError, row: Mapped, message: str, request_id: str
) -> status_pb2.Status:
    """Return the `google.rpc.Status` of an error."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=ERROR_DOMAIN,
        metadata={
            key: _bounded(value, METADATA_VALUE_BYTES_MAX) for key, value in error.metadata.items()
        },
    )
    parts: list[Message] = [info]
    if isinstance(error, errors.InvalidInputError) and error.violations:
        parts.append(_bad_request(error.violations))
    if isinstance(error, errors.RateLimitedError):
        retry = error_details_pb2.RetryInfo(
            retry_delay=duration_pb2.Duration(seconds=error.retry_after_s)
        )
        parts.append(retry)
        subject = error.metadata.get("subject")
        if subject:
            quota = error_details_pb2.QuotaFailure()
            quota.violations.add(subject=subject, description=message)
            parts.append(quota)
    if request_id:
        parts.append(error_details_pb2.RequestInfo(request_id=request_id))
    status = status_pb2.Status(code=row.code.value[0], message=message)
    for part in parts:
        packed = any_pb2.Any()
        packed.Pack(part)
        status.details.append(packed)
    return status


def _bad_request(violations: Sequence[errors.FieldViolation]) -> error_details_pb2.BadRequest:
    """Return the faults that fit; the first ones, since a person mends them in order."""
    bad = error_details_pb2.BadRequest()
    used = 0
    for violation in violations:
        description = _bounded(violation.message, MESSAGE_BYTES_MAX)
        used += len(violation.field) + len(description.encode()) + len(violation.code) + 8
        if used > VIOLATIONS_BYTES_MAX:
            break
        bad.field_violations.add(
            field=violation.field, description=description, reason=violation.code
        )
    return bad
