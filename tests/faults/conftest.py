"""The fixtures that cases share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.service import Service, running
from tests.faults.attack_tenants import attacked
from tests.faults.tenants import managing
from tests.faults.verdicts import case

__all__ = ["attacked", "case"]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`footfall up`, for cases that leave it as they found it.

    It has the account that `tests.e2e.conftest` makes sites and applications in.
    """
    with running(tmp_path_factory.mktemp("faults") / "data") as service:
        with managing(service.accounts_url, "e2e") as manager:
            manager.create_account("e2e", "e2e")
        yield service
