"""English names of countries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from babel import Locale


@cache
def _territories() -> Mapping[str, str]:
    # Read from a file of about 100 kB on first use, not by every command's import.
    return dict(Locale("en").territories)


def country_name(code: str) -> str:
    """Return the English name of an ISO 3166 two-letter code: "Unknown" for "", and the code
    itself where there is no name.
    """
    return _territories().get(code, code) if code else "Unknown"
