"""Time series over API requests: from published parameters to a query, and from rows to an
answer.

Planning is three passes without side effects: `parse` reads each parameter, `widen` extends the
range to whole buckets, `bound` refuses what would be too many points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from footfall.analytics.model import (
    Aggregation,
    ApiRequestField,
    Granularity,
    Series,
    TimeseriesQuery,
)
from footfall.analytics.parameters import echo, refusal, suggest
from footfall.analytics.ports import EventReader

#: Most buckets that a query may span.
BUCKETS_MAX = 100_000
#: Most points, over all groups, that an answer may hold.
POINTS_MAX = 1_000_000
#: Most values that all `include` filters of a query may name.
INCLUDES_MAX = 1_000
#: Times run from the year 1 to the year 9999.
TIME_MIN_S = -62_135_596_800
TIME_MAX_S = 253_402_300_800
#: A bucket of more than 300 years has no use, and arithmetic on it would overflow.
GRANULARITY_MAX_S = 10_000_000_000

DAY_S = 86_400
GRANULARITIES = {
    "second": Granularity(1),
    "minute": Granularity(60),
    "hour": Granularity(3600),
    "day": Granularity(DAY_S),
    # The epoch was a Thursday; the first Monday after it is four days later.
    "week": Granularity(7 * DAY_S, offset_s=4 * DAY_S),
}
AGGREGATIONS = ("count", "mean", "min", "max", "sum")
PERCENTILES = {f"percentile_{level}": level for level in range(1, 100)}
FIELDS = {item.value: item for item in ApiRequestField}
VALUES = ("response_us",)

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_WHOLE_SECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)
_STATUS = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeseriesRequest:
    """The parameters of a query as a caller sent them; "" counts as absent."""

    start: int | str
    end: int | str
    value: str = ""
    granularity: str = ""
    aggregation: str = ""
    group: str = ""
    include: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TimeseriesAnswer:
    """The series of a query, and the range and bucket size that they are about."""

    groups: Sequence[Series]
    start_s: int
    end_s: int
    granularity_ms: int
    #: Whether values are whole numbers; means and percentiles are not.
    integers: bool = field(default=True)

    def document(self) -> dict[str, Any]:
        """Return the published document: groups keyed by name, points as (time, value)."""
        return {
            "groups": {
                series.key: list(zip(series.times, series.values, strict=True))
                for series in self.groups
            },
            "start": self.start_s,
            "end": self.end_s,
            "granularity": self.granularity_ms,
        }


class TimeseriesService:
    """Answers time series queries from committed events."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    async def answer(
        self, application_id: str, request: TimeseriesRequest, timeout_s: float
    ) -> TimeseriesAnswer:
        """Return the answer to `request` about the application.

        Raises InvalidInputError (INVALID_PARAMETER) that names the parameter, DeadlineError
        after `timeout_s`, and UnavailableError while the event store does not answer.
        """
        query = plan(application_id, request)
        series = await self._reader.timeseries(query, timeout_s)
        return build_answer(query, series)


def plan(application_id: str, request: TimeseriesRequest) -> TimeseriesQuery:
    """Return the query that the parameters ask for."""
    return bound(widen(parse(application_id, request)))


def parse(application_id: str, request: TimeseriesRequest) -> TimeseriesQuery:
    """Return the query over the range as requested."""
    start_s, end_s = parse_range(request.start, request.end)
    if request.value and request.value not in VALUES:
        raise refusal("value", f"value must be response_us, but is {echo(request.value)}.")
    return TimeseriesQuery(
        application_id=application_id,
        start_s=start_s,
        end_s=end_s,
        granularity=parse_granularity(request.granularity),
        aggregation=parse_aggregation(request.aggregation),
        group=_parse_field("group", request.group) if request.group else None,
        include=parse_include(request.include),
    )


def widen(query: TimeseriesQuery) -> TimeseriesQuery:
    """Return the query over whole buckets."""
    if query.granularity is None:
        return query
    return replace(
        query,
        start_s=query.granularity.floor(query.start_s),
        end_s=query.granularity.ceil(query.end_s),
    )


def bound(query: TimeseriesQuery) -> TimeseriesQuery:
    """Return the query if it spans few enough buckets."""
    if query.granularity is not None:
        buckets = (query.end_s - query.start_s) // query.granularity.seconds
        if buckets > BUCKETS_MAX:
            raise refusal(
                "granularity",
                f"The range holds {buckets} points at this granularity, but at most "
                f"{BUCKETS_MAX} are allowed; ask for a shorter range or a coarser granularity.",
            )
    return query


