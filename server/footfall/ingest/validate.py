"""Validation, column by column.

Each judge looks at a whole column at once, with a handful of passes that run in C, and goes event
by event only where that look fails. It returns a column of the same length with the values as they
will be stored; the places of rejected events hold something harmless.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import orjson

from footfall.ingest.model import RawColumns
from footfall.ingest.verdicts import Verdicts, shown

#: How far ahead of the server's clock an event may be.
FUTURE_MAX_US = 24 * 3600 * 1_000_000
#: Members that an object of an event may have.
MEMBERS_MAX = 50

T = TypeVar("T")

_NONE = type(None)
_PICODOLLARS = 10**12
#: Below this many events a plain loop is faster than numpy.
_ARRAY_MIN = 24

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def text_column(
    raw: RawColumns,
    name: str,
    characters_max: int,
    verdicts: Verdicts,
    *,
    required: bool = False,
) -> list[str]:
    """Return texts, "" where absent, each at most `characters_max` long.

    NUL characters and unpaired surrogates, which not every store can hold, become U+FFFD.
    """
    column = raw.get(name)
    kinds = set(map(type, column)) if column is not None else {_NONE}
    if column is None or kinds == {_NONE}:
        texts = [""] * verdicts.count
    elif kinds == {str}:
        texts = list(column)
    elif kinds == {str, _NONE}:
        texts = [text or "" for text in column]
    else:
        texts = [_text(value, name, index, verdicts) for index, value in enumerate(column)]
    joined = "".join(texts)
    if joined:
        widest = max(map(len, texts))
        if widest > characters_max:
            for index, text in enumerate(texts):
                if len(text) > characters_max:
                    verdicts.reject(
                        index,
                        name,
                        f"`{name}` has {len(text)} characters; at most {characters_max} are taken.",
                    )
        ascii_only = joined.isascii()
        if "\0" in joined or not (ascii_only or _encodable(joined)):
            texts = [cleaned(text) for text in texts]
        verdicts.text_size += len(joined)
        verdicts.event_bytes_bound += widest if ascii_only else 4 * widest
    if required and "" in texts:
        for index, text in enumerate(texts):
            if not text:
                verdicts.reject(index, name, f"`{name}` is required, but is absent or empty.")
    return texts


def time_column(raw: RawColumns, name: str, verdicts: Verdicts, now_us: int) -> list[int]:
    """Return times in microseconds since the epoch, from epoch seconds or RFC 3339 texts; `now_us`
    where absent.
    """
    column = raw.get(name)
    kinds = set(map(type, column)) if column is not None else {_NONE}
    if column is None or kinds == {_NONE}:
        return [now_us] * verdicts.count
    latest = now_us + FUTURE_MAX_US
    if len(column) >= _ARRAY_MIN and kinds == {float}:
        with np.errstate(over="ignore"):  # infinite is too late, or too early
            times = np.rint(np.array(column) * 1e6)
        # Any comparison with NaN is false, so that NaN takes the slow way too.
        if times.min() >= 0 and times.max() <= latest:
            result: list[int] = times.astype(np.int64).tolist()
            return result
    if kinds == {int} and min(column) >= 0 and max(column) * 1_000_000 <= latest:
        return [value * 1_000_000 for value in column]
    return [
        now_us if value is None else _time(value, name, index, verdicts, latest)
        for index, value in enumerate(column)
    ]


def integer_column(
    raw: RawColumns,
    name: str,
    highest: int,
    verdicts: Verdicts,
    *,
    required: bool = False,
) -> list[int | None]:
    """Return integers from 0 to `highest`, `None` where absent; 3.0 counts as 3."""
    column = raw.get(name)
    kinds = set(map(type, column)) if column is not None else {_NONE}
    if kinds == {int} and column and min(column) >= 0 and max(column) <= highest:
        return list(column)
    if kinds == {_NONE} and not required:
        return [None] * verdicts.count
    values: list[int | None] = []
    for index, value in enumerate(column or [None] * verdicts.count):
        if value is None:
            if required:
                verdicts.reject(
                    index, name, f"`{name}` is required: an integer from 0 to {highest}."
                )
            values.append(None)
            continue
        number = int(value) if type(value) is float and value.is_integer() else value
        if type(number) is not int or not 0 <= number <= highest:
            verdicts.reject(
                index,
                name,
                f"`{name}` must be an integer from 0 to {highest}, but is {shown(value)}.",
            )
            number = None
        values.append(number)
    return values


def number_column(raw: RawColumns, name: str, highest: float, verdicts: Verdicts) -> list[float]:
    """Return numbers from 0 to `highest`, 0.0 where absent."""
    column = raw.get(name)
    if column is None:
        return [0.0] * verdicts.count
    values = []
    for index, value in enumerate(column):
        number = 0.0
        if type(value) in (int, float) and 0 <= value <= highest:
            number = float(value)
        elif value is not None:
            verdicts.reject(
                index,
                name,
                f"`{name}` must be a number from 0 to {highest:g}, but is {shown(value)}.",
            )
        values.append(number)
    return values


def money_column(raw: RawColumns, name: str, highest: int, verdicts: Verdicts) -> list[int | None]:
    """Return dollars from 0 to `highest` in whole picodollars (10^-12 $), `None` where absent.

    A number means the shortest decimal that is read as it: 0.1 is a tenth, not the double beside
    it. What is finer than a picodollar is rounded.
    """
    column = raw.get(name)
    if column is None:
        return [None] * verdicts.count
    values: list[int | None] = []
    for index, value in enumerate(column):
        amount = None
        if type(value) in (int, float) and 0 <= value <= highest:
            amount = round(Decimal(repr(value)) * _PICODOLLARS)
        elif value is not None:
            verdicts.reject(
                index,
                name,
                f"`{name}` must be a number of dollars from 0 to {highest}, but is {shown(value)}.",
            )
        values.append(amount)
    return values


def flag_column(
    raw: RawColumns, name: str, verdicts: Verdicts, *, required: bool = False
) -> list[int]:
    """Return 1 for true and 0 for false, also where absent."""
    column = raw.get(name) or [None] * verdicts.count
    for index, value in enumerate(column):
        if value is None and required:
            verdicts.reject(index, name, f"`{name}` is required: true or false.")
        elif value is not None and type(value) is not bool:
            verdicts.reject(index, name, f"`{name}` must be true or false, but is {shown(value)}.")
    return [int(value is True) for value in column]


def where_present(raw: RawColumns, name: str, values: Sequence[T]) -> list[T | None]:
    """Return a column's values, `None` where it was absent."""
    column = raw.get(name)
    if column is None:
        return [None] * len(values)
    return [None if sent is None else value for sent, value in zip(column, values, strict=True)]


