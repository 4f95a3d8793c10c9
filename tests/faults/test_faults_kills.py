"""Kills, pauses, resets and delays in random order, under callers of all families and faces.

A ledger knows what was sent and what acknowledged, and every answer is held against it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random

import pytest

from tests.e2e.service import Service, wait_until
from tests.faults.callers import (
    FAMILIES,
    Caller,
    Family,
    Grpc,
    Ledger,
    Rest,
    UnclearError,
    callers,
    until_clear,
)
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.tenants import Tenant, create_tenant
from tests.faults.verdicts import Case
from tests.supervisor.test_up import children

#: How often each thing happens in the full form, and how long that form lasts.
SCHEDULE = {
    "kill server": 20,
    "kill valkey": 20,
    "pause server": 10,
    "pause valkey": 10,
    "reset": 10,
    "delay": 10,
}
SCHEDULE_QUICK = dict.fromkeys(SCHEDULE, 1)
DURATION_S = 300.0
DURATION_QUICK_S = 6.0

BACK_S = 2.0
REALTIME_BACK_S = 5.0
VISITORS = 12
_PAUSE_S = 0.1


@dataclass
class Crowd:
    """Callers that write and read until told to stop."""

    address: str
    tenant: Tenant
    ledgers: dict[Family, Ledger] = field(
        default_factory=lambda: {family: Ledger() for family in FAMILIES}
    )
    live_reads: int = 0
    unclear: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
    faults: list[BaseException] = field(default_factory=list)

    @contextmanager
    def at_work(self, seeds: Random) -> Iterator[None]:
        """Let everybody work for a block; raises what any of them found wrong."""
        made: list[Caller] = []
        threads = []
        for make in (Rest, Grpc):
            for work in (self._write, self._read):
                caller = make(self.address, self.tenant)
                made.append(caller)
                arguments = (work, caller, Random(seeds.random()))
                threads.append(threading.Thread(target=self._run, args=arguments))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
            for caller in made:
                caller.close()
        for fault in self.faults:
            raise fault

    def _run(self, work: Callable[[Caller, Random], None], caller: Caller, chance: Random) -> None:
        try:
            while not self.stop.wait(_PAUSE_S):
                work(caller, chance)
        except BaseException as fault:  # noqa: BLE001 - raised where the block ends
            self.faults.append(fault)
            self.stop.set()

    def _write(self, caller: Caller, chance: Random) -> None:
        """Send one batch until it is acknowledged."""
        family = chance.choice(FAMILIES)
        ids = [f"{chance.getrandbits(64):016x}" for _ in range(chance.randrange(1, 6))]
        key = f"{chance.getrandbits(64):016x}" if chance.random() < 0.3 else None
        ledger = self.ledgers[family]
        ledger.send(ids)
        while not self.stop.is_set():
            try:
                ledger.acknowledge(ids, caller.send(family, ids, key=key))
            except UnclearError:
                self.unclear["writes"] += 1
                self.stop.wait(0.02)
            else:
                return

    def _read(self, caller: Caller, chance: Random) -> None:
        """Ask for one count."""
        try:
            if chance.random() < 0.25:
                self._read_live(caller)
                self.live_reads += 1
            else:
                family = chance.choice(FAMILIES)
                self.ledgers[family].check(lambda: caller.count(family))
        except UnclearError:
            self.unclear["reads"] += 1

    def _read_live(self, caller: Caller) -> None:
        self.ledgers["web"].check(caller.live, "live")


def act(what: str, service: Service, proxy: Proxy, chance: Random) -> None:
    """Let one thing happen."""
    kind, _, whom = what.partition(" ")
    if kind == "kill":
        os.kill(children(service)[whom], signal.SIGKILL)
    elif kind == "pause":
        process = children(service)[whom]
        os.kill(process, signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 1.5))
        os.kill(process, signal.SIGCONT)
    elif kind == "reset":
        proxy.reset()
    else:
        proxy.delay(chance.uniform(0.01, 0.2))
        time.sleep(chance.uniform(0.2, 1.5))
        proxy.delay(0)


def time_until_back(probe: Rest, ledger: Ledger, name: str) -> float:
    """Return how long it takes until a write is acknowledged and reads are answered again."""
    began = time.monotonic()

    def write() -> None:
        ledger.send([name])
        ledger.acknowledge([name], probe.send("web", [name]))

    until_clear(write)
    until_clear(lambda: ledger.check(lambda: probe.count("web")))
    until_clear(lambda: ledger.check(probe.live, "live"))
    return time.monotonic() - began


class QuietSite:
    """A site whose live state is known to the last visitor, since nobody else writes to it."""

    def __init__(self, address: str, tenant: Tenant, chance: Random) -> None:
        self._probe = Rest(address, tenant)
        self._host = tenant.host
        self._chance = chance
        self._pages: dict[str, str] = {}
        self._views: Counter[str] = Counter()
        self._round = 0

    def move_visitors(self) -> None:
        """Let every visitor view a page; returns when that is acknowledged."""
        self._round += 1
        views = []
        for number in range(VISITORS):
            page = self._chance.choice(("/a", "/b", "/c"))
            visitor = f"visitor-{number}"
            self._pages[visitor] = page
            self._views[page] += 1
            views.append(
                {
                    "event_id": f"quiet-{self._round}-{number}",
                    "url": f"https://{self._host}{page}",
                    "visitor_id": visitor,
                    "country": "CH" if number % 3 else "DE",
                }
            )
        until_clear(lambda: self._probe.collect(views))

    def is_right(self) -> bool:
        """Whether the live snapshot is what a recount says."""
        try:
            found = self._probe.snapshot()
        except UnclearError:
            return False
        active = Counter(self._pages.values())
        return {
            "total_realtime": found["total_realtime"],
            "total_pageviews_today": found["total_pageviews_today"],
            "total_unique_visitors_today": found["total_unique_visitors_today"],
            "pages": sorted(
                (page["url"], page["realtime_users"], page["pageviews_today"])
                for page in found["top_pages"]
            ),
            "countries": {row["code"]: row["count"] for row in found["countries"]},
        } == {
            "total_realtime": VISITORS,
            "total_pageviews_today": self._views.total(),
            "total_unique_visitors_today": VISITORS,
            "pages": sorted((page, active[page], self._views[page]) for page in active),
            "countries": {"DE": VISITORS // 3, "CH": VISITORS - VISITORS // 3},
        }


def schedule(chance: Random, full: bool) -> tuple[list[str], float]:
    """Return what happens, in what order, and how long all of it lasts."""
    often = SCHEDULE if full else SCHEDULE_QUICK
    order = [what for what, times in often.items() for _ in range(times)]
    chance.shuffle(order)
    return order, DURATION_S if full else DURATION_QUICK_S


def test_kills_pauses_resets_and_delays(service: Service, case: Case) -> None:
    tenant = create_tenant(service.accounts_url)
    order, duration_s = schedule(case.chance, case.full)
    back: dict[str, list[float]] = {"kill server": [], "kill valkey": []}
    realtime_back: list[float] = []
    with proxy_to(service.grpc_target) as proxy:
        crowd = Crowd(proxy.address, tenant)
        probe = Rest(service.grpc_target, tenant)
        quiet = QuietSite(service.grpc_target, create_tenant(service.accounts_url), case.chance)
        end = time.monotonic() + duration_s
        with crowd.at_work(case.chance):
            for number, what in enumerate(order):
                gap = (end - time.monotonic()) / (len(order) - number)
                time.sleep(max(0.0, case.chance.uniform(0, gap)))
                quiet.move_visitors()
                act(what, service, proxy, case.chance)
                happened = time.monotonic()
                if what in back:
                    back[what].append(
                        time_until_back(probe, crowd.ledgers["web"], f"probe-{number}")
                    )
                wait_until(quiet.is_right, timeout=30)
                if what == "kill valkey":
                    realtime_back.append(time.monotonic() - happened)
                if crowd.faults:
                    break
        check_at_rest(service, crowd)
        told(case, crowd, back, realtime_back)
    if case.full:
        assert max(map(max, back.values())) <= BACK_S, back
        assert max(realtime_back) <= REALTIME_BACK_S, realtime_back


def check_at_rest(service: Service, crowd: Crowd) -> None:
    """What is stored in the end is what was acknowledged, and perhaps what nobody answered for."""

    def check(caller: Caller) -> None:
        for family, ledger in crowd.ledgers.items():
            until_clear(partial(ledger.check, partial(caller.count, family)))
        until_clear(partial(crowd.ledgers["web"].check, caller.live, "live"))
        # Nothing moves any more, so both have to tell the same.
        assert until_clear(caller.live) == until_clear(partial(caller.count, "web"))

    with callers(service.grpc_target, crowd.tenant) as made:
        for caller in made:
            check(caller)


def told(
    case: Case, crowd: Crowd, back: dict[str, list[float]], realtime_back: Sequence[float]
) -> None:
    ledgers = crowd.ledgers.values()
    acknowledged = sum(len(ledger.acknowledged) for ledger in ledgers)
    reads = sum(ledger.reads for ledger in ledgers)
    case.tell(f"{acknowledged} events acknowledged, {reads} reads right")
    case.tell(f"{crowd.unclear['writes']} writes sent again, {crowd.unclear['reads']} reads failed")
    for what, times in back.items():
        times.sort()
        middle = times[len(times) // 2]
        case.tell(f"{len(times)} x {what}: back in {middle:.1f} s, at most {times[-1]:.1f} s")
    case.tell(f"realtime equals a recount after at most {max(realtime_back):.1f} s")


def test_what_rest_says_while_redis_hangs(service: Service, case: Case) -> None:
    tenant = create_tenant(service.accounts_url)
    rest = Rest(service.grpc_target, tenant)
    ledger = Ledger()

    def write(name: str) -> None:
        ledger.send([name])
        ledger.acknowledge([name], rest.send("web", [name]))

    until_clear(partial(write, "before"))
    assert until_clear(rest.live) == 1
    valkey = children(service)["valkey"]
    os.kill(valkey, signal.SIGSTOP)
    try:
        until_clear(partial(write, "meanwhile"))
        with pytest.raises(UnclearError) as refused:
            rest.live()
        assert (refused.value.code, refused.value.reason) == ("503", "redis_unavailable")
    finally:
        os.kill(valkey, signal.SIGCONT)
    until_clear(partial(write, "after"))
    assert until_clear(partial(ledger.check, rest.live, "live")) == 3
    case.tell("ingest goes on, live reads are 503 redis_unavailable, and right afterwards")
