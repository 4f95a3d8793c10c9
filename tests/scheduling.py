"""What of the suite runs in one process when several share the work."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

#: Files of the fault suite by the service that they share, which takes seconds of CPU to start.
SHARING = {
    f"tests/faults/test_{name}.py": service
    for service, names in {
        "attacked": (
            "attack_credentials",
            "attack_floods",
            "attack_grpc",
            "attack_rest",
            "attack_tenants",
        ),
        "service": (
            "exactness_once",
            "exactness_reads",
            "faults_kills",
            "faults_lost_answers",
            "load_queries",
            "load_restart",
            "privacy",
        ),
    }.items()
    for name in names
}


class ByService(LoadFileScheduling):
    """`--dist loadfile`, and files that share a service stay together as well."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return SHARING.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByService:
    return ByService(config, log)
