"""The fixtures that cases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.service import Service, running
from tests.faults.attack_tenants import attacked
from tests.faults.verdicts import case

__all__ = ["attacked", "case"]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`footfall up`, for cases that leave it as they found it."""
    with running(tmp_path_factory.mktemp("faults") / "data", "--stand-by") as service:
        yield service
