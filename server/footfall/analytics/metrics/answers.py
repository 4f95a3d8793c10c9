"""Answers of metrics, as values that both faces of the API are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from footfall.analytics.metrics.plans import Column, Metric


@dataclass(frozen=True, slots=True)
class Instant:
    """A time, in microseconds since the epoch."""

    us: int


@dataclass(frozen=True, slots=True)
class Elapsed:
    """A duration, in microseconds."""

    us: int


#: A value of a row; None where it is not known.
Cell: TypeAlias = str | int | float | Instant | Elapsed | None


@dataclass(frozen=True, slots=True)
class Scalar:
    column: Column
    value: int | float


@dataclass(frozen=True, slots=True)
class Bucket:
    start_us: int
    #: The day, or the hour, in UTC.
    name: str
    values: tuple[int | float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Buckets in the order of time, with a value for each column."""

    columns: tuple[Column, ...]
    bucket_us: int
    buckets: Sequence[Bucket]


@dataclass(frozen=True, slots=True)
class Table:
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Cell, ...]]


@dataclass(frozen=True, slots=True)
class Page:
    columns: tuple[Column, ...]
    items: Sequence[tuple[Cell, ...]]
    total: int
    pages: int
    #: The most rows that a page holds.
    size: int
    #: From 1.
    page: int


@dataclass(frozen=True, slots=True)
class Empty:
    """There is no data in the range."""


Result: TypeAlias = Scalar | Series | Table | Page | Empty


@dataclass(frozen=True, slots=True)
class Answer:
    metric: Metric
    result: Result
    #: What the result leaves out, in sentences.
    warnings: Sequence[str] = ()
    #: The price list that costs come from; "" for a metric without costs.
    price_list: str = ""
