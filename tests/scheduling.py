"""What of the suite runs in one process when several share the work, and what runs at what time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling


def _cases(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/faults/test_{name}.py" for name in names)


#: Files of the fault suite by the service that they share, which takes seconds of CPU to start.
SHARING = {
    file: service
    for service, files in {
        "attacked": _cases(
            "attack_credentials", "attack_floods", "attack_grpc", "attack_rest", "attack_tenants"
        ),
        "service": _cases(
            "exactness_once",
            "exactness_reads",
            "faults_kills",
            "faults_lost_answers",
            "load_queries",
            "load_restart",
            "privacy",
        ),
    }.items()
    for file in files
}
#: Those that measure times in their full form: they run one after the other, marked as timed. So
#: is the soak, which gives way to all others and so runs beside them.
TIMED = _cases(
    "attack_floods",
    "attack_revocation",
    "faults_kills",
    "faults_stores",
    "load_neighbours",
    "load_overload",
    "load_queries",
    "load_restart",
)
SOAK = _cases("soak")


class ByService(LoadFileScheduling):
    """`--dist loadfile`, and files that share a service stay together as well."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        full = config.getoption("faults") == "full"
        self._together = SHARING | (dict.fromkeys(TIMED, "timed") if full else {})

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return self._together.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByService:
    return ByService(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what measures times, for `-m timed` and `-m "not timed"`."""
    timed = {config.rootpath / file for file in (*TIMED, *SOAK)}
    for item in items:
        if Path(item.path) in timed:
            item.add_marker(pytest.mark.timed)
