"""The environment's own programs (footfall, buf, node, npm) come first on every test's path."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.faults.verdicts import pytest_addoption, pytest_terminal_summary
from tests.scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler

__all__ = [
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_terminal_summary",
    "pytest_xdist_make_scheduler",
]

# How long an example takes says something about the machine only.
settings.register_profile("footfall", deadline=None)
settings.load_profile("footfall")

# To look through the suite itself, which stays, takes a third of a second each time.
gc.set_threshold(20_000)

os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))


@pytest.fixture(autouse=True)
def _logs_as_they_are_by_default() -> Iterator[None]:
    """Undo what a command that runs in this process does to the logs."""
    yield
    structlog.reset_defaults()
