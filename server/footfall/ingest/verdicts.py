"""Which events of a batch are good, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from footfall.errors import FieldViolation, TooLargeError
from footfall.ingest.columns import NOT_AN_OBJECT
from footfall.ingest.model import InvalidEventsError, RawColumns, RejectedEvent

EVENTS_MAX = 10_000
EVENT_BYTES_MAX = 64 * 1024

INVALID_FIELD = "INVALID_FIELD"
EVENT_TOO_LARGE = "EVENT_TOO_LARGE"
HOST_MISMATCH = "HOST_MISMATCH"

#: How much of a wrong value is shown to the one who sent it.
_SHOWN_MAX = 40
#: How many of a batch's faults its error message tells; the rest are in the list.
_TOLD_MAX = 3


class Verdicts:
    """The faults found so far in a batch of `count` events; the first fault of an event stands."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._faults: dict[int, FieldViolation] = {}
        #: Characters of all texts seen.
        self.text_size = 0
        #: No event has more bytes than this, as far as columns have been looked at.
        self.event_bytes_bound = 0

    def reject(self, index: int, field: str, message: str, code: str = INVALID_FIELD) -> None:
        """Note a fault of an event, unless it has one already."""
        self._faults.setdefault(index, FieldViolation(field, message, code))

    def replace(self, index: int, field: str, message: str, code: str) -> None:
        """Note a fault that says more than what was found before."""
        self._faults[index] = FieldViolation(field, message, code)

    def take(self, inner: Verdicts, places: Sequence[int]) -> None:
        """Take over what was found in a part of the batch, whose events have these places."""
        for index, fault in inner._faults.items():
            if fault.code == EVENT_TOO_LARGE:
                self._faults[places[index]] = fault
            else:
                self._faults.setdefault(places[index], fault)
        self.text_size += inner.text_size

    def __bool__(self) -> bool:
        """Whether any event is bad."""
        return bool(self._faults)

    def good_indices(self) -> list[int]:
        """Return the places of the good events; raises InvalidEventsError if there is none."""
        if len(self._faults) == self.count:
            raise self._error()
        return [index for index in range(self.count) if index not in self._faults]

    def rejected(self) -> list[RejectedEvent]:
        """Return the bad events in their order."""
        return [
            RejectedEvent(index, fault.code, fault.message)
            for index, fault in sorted(self._faults.items())
        ]

    def _error(self) -> InvalidEventsError:
        rejected = self.rejected()
        told = " ".join(f"Event {row.index}: {row.message}" for row in rejected[:_TOLD_MAX])
        more = len(rejected) - _TOLD_MAX
        ending = f" And {more} more." if more > 0 else ""
        events = "The only event is" if len(rejected) == 1 else f"All {len(rejected)} events are"
        return InvalidEventsError(
            f"{events} invalid. {told}{ending}",
            rejected=rejected,
            violations=[
                FieldViolation(_path(index, fault.field), fault.message, fault.code)
                for index, fault in sorted(self._faults.items())
            ],
        )


def open_verdicts(raw: RawColumns) -> Verdicts:
    """Return the verdicts of a new batch, with elements that are no objects already rejected.

    Raises InvalidEventsError for a batch without events and TooLargeError for one with too many.
    """
    count = max(map(len, raw.values()), default=0)
    if not count:
        raise InvalidEventsError(
            f"The batch holds no event; a batch has from 1 to {EVENTS_MAX} events."
        )
    if count > EVENTS_MAX:
        raise TooLargeError(
            f"The batch holds {count} events; at most {EVENTS_MAX} are taken at once.",
            metadata={"events": str(count), "events_max": str(EVENTS_MAX)},
        )
    verdicts = Verdicts(count)
    for index, kind in enumerate(raw.get(NOT_AN_OBJECT, ())):
        if kind is not None:
            verdicts.reject(index, "", f"An event must be an object, but this one is {kind}.")
    return verdicts


def judge_sizes(raw: RawColumns, fields: Sequence[str], verdicts: Verdicts) -> None:
    """Reject events over EVENT_BYTES_MAX; called after all columns have been looked at, so that
    batches of small events cost nothing here.
    """
    if verdicts.event_bytes_bound <= EVENT_BYTES_MAX:
        return
    columns = [raw[name] for name in fields if name in raw]
    for index in range(verdicts.count):
        size = sum(_bytes_of(column[index]) for column in columns)
        if size > EVENT_BYTES_MAX:
            verdicts.replace(
                index,
                "",
                f"The event has {size} bytes; at most {EVENT_BYTES_MAX} are taken.",
                EVENT_TOO_LARGE,
            )


def shown(value: object) -> str:  # noqa: PLR0911 - one line a type reads best
    """Return a wrong value as a message may show it: short, and with JSON's names of types."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "…"
        return f'"{cut.encode("utf-8", "replace").decode()}"'
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "an object"
    return "an array"


def _path(index: int, field: str) -> str:
    return f"events[{index}].{field}" if field else f"events[{index}]"


def _bytes_of(value: Any) -> int:
    """Return how many bytes a value takes as text; scalars count as a word."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (Mapping, list)):
        try:
            return len(orjson.dumps(value))
        except TypeError:
            # Not storable as it is; the judge of its column says so, or mends it.
            return 0
    return 8
