"""What batch queries ask of the store, and what it gives: events as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


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

    A visitor is a number below 2^31 that holds within these rows. Visitors are told apart by 63
    bits of a hash of the id: among a million, two are taken for one with a chance of 1 in 18
    millions.
    """

    visitors: Int64s
    ts_us: Int64s
    texts: dict[EventField, Texts]

    def __len__(self) -> int:
        return len(self.ts_us)


#: Takes events in portions: every visitor is in one of them.
Take = Callable[[EventRows], None]
