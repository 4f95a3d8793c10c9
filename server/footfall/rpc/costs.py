"""What a call costs: units of an allowance, counted before the handler sees the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

#: Counts the units of a decoded message.
Cost = Callable[[Any], int]

_JSON_SPACE = b" \t\n\r"


def one(message: Any) -> int:  # noqa: ARG001  # whatever is in it
    """Return the cost of a call that asks one thing."""
    return 1


def none(message: Any) -> int:  # noqa: ARG001  # whatever is in it
    """Return the cost of a call that may be made at any time."""
    return 0


def of_queries(message: Any) -> int:
    """Return the number of a message's queries; of none, what one costs."""
    return max(1, len(message.queries))


def of_body(message: Any) -> int:
    """Return the number of queries of a JSON body, an object or an array of them; of a body that
    cannot be read, what one costs.
    """
    body: bytes = message.body.data
    # Nearly all bodies are objects, which the first byte tells.
    if not body.lstrip(_JSON_SPACE).startswith(b"["):
        return 1
    try:
        queries = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 1
    return max(1, len(queries))