def choice_column(
    raw: RawColumns, name: str, choices: Mapping[str, T], verdicts: Verdicts
) -> list[T]:
    """Return what each choice stands for; an absent one counts as ""."""
    texts = text_column(raw, name, 1024, verdicts)
    if set(texts) <= choices.keys():
        return [choices[text] for text in texts]
    wanted = ", ".join(f'"{choice}"' for choice in choices if choice)
    values = []
    for index, text in enumerate(texts):
        if text not in choices:
            verdicts.reject(index, name, f"`{name}` must be one of {wanted}, but is {shown(text)}.")
        values.append(choices.get(text, choices[""]))
    return values


def pairs_column(raw: RawColumns, name: str, verdicts: Verdicts) -> list[str]:
    """Return objects of text pairs as JSON texts, "" where absent or empty."""

    def fault(value: Mapping[Any, Any]) -> str:
        for key, member in value.items():
            if not isinstance(member, str):
                return f"`{name}` must have texts only, but its {shown(key)} is {shown(member)}."
        return ""

    return _object_column(raw, name, verdicts, fault)


def object_column(raw: RawColumns, name: str, verdicts: Verdicts) -> list[str]:
    """Return objects of anything as JSON texts, "" where absent or empty."""
    return _object_column(raw, name, verdicts, lambda _: "")


