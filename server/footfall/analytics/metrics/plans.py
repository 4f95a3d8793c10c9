"""What a metric is made of: its form, its columns, and the plan by which it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias

from footfall.analytics.metrics.questions import Field, Measure, Source


class Section(StrEnum):
    """The published tables of metrics."""

    EXECUTION = "Execution"
    COST = "Cost and tokens"
    CONVERSATIONS = "Conversations"
    API_USAGE = "API usage"
    KNOWLEDGE_BASE = "Knowledge base"


class Form(Enum):
    """The form of an answer; its value is the published response type."""

    SCALAR = "simple"
    SERIES = "barchart"
    TABLE = "table"
    PAGE = "table (paginated)"

    @property
    def response_type(self) -> str:
        """What the published document calls it."""
        return "table" if self is Form.PAGE else self.value


class Kind(Enum):
    """What the values of a column are, and so how they are shown."""

    TEXT = "text"
    COUNT = "count"
    #: Measured in microseconds, shown in seconds to 3 decimals.
    SECONDS = "seconds"
    #: The double nearest to the exact sum.
    DOLLARS = "dollars"
    #: A quotient, shown to 2 decimals.
    RATIO = "ratio"
    TIME = "time"
    DURATION = "duration"

    @property
    def numeric(self) -> bool:
        """Whether tables can be sorted by it."""
        return self not in {Kind.TEXT, Kind.TIME, Kind.DURATION}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, a named value of a series, or the number of a scalar."""

    heading: str
    kind: Kind = Kind.COUNT
    prefix: str | None = None
    suffix: str | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """An answer of plain measures, one for each column but the name's."""

    source: Source
    measures: tuple[Measure, ...] = (Measure(),)
    where: tuple[tuple[Field, str], ...] = ()
    group: Field | None = None
    #: The present state of all rows, whatever the range.
    present: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What AI operations cost: one number, or tokens and cost by the values of a field."""

    group: Field | None = None
    #: Takes the operations only that name a run, or a conversation.
    naming: Field | None = None
    #: Leaves out the cost of what was read from caches and written to them.
    fresh_only: bool = False


@dataclass(frozen=True, slots=True)
class Over:
    """A number for each of what `per` counts; there is none where that counts nothing."""

    number: Count | Cost
    per: Count


@dataclass(frozen=True, slots=True)
class CallLog:
    """The API calls themselves, page by page."""


Plan: TypeAlias = Count | Cost | Over | CallLog


@dataclass(frozen=True, slots=True)
class Metric:
    """An entry of the catalogue."""

    name: str
    section: Section
    form: Form
    columns: tuple[Column, ...]
    plan: Plan
    #: The published description.
    description: str
    #: What the description leaves open.
    meaning: str = ""

    @property
    def costs(self) -> bool:
        """Whether the answer depends on the price list."""
        return isinstance(self.plan, Cost) or (
            isinstance(self.plan, Over) and isinstance(self.plan.number, Cost)
        )
