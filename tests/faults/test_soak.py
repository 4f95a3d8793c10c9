"""A quarter of an hour at half of what the service can take: nothing grows that should not.

It runs beside other cases, which take what they need of the machine; so nothing here measures time.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.service import Service, running
from tests.faults.http_load import Load
from tests.faults.tenants import create_tenant
from tests.faults.test_load_overload import kinds
from tests.faults.verdicts import Case

#: How much the memory of all processes may grow in an hour once they are warm, by the slope of a
#: line through all that was measured; and descriptors and threads in a soak.
GROWTH_MIB_AN_HOUR = 120.0
GROWTH_DESCRIPTORS = 8
LOOK_S = 2.0


@dataclass(frozen=True)
class Look:
    """What the processes of the service have at a moment."""

    at_s: float
    memory_mib: float
    descriptors: int
    threads: int


def look(service: Service, began: float) -> Look:
    top = psutil.Process(service.process.pid)
    processes = [top, *top.children(recursive=True)]
    # A custom query's process is gone before the next look.
    memory = descriptors = threads = 0
    for process in processes:
        with process.oneshot():
            memory += process.memory_info().rss
            descriptors += process.num_fds()
            threads += process.num_threads()
    return Look(time.monotonic() - began, memory / 2**20, descriptors, threads)


def slope(looks: list[Look]) -> float:
    """Return by how much memory grows, in MiB an hour."""
    return (
        3_600
        * statistics.linear_regression(
            [each.at_s for each in looks], [each.memory_mib for each in looks]
        ).slope
    )


def test_a_soak(tmp_path: Path, case: Case) -> None:
    seconds = 900.0 if case.full else 6.0
    with running(tmp_path / "data") as service:
        tenant = create_tenant(service.data)
        wanted = kinds(tenant)

        def load(seconds: float, rate: float | None) -> Load:
            seed = case.chance.randrange(2**16)
            callers = 64 if rate is None else 256
            return Load(
                service.rest, wanted, seconds=seconds, seed=seed, rate=rate, callers=callers
            )

        peak = load(5 if case.full else 1, None).tally()
        soak = load(seconds, peak.goodput / 2)
        looks: list[Look] = []
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            time.sleep(min(LOOK_S, seconds / 20))
            looks.append(look(service, began))
        tally = soak.tally()
        # At rest, what calls had is given back.
        time.sleep(1)
        end = look(service, began)
    # Caches, pools and the engine's memory fill up in the first third.
    warm = [each for each in looks if each.at_s > seconds / 3]
    first, last = warm[: len(warm) // 3], warm[-(len(warm) // 3) :]
    grown = median_memory(last) - median_memory(first)
    descriptors = statistics.median(each.descriptors for each in first)
    threads = statistics.median(each.threads for each in first)
    case.tell(
        f"{sum(tally.good.values())} good of {tally.sent} at {peak.goodput / 2:.0f}/s, refused "
        f"{tally.refused}; memory {median_memory(first):.0f} to {median_memory(last):.0f} MiB, "
        f"{slope(warm):+.0f} MiB/h; descriptors {descriptors:.0f} to {end.descriptors}, threads "
        f"{threads:.0f} to {end.threads}"
    )
    assert tally.statuses.keys() <= {200, 503}, (tally.statuses, tally.odd)
    assert sum(tally.good.values()) > 0
    assert end.descriptors <= descriptors + GROWTH_DESCRIPTORS
    assert end.threads <= threads + GROWTH_DESCRIPTORS
    if case.full:
        assert slope(warm) < GROWTH_MIB_AN_HOUR, [round(each.memory_mib) for each in looks[::15]]
        assert grown < GROWTH_MIB_AN_HOUR * seconds / 3_600


def median_memory(looks: list[Look]) -> float:
    return statistics.median(each.memory_mib for each in looks)
