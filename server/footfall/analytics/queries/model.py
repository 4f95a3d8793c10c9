"""What batch queries ask of the store, and what it gives: events as columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
#: Numbers of things, or of rows.
Numbers = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


class EventKind(StrEnum):
    """The kinds of events that queries are about."""

    PAGEVIEW = "pageview"
    CUSTOM = "custom"


class EventField(StrEnum):
    """The texts of an event that can be asked for."""

    PATH = "path"
    MEDIUM = "medium"
    SOURCE = "source"
    REFERRER_HOST = "referrer_host"
    UTM_SOURCE = "utm_source"
    UTM_MEDIUM = "utm_medium"
    UTM_CAMPAIGN = "utm_campaign"
    UTM_TERM = "utm_term"
    UTM_CONTENT = "utm_content"
    BROWSER = "browser"
    OS = "os"
    DEVICE = "device"
    COUNTRY = "country"
    CITY = "city"
    LANGUAGE = "language"
    TIMEZONE = "timezone"
    SCREEN = "screen"
    NAME = "name"
    PROPERTIES = "properties"


Operator = Literal["in", "not_in", "contains", "not_contains", "starts_with", "like", "gt", "lt"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a text of an event must be, letter by letter; `in` and `not_in` have any number of
    values, the others one. Texts are compared as UTF-8.
    """

    field: EventField
    operator: Operator
    values: tuple[str, ...]

    def test(self) -> Callable[[str], bool]:
        """Return what says of a text whether it is so."""
        return _TESTS[self.operator](self.values)


def _like(values: tuple[str, ...]) -> Callable[[str], bool]:
    parts = re.split("([%_])", values[0])
    pattern = "".join({"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
    whole = re.compile(pattern, re.DOTALL)
    return lambda text: whole.fullmatch(text) is not None


#: By operator, what makes a test of a condition's values. Texts are in the order of their UTF-8.
_TESTS: Final[Mapping[Operator, Callable[[tuple[str, ...]], Callable[[str], bool]]]] = {
    "in": lambda values: frozenset(values).__contains__,
    "not_in": lambda values: lambda text: text not in values,
    "contains": lambda values: lambda text: values[0] in text,
    "not_contains": lambda values: lambda text: values[0] not in text,
    "starts_with": lambda values: lambda text: text.startswith(values[0]),
    "like": _like,
    "gt": lambda values: lambda text: text > values[0],
    "lt": lambda values: lambda text: text < values[0],
}


@dataclass(frozen=True, slots=True)
class EventScan:
    """The counted events of one kind on a site, in [start_us, end_us), under all conditions."""

    site_id: str
    kind: EventKind
    start_us: int
    end_us: int
    fields: frozenset[EventField] = frozenset()
    conditions: tuple[Condition, ...] = ()
    #: Whether the rows are wanted by visitor, time and order of storage; else in any order.
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: each row's place in the list of values, which are distinct."""

    codes: npt.NDArray[np.int32]
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class EventRows:
    """Events in the order of the scan; all events of a visitor that it has.

    A visitor is a number below 2^31 that holds within these rows. Two ids never share one.
    """

    visitors: Numbers
    ts_us: Int64s
    texts: Mapping[EventField, Texts]

    def __len__(self) -> int:
        return len(self.ts_us)


@dataclass(frozen=True, slots=True)
class EventPart:
    """Events to be counted, or to be taken out of what was counted; its visitors are there whole.

    What is counted adds up over parts, because no visitor is counted in two of them: one whose
    events in a part are not all of them any more is first taken out.
    """

    #: Makes the rows; whoever has counted the part before need not have them made.
    rows: Callable[[], EventRows]
    #: 1, or -1: what is counted of the rows has to be taken out.
    sign: Literal[1, -1] = 1
    #: What the part goes by if it may come again; its rows never change. No other part has it.
    name: Hashable | None = None


#: Takes a scan's events, part by part.
Take = Callable[[EventPart], None]
