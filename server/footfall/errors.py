"""Domain errors: what went wrong, for a caller to act on.

An error has a `reason` (UPPER_SNAKE, stable, what programs test), a message for people, and
`metadata` for the values behind the message. It knows nothing of gRPC or HTTP: `rpc/status.py`
maps each class to a code once. No message may hold a driver's text, a class name, a path or
another tenant's data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One fault of the input: where it is, what is wrong and what would be right."""

    field: str
    message: str
    code: str = "INVALID_FIELD"


@dataclass(eq=False)
class FootfallError(Exception):
    """The base of all errors that a caller may see."""

    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    default_reason: ClassVar[str] = "INTERNAL"

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.reason = self.reason or self.default_reason

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class InvalidInputError(FootfallError):
    """The caller's parameters are wrong; sending the same again cannot succeed.

    Reasons: INVALID_PARAMETER; SITE_REQUIRED and MISSING_WEBSITE_ID where no site is named;
    VALIDATION_ERROR and FORBIDDEN_OPERATION (custom queries); QUERY_TOO_COMPLEX (queries).
    """

    violations: Sequence[FieldViolation] = ()

    default_reason: ClassVar[str] = "INVALID_PARAMETER"


@dataclass(frozen=True, slots=True)
class ParameterFault:
    """One fault of a parameter in the words of the published API that it belongs to."""

    #: Where it is, as in ("query", "page_size").
    location: tuple[str, ...]
    message: str
    #: The kind of fault, as in "value_error.missing".
    kind: str


@dataclass(eq=False)
class InvalidParametersError(InvalidInputError):
    """Parameters are missing, malformed or out of bounds; `faults` are all of them."""

    faults: Sequence[ParameterFault] = ()

    default_reason: ClassVar[str] = "INVALID_PARAMETERS"


@dataclass(frozen=True, slots=True)
class QueryFault:
    """One fault of a batch query: where it is, what is wrong, and what was probably meant."""

    field: str
    message: str
    #: A sentence, or "".
    suggestion: str = ""


@dataclass(eq=False)
class InvalidQueryError(InvalidInputError):
    """A batch query is malformed; `faults` are all of them."""

    faults: Sequence[QueryFault] = ()

    default_reason: ClassVar[str] = "VALIDATION_ERROR"


@dataclass(eq=False)
class TooLargeError(InvalidInputError):
    """The request is larger than a documented limit."""

    default_reason: ClassVar[str] = "PAYLOAD_TOO_LARGE"


@dataclass(eq=False)
class UnsupportedMediaTypeError(InvalidInputError):
    """The body is in a content type or encoding that this call does not read."""

    default_reason: ClassVar[str] = "UNSUPPORTED_MEDIA_TYPE"


@dataclass(eq=False)
class UnauthenticatedError(FootfallError):
    """Credentials are missing, unknown, revoked or expired.

    Reasons: MISSING_TOKEN and INVALID_TOKEN (Bearer keys and sessions), MISSING_CREDENTIALS and
    INVALID_CREDENTIALS (applications), MISSING_API_KEY and INVALID_API_KEY (`x-api-key`),
    INVALID_LOGIN (an unknown address and a wrong password).
    """

    default_reason: ClassVar[str] = "INVALID_TOKEN"


@dataclass(eq=False)
class ForbiddenError(FootfallError):
    """The credentials are good but do not allow this.

    Reasons: SITE_NOT_AUTHORIZED, WRITE_KEY_REQUIRED, READ_KEY_REQUIRED, SCOPE_REQUIRED (keys),
    ADMIN_REQUIRED (sessions of members), CROSS_ORIGIN (a page of another origin used a session).
    """

    default_reason: ClassVar[str] = "SCOPE_REQUIRED"


@dataclass(eq=False)
class NotFoundError(FootfallError):
    """What was named does not exist, or not for this caller.

    Reasons: NOT_FOUND, UNKNOWN_METRIC, WEBSITE_NOT_FOUND.
    """

    default_reason: ClassVar[str] = "NOT_FOUND"


@dataclass(eq=False)
class ConflictError(FootfallError):
    """What is asked for does not go with the state of things; the message says what has to change.

    Reasons: LAST_ADMIN, KEY_REVOKED.
    """

    default_reason: ClassVar[str] = "CONFLICT"


@dataclass(eq=False)
class NotModifiedError(FootfallError):
    """The caller has the answer already, under the tag that it named."""

    default_reason: ClassVar[str] = "NOT_MODIFIED"


@dataclass(eq=False)
class RateLimitedError(FootfallError):
    """An allowance is used up; `retry_after_s` whole seconds later one request does pass."""

    retry_after_s: int = 1
    #: For how long every call of this method with these credentials is refused as well, whatever it
    #: costs, and about which site it has to be, "" where the credentials alone decide. 0: it may be
    #: that one is not.
    holds_ms: int = 0
    holds_for: str = ""

    default_reason: ClassVar[str] = "RATE_LIMIT_EXCEEDED"


@dataclass(eq=False)
class OverloadedError(RateLimitedError):
    """A bounded queue is full; nothing was stored."""

    default_reason: ClassVar[str] = "OVERLOADED"


@dataclass(eq=False)
class UnavailableError(FootfallError):
    """A store does not answer; nothing was stored, and the same call may succeed later.

    Reasons: UNAVAILABLE (the event or account store), REDIS_UNAVAILABLE (live state and rate
    limits).
    """

    default_reason: ClassVar[str] = "UNAVAILABLE"


@dataclass(eq=False)
class DeadlineError(FootfallError):
    """The caller's deadline passed before the answer was there."""

    default_reason: ClassVar[str] = "DEADLINE_EXCEEDED"