def build_answer(query: TimeseriesQuery, series: Sequence[Series]) -> TimeseriesAnswer:
    """Return the answer to a planned query from the store's series."""
    points = sum(len(item.times) for item in series)
    if points > POINTS_MAX:
        raise refusal(
            "group",
            f"The answer has {points} points, but at most {POINTS_MAX} are allowed; ask for a "
            "shorter range, a coarser granularity or fewer groups.",
        )
    function = query.aggregation.function
    if query.group is None:
        series = [replace(item, key=query.application_id) for item in series]
        if not series and function in {"count", "sum"}:
            # Nothing happened, which is a number; the mean of nothing is not.
            series = [Series(query.application_id, (query.start_s,), (0,))]
    granularity_s = query.granularity.seconds if query.granularity else query.end_s - query.start_s
    return TimeseriesAnswer(
        groups=series,
        start_s=query.start_s,
        end_s=query.end_s,
        granularity_ms=granularity_s * 1000,
        integers=function in {"count", "min", "max", "sum"},
    )


def parse_range(start: int | str, end: int | str) -> tuple[int, int]:
    """Return the ends of a range in whole seconds since the epoch."""
    start_s = parse_time("start", start)
    end_s = parse_time("end", end)
    if start_s >= end_s:
        raise refusal("start", f"start must be before end, but {start_s} is not before {end_s}.")
    return start_s, end_s


def parse_time(name: str, value: int | str) -> int:
    """Return a time in whole seconds since the epoch."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise refusal(
                name, f"{name} must be whole seconds since the epoch, but is {echo(value)}."
            )
        value = int(value)
    if not TIME_MIN_S <= value <= TIME_MAX_S:
        raise refusal(name, f"{name} must be from {TIME_MIN_S} to {TIME_MAX_S}, but is {value}.")
    return value


def parse_granularity(text: str) -> Granularity | None:
    """Return the bucket size; None for "", which is one bucket for the whole range."""
    if not text:
        return None
    if text in GRANULARITIES:
        return GRANULARITIES[text]
    if _WHOLE_SECONDS.fullmatch(text) and 1 <= int(text) <= GRANULARITY_MAX_S:
        return Granularity(int(text))
    raise refusal(
        "granularity",
        f"granularity must be whole seconds from 1 to {GRANULARITY_MAX_S}, or one of "
        f"{', '.join(GRANULARITIES)}, but is {echo(text)}.{suggest(text, GRANULARITIES)}",
    )


def parse_aggregation(text: str) -> Aggregation:
    """Return the aggregation; "" is a count."""
    match text or "count":
        case "count" | "mean" | "min" | "max" | "sum" as function:
            return Aggregation(function)
        case name if name in PERCENTILES:
            return Aggregation("percentile", PERCENTILES[name])
    raise refusal(
        "aggregation",
        f"aggregation must be one of {', '.join(AGGREGATIONS)}, or percentile_1 to "
        f"percentile_99, but is {echo(text)}.{suggest(text, (*AGGREGATIONS, *PERCENTILES))}",
    )


def parse_include(
    filters: Iterable[str],
) -> tuple[tuple[ApiRequestField, tuple[str, ...]], ...]:
    """Return the alternatives of each filtered field, in a canonical order."""
    alternatives: dict[ApiRequestField, set[str]] = {}
    for text in filters:
        if not text:
            continue
        name, colon, value = text.partition(":")
        if not colon:
            raise refusal("include", f"include must be field:value, but is {echo(text)}.")
        alternatives.setdefault(_parse_field("include", name), set()).add(value)
    for value in alternatives.get(ApiRequestField.STATUS_CODE, ()):
        if value and not _STATUS.fullmatch(value):
            raise refusal(
                "include",
                f"include=status_code:… must name a status such as 404, but is {echo(value)}.",
            )
    values = sum(map(len, alternatives.values()))
    if values > INCLUDES_MAX:
        raise refusal(
            "include",
            f"include may name at most {INCLUDES_MAX} values, but names {values}.",
        )
    return tuple(
        (item, tuple(sorted(alternatives[item])))
        for item in ApiRequestField
        if item in alternatives
    )


def _parse_field(parameter: str, name: str) -> ApiRequestField:
    item = FIELDS.get(name)
    if item is None:
        raise refusal(
            parameter,
            f"{parameter} must name one of {', '.join(FIELDS)}, but names {echo(name)}."
            f"{suggest(name, FIELDS)}",
        )
    return item
