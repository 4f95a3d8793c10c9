"""What the answers should be, by a few lines of plain Python over the events that were sent."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

Event = Mapping[str, Any]
MONDAY = 4 * 86_400  # 1970-01-05 was the first Monday after the epoch
SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


def percentile(values: Sequence[int], rank: int) -> float:
    """Linear interpolation between closest ranks, exactly."""
    ordered = sorted(values)
    place = Fraction(rank, 100) * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def aggregate(name: str) -> Callable[[Sequence[int]], float]:
    if name.startswith("percentile_"):
        return lambda values: percentile(values, int(name.removeprefix("percentile_")))
    return {
        "": len,
        "count": len,
        "mean": lambda values: float(Fraction(sum(values), len(values))),
        "min": min,
        "max": max,
        "sum": sum,
    }[name]


def bucket(time: float, granularity: str) -> int:
    size = SECONDS.get(granularity) or int(granularity)
    origin = MONDAY if granularity == "week" else 0
    return int((time - origin) // size) * size + origin


def text(event: Event, name: str) -> str:
    value = event.get(name)
    return "" if value is None else str(value)


def timeseries(
    events: Iterable[Event],
    application_id: str,
    start: int,
    end: int,
    *,
    aggregation: str = "",
    **options: Any,
) -> dict[str, Any]:
    """The published document for these events."""
    asked = (aggregation,)
    return all_timeseries(events, application_id, start, end, asked, **options)[aggregation]


def all_timeseries(
    events: Iterable[Event],
    application_id: str,
    start: int,
    end: int,
    aggregations: Iterable[str],
    *,
    granularity: str = "",
    group: str = "",
    include: Iterable[str] = (),
) -> dict[str, dict[str, Any]]:
    """The published documents for these events by aggregation, in one pass over the events."""
    step = (end - start) * 1000
    if granularity:
        size = SECONDS.get(granularity) or int(granularity)
        start = bucket(start, granularity)
        floor = bucket(end, granularity)
        end = floor if floor == end else floor + size
        step = size * 1000
    wanted: dict[str, set[str]] = defaultdict(set)
    for item in include:
        name, _, value = item.partition(":")
        wanted[name].add(value)
    groups: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for event in events:
        if not start <= event["timestamp"] < end:
            continue
        if any(text(event, name) not in values for name, values in wanted.items()):
            continue
        key = text(event, group) if group else application_id
        time = bucket(event["timestamp"], granularity) if granularity else start
        groups[key][time].append(event["response_us"])
    documents = {}
    for aggregation in aggregations:
        calculate = aggregate(aggregation)
        found = {
            key: [[time, calculate(values)] for time, values in sorted(points.items())]
            for key, points in groups.items()
        }
        if not found and not group and aggregation in ("", "count", "sum"):
            found = {application_id: [[start, 0]]}
        documents[aggregation] = {
            "groups": found,
            "start": start,
            "end": end,
            "granularity": step,
        }
    return documents


def api_requests(seed: int, count: int, start: int, end: int) -> list[dict[str, Any]]:
    """Make events as real clients send them: ties, missing values, unicode, long tails."""
    dice = random.Random(seed)
    events = []
    for number in range(count):
        event: dict[str, Any] = {
            "event_id": f"{seed}-{number}",
            "timestamp": dice.choice(
                (dice.randrange(start, end), round(dice.uniform(start, end - 1), 3))
            ),
            "consumer_id": dice.choice(("alice", "bob", "çelik", "太郎", "a:b", "")),
            "method": dice.choice(("GET", "GET", "GET", "POST", "DELETE")),
            "url": f"/items/{dice.randrange(20)}?q={dice.choice(('a', 'b:c', 'é'))}",
            "function": dice.choice(("unknown", "list_items", "get_item")),
            "response_us": int(dice.lognormvariate(9, 2)),
            "status_code": dice.choice((200, 200, 200, 404, 500)),
            "data": None,
        }
        for name in ("function", "status_code"):
            if dice.random() < 0.05:
                del event[name]
        events.append(event)
    return events


def batched(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """Cut a sequence into pieces of at most `size`."""
    return (items[at : at + size] for at in range(0, len(items), size))
