"""Programs that are no Python packages: tests that use one are skipped where it is missing."""

from __future__ import annotations

import os

import pytest

#: Set by continuous integration, where a program that is missing is a fault.
REQUIRED = os.environ.get("FOOTFALL_TEST_TOOLS") == "required"


def needs(name: str, found: str | None) -> pytest.MarkDecorator:
    """Return the mark of a test that needs a program, by where it was found."""
    return pytest.mark.skipif(
        found is None and not REQUIRED, reason=f"there is no {name} on this machine"
    )
