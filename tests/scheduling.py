"""What of the suite runs in one process when several share the work, and what runs at what time."""

from __future__ import annotations

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
#: What else has a process to itself for minutes in its full form.
LONG = _cases("attack_tenants")
#: Those that measure times in their full form run one after the other, before those that do not.
#: The soak gives way to all others, and so runs beside them.
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


def is_full(config: pytest.Config) -> bool:
    return bool(config.getoption("faults") == "full")


class ByService(LoadFileScheduling):
    """`--dist loadfile`, and files that share a service stay together as well."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        alone = {file: file for file in LONG} | dict.fromkeys(TIMED, "timed")
        self._together = SHARING | (alone if is_full(config) else {})

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return self._together.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByService:
    return ByService(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bring the full forms into the order in which two processes are to take them."""
    if is_full(config):
        order = (*SOAK, *TIMED)
        places = {config.rootpath / file: place for place, file in enumerate(order)}
        items.sort(key=lambda item: places.get(item.path, len(order)))
