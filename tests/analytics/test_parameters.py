"""Whole numbers as callers write them, and quotients as they are shown."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.analytics.parameters import whole_number
from footfall.analytics.rounding import tenths, whole
from footfall.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 30),
        ("   ", 30),
        ("7", 7),
        ("+7", 7),
        # What a plus sign in an address is after decoding.
        (" 7", 7),
        ("007", 7),
        ("1", 1),
        ("100", 100),
        ("0", 1),
        ("-0", 1),
        ("-5", 1),
        ("101", 100),
        ("0" * 5000 + "9", 9),
        ("9" * 5000, 100),
        ("-" + "9" * 5000, 1),
        ("2147483648", 100),
        ("18446744073709551617", 100),
    ],
)
def test_a_whole_number_is_drawn_into_its_bounds(text: str, expected: int) -> None:
    assert whole_number("limit", text, low=1, high=100, default=30) == expected


@pytest.mark.parametrize(
    "text", ["abc", "1.5", "1e3", "0x10", "1_000", "--1", "+", "٣", "½", "1 2", "1\0", "None", ","]
)
def test_what_is_no_whole_number_is_named(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        whole_number("limit", text, low=1, high=100, default=30)
    error = caught.value
    assert error.reason == "INVALID_PARAMETER"
    assert error.metadata == {"parameter": "limit"}
    assert [item.field for item in error.violations] == ["limit"]
    assert str(error).startswith("limit must be a whole number from 1 to 100, but is ")
    assert repr(text) in str(error)


def test_a_long_text_is_not_said_back_whole() -> None:
    with pytest.raises(InvalidInputError) as caught:
        whole_number("days", "x" * 100_000, low=1, high=30, default=30)
    assert len(str(caught.value)) < 200


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**12))
def test_quotients_are_rounded_to_the_nearest_and_halves_away_from_zero(top: int, low: int) -> None:
    exact = Fraction(top, low)
    for found, unit in ((Fraction(whole(top, low)), 1), (Fraction(whole(10 * top, low), 10), 10)):
        distance = abs(found - exact) * unit
        assert distance <= Fraction(1, 2)
        assert distance < Fraction(1, 2) or abs(found) > abs(exact)
    assert whole(-top, low) == -whole(top, low)


@pytest.mark.parametrize(
    ("top", "low", "expected"),
    [
        (3_158_127, 388_450, 8.1),
        (1, 20, 0.1),
        (-1, 20, -0.1),
        (-1, 21, 0.0),
        (9, 4, 2.3),
        (0, 3, 0.0),
        (1, 3, 0.3),
    ],
)
def test_one_decimal(top: int, low: int, expected: float) -> None:
    # Also that nothing is ever "-0.0", which JSON would show.
    assert repr(tenths(top, low)) == repr(expected)
