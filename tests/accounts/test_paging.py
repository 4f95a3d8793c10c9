"""Lists a page at a time."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.accounts.paging import Page, page_of
from footfall.errors import InvalidInputError

Item = tuple[int, str]


def page(items: list[Item], size: int = 0, token: str = "", name: str = "items") -> Page[Item]:
    return page_of(items, lambda item: item, name=name, size=size, token=token)


def walk(items: list[Item], size: int) -> list[list[Item]]:
    pages, token = [], ""
    while True:
        found = page(items, size, token)
        pages.append(found.items)
        token = found.next_token
        if not token:
            return pages


def token_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(parts)).encode()).decode().rstrip("=")


@given(
    st.sets(st.tuples(st.integers(), st.text(st.characters(codec="utf-8")))), st.integers(1, 250)
)
def test_pages_are_the_sorted_list_in_parts(items: set[Item], size: int) -> None:
    pages = walk(list(items), size)
    assert [item for found in pages for item in found] == sorted(items)
    size = min(size, 200)
    assert all(len(found) == size for found in pages[:-1])
    # No empty page at the end, but for an empty list.
    assert len(pages) == max(1, -(-len(items) // size))


def test_sizes() -> None:
    items = [(number, "") for number in range(500)]
    for size, length in ((0, 100), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)):
        assert len(page(items, size).items) == length
    with pytest.raises(InvalidInputError, match="page_size") as caught:
        page(items, -1)
    assert [violation.field for violation in caught.value.violations] == ["page_size"]


def test_list_that_changes_between_pages() -> None:
    items = [(number, "x") for number in range(10)]
    first = page(items, 4)
    # The item that the token names is removed, one before it and one after it are added.
    items = sorted({*items, (0, "y"), (4, "a")} - {first.items[-1]})
    assert page(items, 4, first.next_token).items == [(4, "a"), (4, "x"), (5, "x"), (6, "x")]
    assert page([], 4, first.next_token) == Page([], "")


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "=",
        "äö",
        "\udc80",
        "\0",
        "a" * 5000,
        token_of("items", 1, "x")[:-2],
        token_of("others", 1, "x"),
        token_of("items"),
        token_of("items", 1),
        token_of("items", 1, "x", 2),
        token_of("items", "x", 1),
        token_of("items", True, "x"),
        token_of("items", 1.5, "x"),
        token_of("items", None, "x"),
        token_of(1, "x"),
        base64.urlsafe_b64encode(b'{"items": 1}').decode().rstrip("="),
        base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("="),
        base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode(),
    ],
)
def test_token_of_nobodys_making(token: str) -> None:
    items = [(number, "x") for number in range(3)]
    with pytest.raises(InvalidInputError, match="page_token") as caught:
        page(items, 1, token)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


def test_token_of_another_list() -> None:
    items = [(number, "x") for number in range(3)]
    token = page(items, 1, name="others").next_token
    with pytest.raises(InvalidInputError, match="page_token"):
        page(items, 1, token)