def cleaned(text: str) -> str:
    """Return the text with surrogate pairs joined, and what cannot be stored as U+FFFD."""
    utf16 = text.encode("utf-16-le", "surrogatepass")
    return utf16.decode("utf-16-le", "replace").replace("\0", "\ufffd")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any, name: str, index: int, verdicts: Verdicts) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    verdicts.reject(index, name, f"`{name}` must be a text, but is {shown(value)}.")
    return ""


def _time(value: Any, name: str, index: int, verdicts: Verdicts, latest_us: int) -> int:
    """Return one time in microseconds; a rejected one is 0."""
    time_us: int | None = None
    if type(value) is int:
        time_us = value * 1_000_000
    elif type(value) is float and math.isfinite(value * 1e6):
        time_us = round(value * 1e6)
    elif isinstance(value, str):
        time_us = _rfc3339_us(value)
    if time_us is None:
        verdicts.reject(
            index,
            name,
            f"`{name}` must be seconds since the epoch or an RFC 3339 time with offset such as "
            f'"2024-05-17T10:05:03Z", but is {shown(value)}.',
        )
        return 0
    if time_us < 0:
        verdicts.reject(index, name, f"`{name}` must not be before 1970, but is {shown(value)}.")
        return 0
    if time_us > latest_us:
        hint = ""
        if isinstance(value, (int, float)) and time_us // 1000 <= latest_us:
            hint = " Milliseconds? It counts seconds."
        verdicts.reject(
            index,
            name,
            f"`{name}` must be at most 24 hours in the future, but is {shown(value)}.{hint}",
        )
        return 0
    return time_us


def _rfc3339_us(text: str) -> int | None:
    """Return the time of an RFC 3339 text, to the microsecond (further digits are cut), or None."""
    match = _RFC3339.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        return None
    date, minute, second, fraction, offset = match.groups()
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(
            f"{date}T{minute}{'59' if leap else second}{offset.upper()}"
        )
        since_epoch = moment - _EPOCH
    except (ValueError, OverflowError):
        return None
    micros = int(((fraction or "") + "000000")[:6])
    return since_epoch // timedelta(microseconds=1) + micros + leap * 1_000_000


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


def _object_column(
    raw: RawColumns, name: str, verdicts: Verdicts, fault: Callable[[Mapping[Any, Any]], str]
) -> list[str]:
    column = raw.get(name)
    texts = [""] * verdicts.count
    if column is None or set(map(type, column)) == {_NONE}:
        return texts
    for index, value in enumerate(column):
        if value is None:
            continue
        if not isinstance(value, Mapping):
            verdicts.reject(index, name, f"`{name}` must be an object, but is {shown(value)}.")
        elif len(value) > MEMBERS_MAX:
            verdicts.reject(
                index, name, f"`{name}` has {len(value)} members; at most {MEMBERS_MAX} are taken."
            )
        elif message := fault(value):
            verdicts.reject(index, name, message)
        elif value:
            texts[index] = _json(value, name, index, verdicts)
    verdicts.text_size += sum(map(len, texts))
    verdicts.event_bytes_bound += 4 * max(map(len, texts))
    return texts


def _json(value: Mapping[Any, Any], name: str, index: int, verdicts: Verdicts) -> str:
    """Return an object as JSON text; text that cannot be stored is cleaned."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Unpaired surrogates, numbers of more than 64 bits, or too many levels.
        try:
            return cleaned(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        except (TypeError, ValueError, RecursionError):
            verdicts.reject(index, name, f"`{name}` must be an object of JSON values.")
            return ""
