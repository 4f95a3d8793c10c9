"""From published parameters to a range and a page, or to all that is wrong with them at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.plans import Form, Metric
from footfall.durations import DAY_US, HOUR_US
from footfall.errors import (
    FieldViolation,
    InvalidInputError,
    InvalidParametersError,
    NotFoundError,
    ParameterFault,
)

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200
#: Ranges of up to this length have hourly buckets, longer ones daily buckets.
HOURLY_MAX_US = 72 * HOUR_US
#: The longest range that is answered with a series.
SERIES_DAYS_MAX = 10_000

#: Times run from the year 1 to the year 9999.
TIME_MIN_US = -62_135_596_800_000_000
TIME_MAX_US = 253_402_300_799_999_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_DATETIME = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})[Tt ]"
    r"(?P<time>\d{2}:\d{2}(?::\d{2})?)(?:(?<=:\d\d:\d\d)[.,](?P<fraction>\d{1,9}))?"
    # A plus sign that was not percent-encoded arrives as a space.
    r"(?P<offset>[Zz]|[+\- ]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_INTEGER = re.compile(r"[+-]?\d{1,4000}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MetricRequest:
    """The parameters of a question as a caller sent them; None is absent."""

    metric: str
    #: Text, or microseconds since the epoch.
    time_start: str | int | None = None
    time_end: str | int | None = None
    page: str | int | None = None
    page_size: str | int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that can be answered."""

    metric: Metric
    #: Both ends included, in microseconds since the epoch.
    start_us: int
    end_us: int
    page: int
    page_size: int

    @property
    def bucket_us(self) -> int:
        """The length of the range's buckets."""
        return HOUR_US if self.end_us - self.start_us <= HOURLY_MAX_US else DAY_US


def parse(request: MetricRequest) -> Asked:
    """Return what a request asks for.

    Raises NotFoundError (UNKNOWN_METRIC), InvalidParametersError with all faults there are, and
    InvalidInputError for a range that is empty, or too long for a series.
    """
    metric = METRICS.get(request.metric)
    if metric is None:
        raise NotFoundError("Unknown metric", "UNKNOWN_METRIC", {"metric": request.metric})
    faults: list[ParameterFault] = []
    start_us = _time("time_start", request.time_start, faults)
    end_us = _time("time_end", request.time_end, faults)
    page = _bounded("page", request.page, 1, None, faults)
    page_size = _bounded("page_size", request.page_size, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, faults)
    if faults:
        raise _refusal(faults)
    if start_us >= end_us:
        raise _wrong_range("time_start must be before time_end")
    asked = Asked(metric, start_us, end_us, page, page_size)
    if metric.form is Form.SERIES and end_us - start_us > SERIES_DAYS_MAX * DAY_US:
        raise _wrong_range(f"the range must not be longer than {SERIES_DAYS_MAX} days")
    return asked


def _time(name: str, value: str | int | None, faults: list[ParameterFault]) -> int:
    """Return a time in microseconds since the epoch; 0 for a faulty one."""
    if value is None:
        faults.append(_fault(name, "field required", "value_error.missing"))
        return 0
    if isinstance(value, int):
        if not TIME_MIN_US <= value <= TIME_MAX_US:
            faults.append(_fault(name, "invalid datetime format", "value_error.datetime"))
        return value
    found = _DATETIME.fullmatch(value)
    if found is None:
        faults.append(_fault(name, "invalid datetime format", "value_error.datetime"))
        return 0
    if found["offset"] is None:
        faults.append(_fault(name, "timezone offset is required", "value_error.datetime.tz"))
        return 0
    try:
        moment = datetime.fromisoformat(f"{found['date']}T{found['time']}Z")
        seconds = (moment - _offset(found["offset"]) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        faults.append(_fault(name, "invalid datetime format", "value_error.datetime"))
        return 0
    return seconds * 1_000_000 + int((found["fraction"] or "").ljust(6, "0")[:6])


def _offset(text: str) -> timedelta:
    """Return an offset from UTC; raises ValueError for one of a day or more."""
    if text in "Zz":
        return timedelta()
    digits = text[1:].replace(":", "").ljust(4, "0")
    if int(digits[2:]) > 59:
        raise ValueError(text)
    size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-size if text[0] == "-" else size).utcoffset(None)


def _bounded(
    name: str,
    value: str | int | None,
    default: int,
    maximum: int | None,
    faults: list[ParameterFault],
) -> int:
    """Return a whole number from 1; the default for a faulty one."""
    if value is None:
        return default
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value.strip()):
            faults.append(_fault(name, "value is not a valid integer", "type_error.integer"))
            return default
        value = int(value)
    if value < 1:
        message = "ensure this value is greater than or equal to 1"
        faults.append(_fault(name, message, "value_error.number.not_ge"))
    elif maximum is not None and value > maximum:
        message = f"ensure this value is less than or equal to {maximum}"
        faults.append(_fault(name, message, "value_error.number.not_le"))
    return value


def _fault(name: str, message: str, kind: str) -> ParameterFault:
    return ParameterFault(("query", name), message, kind)


def _refusal(faults: Sequence[ParameterFault]) -> InvalidParametersError:
    told = "; ".join(f"{fault.location[-1]}: {fault.message}" for fault in faults)
    return InvalidParametersError(
        f"The parameters are invalid: {told}.",
        violations=[
            FieldViolation(fault.location[-1], fault.message, fault.kind.replace(".", "_").upper())
            for fault in faults
        ],
        faults=faults,
    )


def _wrong_range(message: str) -> InvalidInputError:
    return InvalidInputError(
        message,
        metadata={"parameter": "time_start"},
        violations=[FieldViolation("time_start", message, "INVALID_PARAMETER")],
    )
