"""Long lists a page at a time.

A token names the last item's place in the order, not its number: what is added or removed between
two pages neither repeats an item nor hides one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from footfall.accounts.names import invalid

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 200
_TOKEN_CHARACTERS_MAX = 4096

_Item = TypeVar("_Item")
#: An item's place in its list; unique there, and of the same types for every item.
Place = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """A part of a list."""

    items: list[_Item]
    #: What asks for the next page; "" if there is no more.
    next_token: str


def page_of(
    items: Iterable[_Item], place: Callable[[_Item], Place], *, name: str, size: int, token: str
) -> Page[_Item]:
    """Return a page of the items in the order of their places.

    `size` 0 stands for 100, and more than 200 for 200; `token` is what the page before gave, ""
    for the first one, and `name` says of which list. Raises InvalidInputError for a size below 0
    and for a token of another list or of nobody's making.
    """
    if size < 0:
        raise invalid("page_size", f"must not be negative, but is {size}")
    size = min(size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
    placed = sorted(((place(item), item) for item in items), key=lambda pair: pair[0])
    if token:
        shape = [type(part) for part in placed[0][0]] if placed else None
        after = _read_token(token, name, shape)
        placed = [pair for pair in placed if pair[0] > after]
    shown = placed[:size]
    more = len(placed) > size
    return Page([item for _, item in shown], _make_token(name, shown[-1][0]) if more else "")


def _make_token(name: str, place: Place) -> str:
    text = json.dumps([name, *place], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str, name: str, shape: list[type] | None) -> Place:
    """Return the place that a token names; `shape` is what places there are made of, None where
    the list is empty by now.
    """
    try:
        if len(token) > _TOKEN_CHARACTERS_MAX:
            raise ValueError("too long")
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        parts = json.loads(data)
    except (binascii.Error, ValueError, RecursionError):
        parts = None
    if isinstance(parts, list) and parts[:1] == [name]:
        place = tuple(parts[1:])
        if shape is None or [type(part) for part in place] == shape:
            return place
    raise invalid("page_token", "must be the next_page_token of the answer before")
