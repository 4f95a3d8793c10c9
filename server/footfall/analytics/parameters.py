"""Parameters as callers send them: reading them, and saying what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

from footfall.errors import FieldViolation, InvalidInputError

_WHOLE = re.compile(r"([+-]?)0*([0-9]+)", re.ASCII)
#: A number of more digits than this is out of any range here, and need not be read.
_DIGITS_MAX = 9
_ECHO_MAX = 64


def whole_number(name: str, text: str, *, low: int, high: int, default: int) -> int:
    """Return a whole number, drawn into `low` to `high` where it is outside; "" is the default.

    Raises InvalidInputError (INVALID_PARAMETER) for a text that is no whole number.
    """
    text = text.strip()
    if not text:
        return default
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise refusal(
            name, f"{name} must be a whole number from {low} to {high}, but is {echo(text)}."
        )
    sign, digits = found.groups()
    if len(digits) > _DIGITS_MAX:
        return low if sign == "-" else high
    return min(max(int(sign + digits), low), high)


#: What NDJSON goes by in Accept headers.
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")

_Format = TypeVar("_Format", bound=str)


def document_format(text: str, accept: str, known: Mapping[_Format, Iterable[str]]) -> _Format:
    """Return the format of a document: by name, else by the first type of an Accept header that
    there is, else the first of those that are `known`, which have their media types.

    Raises InvalidInputError (INVALID_PARAMETER) for another name.
    """
    if text:
        for name in known:
            if name == text:
                return name
        *names, last = known
        raise refusal(
            "format",
            f"format must be {', '.join(names)} or {last}, but is {echo(text)}."
            f"{suggest(text, known)}",
        )
    by_type = {
        media_type: name for name, media_types in known.items() for media_type in media_types
    }
    for part in accept.split(","):
        found = by_type.get(part.partition(";")[0].strip().lower())
        if found is not None:
            return found
    return next(iter(known))


def suggest(text: str, words: Iterable[str]) -> str:
    """Return a sentence with the word that was probably meant, or ""."""
    near = get_close_matches(text[:_ECHO_MAX].lower(), words, n=1, cutoff=0.6)
    return f" Did you mean {near[0]}?" if near else ""


def echo(text: str) -> str:
    """Return what a caller sent, short enough to say it back."""
    return repr(text if len(text) <= _ECHO_MAX else text[:_ECHO_MAX] + "…")


def refusal(parameter: str, message: str) -> InvalidInputError:
    """Return the error (INVALID_PARAMETER) about one parameter."""
    return InvalidInputError(
        message,
        metadata={"parameter": parameter},
        violations=(FieldViolation(parameter, message, "INVALID_PARAMETER"),),
    )
