"""A quarter of an hour at half of what the service can take: nothing grows that should not.

It runs beside other cases, which take what they need of the machine: it gives way to them, and
nothing here measures time.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.service import Service, running
from tests.faults.http_load import Load, Tally
from tests.faults.tenants import api_requests, create_tenant
from tests.faults.test_load_overload import EVENTS_A_CALL, kinds
from tests.faults.verdicts import Case

#: What DuckDB may have for its pages, and events that fill it before anything is measured: whatever
#: grows then is ours.
DUCKDB_MIB = 64
FILLER = 1_000_000
#: By how much the memory of all processes may grow once they are warm, for an event that is stored:
#: the slope of a line through all that was measured. Ids are remembered for a day in memory.
GROWTH_BYTES_AN_EVENT = 250
#: And by how many descriptors and threads.
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


def give_way(service: Service) -> None:
    """Leave the processors to whoever measures times meanwhile."""
    top = psutil.Process(service.process.pid)
    for process in (top, *top.children(recursive=True)):
        for thread in process.threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, 19)
        # Linux may share processors out by sessions first: then niceness counts within one alone.
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/autogroup").write_text("19")
        time.sleep(0.2)  # as often as anybody may say so


def slope(looks: list[Look]) -> float:
    """Return by how much memory grows, in MiB a second."""
    return statistics.linear_regression(
        [each.at_s for each in looks], [each.memory_mib for each in looks]
    ).slope


def stored(tally: Tally) -> int:
    """Return the number of events that were stored."""
    return EVENTS_A_CALL * tally.good.get("api requests", 0) + tally.good.get("page view", 0)


def test_a_soak(tmp_path: Path, case: Case) -> None:
    case.only_in_full("what it says of a few seconds depends on what else the machine does")
    seconds = 900.0
    environ = {"FOOTFALL_DUCKDB_MEMORY_MB": str(DUCKDB_MIB)}
    with running(tmp_path / "data", environ=environ) as service:
        filler, tenant = (create_tenant(service.accounts_url) for _ in range(2))
        for part in range(FILLER // 10_000):
            sent = service.post_json("/1/event/", api_requests(10_000, f"f{part}"), filler.writes)
            assert sent.json["accepted"] == 10_000, sent.body
        wanted = kinds(tenant)

        def load(seconds: float, rate: float | None) -> Load:
            seed = case.chance.randrange(2**16)
            callers = 64 if rate is None else 256
            return Load(
                service.rest, wanted, seconds=seconds, seed=seed, rate=rate, callers=callers
            )

        peak = load(5, None).tally()
        give_way(service)
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
    an_event = slope(warm) * 2**20 / (stored(tally) / seconds)
    descriptors = statistics.median(each.descriptors for each in first)
    threads = statistics.median(each.threads for each in first)
    case.tell(
        f"{sum(tally.good.values())} good of {tally.sent} at {peak.goodput / 2:.0f}/s, refused "
        f"{tally.refused}, {stored(tally)} events; memory {median_memory(first):.0f} to "
        f"{median_memory(last):.0f} MiB, {an_event:+.0f} bytes an event; descriptors "
        f"{descriptors:.0f} to {end.descriptors}, threads {threads:.0f} to {end.threads}"
    )
    # 504: others had the processors for the whole of a call's time. 0: a refusal whose caller came
    # to read it only after its connection had been ended.
    assert tally.statuses.keys() <= {0, 200, 503, 504}, (tally.statuses, tally.odd)
    assert sum(tally.good.values()) > 0
    assert end.descriptors <= descriptors + GROWTH_DESCRIPTORS
    assert end.threads <= threads + GROWTH_DESCRIPTORS
    assert an_event < GROWTH_BYTES_AN_EVENT, [round(each.memory_mib) for each in looks[::15]]


def median_memory(looks: list[Look]) -> float:
    return statistics.median(each.memory_mib for each in looks)
