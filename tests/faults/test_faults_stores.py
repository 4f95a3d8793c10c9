"""Stores that are slow, silent or gone: calls end in time, nothing leaks, all of it comes back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from itertools import count
from pathlib import Path

import psycopg
import pytest

from footfall.accounts.service import LOOKUP_TTL_S
from tests.accounts import postgresql
from tests.e2e.service import wait_until
from tests.faults.callers import FAMILIES, Family, Grpc, Ledger, UnclearError
from tests.faults.deployment import Server, running_valkey, serving
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.tenants import create_tenant
from tests.faults.verdicts import Case
from tests.live.conftest import Valkey

#: How late after its deadline a call may end.
LATE_S = 0.2
#: How long live state may take to be right after Redis is back.
REALTIME_BACK_S = 5.0
#: Callers at the same time: more than there are connections and threads.
CALLERS = 24
DEADLINES_S = (0.3, 1.0, 2.5)
DEADLINES_QUICK_S = (1.5,)
#: With this much time a write is acknowledged on a busy machine, too.
PATIENCE_S = 2.0
#: What may be held beyond what the first round left: pools that were not full then, and connections
#: to PostgreSQL that its driver gave up and the garbage collector has yet to close. One left behind
#: by each call would be five times as many.
EXTRA_MAX = 4
ROUNDS = 4
ROUNDS_QUICK = 2


@dataclass(frozen=True)
class Held:
    """What a server holds that it could leak."""

    descriptors: int
    threads: int
    redis_clients: int
    sql_clients: int


@dataclass
class World:
    """A server whose ways to Redis and to SQL lead through proxies."""

    server: Server
    valkey: Valkey
    postgres: postgresql.Server
    redis_way: Proxy
    sql_way: Proxy
    accounts_url: str

    def held(self) -> Held:
        """Return what the server holds at rest."""
        before = None
        while before != (now := self._held()):
            # The server closes connections a moment after their callers.
            before = now
            time.sleep(0.2)
        return now

    def _held(self) -> Held:
        with self.valkey.client() as redis, psycopg.connect(self.postgres.conninfo) as sql:
            row = sql.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'footfall'"
            ).fetchone()
            assert row is not None
            return Held(
                descriptors=self.server.descriptors,
                threads=self.server.threads,
                # But for the one that asks.
                redis_clients=len(redis.client_list(_type="normal")) - 1,
                sql_clients=int(row[0]),
            )

    def excess(self, most: Held) -> str:
        """Return what the server holds beyond this; "" for nothing."""
        now = self._held()
        extra = Held(*(a - b for a, b in zip(astuple(now), astuple(most), strict=True)))
        return "" if max(astuple(extra)) <= EXTRA_MAX else f"{extra} beyond {most}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stores")
    with running_valkey() as valkey, postgresql.running() as postgres:
        database = postgres.new_database()
        # A file of PostgreSQL's naming, in a directory of its own.
        way = Path(postgres.directory) / "way"
        way.mkdir()
        with (
            proxy_to(f"127.0.0.1:{valkey.port}") as redis_way,
            proxy_to(f"{postgres.directory}/.s.PGSQL.5432", f"{way}/.s.PGSQL.5432") as sql_way,
            serving(
                folder / "data",
                f"redis://{redis_way.address}/0",
                FOOTFALL_ACCOUNTS_URL=database.replace(str(postgres.directory), str(way)),
            ) as server,
        ):
            yield World(server, valkey, postgres, redis_way, sql_way, database)


@dataclass(frozen=True)
class Ending:
    """How a call ended."""

    call: str
    #: "OK", or the code and the reason of an error.
    how: str
    deadline_s: float
    late_s: float


class Asker:
    """Makes calls of all families with deadlines, and keeps a ledger of what it wrote."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tenant = create_tenant(world.accounts_url)
        self._names = (f"event-{number}" for number in count())
        self.ledgers: dict[Family, Ledger] = {family: Ledger() for family in FAMILIES}

    def ask(self, deadline_s: float) -> list[Ending]:
        """Make each call several times at once, on a connection each."""
        calls = [call for _ in range(CALLERS // len(CALLS)) for call in CALLS]
        names = [next(self._names) for _ in calls]
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(partial(self._end, deadline_s), calls, names))

    def _end(self, deadline_s: float, call: str, name: str) -> Ending:
        caller = Grpc(self._world.server.address, self._tenant, deadline_s)
        began = time.monotonic()
        try:
            self._make(caller, call, name)
        except UnclearError as error:
            how = f"{error.code} {error.reason}".strip()
        else:
            how = "OK"
        finally:
            late_s = time.monotonic() - began - deadline_s
            caller.close()
        return Ending(call, how, deadline_s, late_s)

    def _make(self, caller: Grpc, call: str, name: str) -> None:
        kind, _, family = call.partition(" ")
        if kind == "live":
            self.ledgers["web"].check(caller.live, "live")
        elif kind == "count":
            self.ledgers[family].check(partial(caller.count, family))
        else:
            self.ledgers[family].send([name])
            self.ledgers[family].acknowledge([name], caller.send(family, [name]))

    def until_well(self) -> None:
        """Return when every call is answered again, with the right answer."""

        def well() -> bool:
            return {ending.how for ending in self.ask(5.0)} == {"OK"}

        wait_until(well, timeout=30)
        wait_until(lambda: self._world.server.calls_in_flight == 0)


CALLS = (
    "live",
    *(f"count {family}" for family in FAMILIES),
    *(f"send {family}" for family in FAMILIES),
)
#: How a call may end while what it needs does not answer.
IN_TIME = {"DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED DEADLINE_EXCEEDED"}
NO_REDIS = {"UNAVAILABLE REDIS_UNAVAILABLE", *IN_TIME}
NO_SQL = {"UNAVAILABLE UNAVAILABLE", *IN_TIME}


def judge(endings: Iterable[Ending], *, redis: bool, slow: bool, case: Case) -> None:
    """Hold endings during a fault of one store against what is promised."""
    for ending in endings:
        if redis and ending.call.startswith("send"):
            # No Redis is asked on the way in; but a busy machine needs some time.
            in_a_hurry = ending.deadline_s < PATIENCE_S and ending.how in IN_TIME
            assert ending.how == "OK" or in_a_hurry, ending
        else:
            allowed = (NO_REDIS if redis else NO_SQL) | ({"OK"} if slow else set())
            assert ending.how in allowed, ending
        if case.full:
            assert ending.late_s <= LATE_S, ending


@contextmanager
def faulty(way: Proxy, *, slow: bool) -> Iterator[None]:
    """Let the way to a store be slow, or half open, for a block."""
    if slow:
        way.delay(3.0)
    else:
        way.stall()
    try:
        yield
    finally:
        way.delay(0)
        way.resume()


@pytest.mark.parametrize("store", ["redis", "sql"])
def test_a_store_that_does_not_answer_in_time(world: World, case: Case, store: str) -> None:
    way = world.redis_way if store == "redis" else world.sql_way
    asker = Asker(world)
    asker.until_well()
    most: Held | None = None
    endings: Counter[str] = Counter()
    latest_s = 0.0
    for number in range(ROUNDS if case.full else ROUNDS_QUICK):
        slow = number % 2 == 1
        with faulty(way, slow=slow):
            # What is known of credentials is believed for half a second.
            time.sleep(LOOKUP_TTL_S if store == "sql" else 0)
            for deadline_s in DEADLINES_S if case.full else DEADLINES_QUICK_S:
                found = asker.ask(deadline_s)
                judge(found, redis=store == "redis", slow=slow, case=case)
                endings.update(ending.how for ending in found)
                latest_s = max(latest_s, *(ending.late_s for ending in found))
                if case.full:
                    # The server has let go of them, too.
                    time.sleep(LATE_S)
                    assert world.server.calls_in_flight == 0
                else:
                    wait_until(lambda: world.server.calls_in_flight == 0)
        asker.until_well()
        # Pools are about as full after the first fault as they get.
        most = most or world.held()
        # The garbage collector, and the ends of connections, take a moment.
        deadline = time.monotonic() + 10
        while excess := world.excess(most):
            assert time.monotonic() < deadline, excess
            time.sleep(0.2)
    case.tell(f"{store}: {dict(endings)}, the latest {latest_s * 1000:.0f} ms after its deadline")


def test_redis_is_down(world: World, case: Case) -> None:
    asker = Asker(world)
    asker.until_well()
    world.valkey.kill()
    try:
        down = [ending for _ in range(3) for ending in asker.ask(5.0)]
    finally:
        world.valkey.start()
    judge(down, redis=True, slow=False, case=case)
    stored = sum(ending.how == "OK" for ending in down)
    began = time.monotonic()
    asker.until_well()
    back_s = time.monotonic() - began
    case.tell(f"{stored} writes stored without Redis, everything right {back_s:.1f} s after")
    if case.full:
        assert back_s <= REALTIME_BACK_S


def test_sql_is_down(world: World, case: Case) -> None:
    asker = Asker(world)
    asker.until_well()
    world.postgres.stop()
    try:
        # What is known of credentials is believed for half a second.
        time.sleep(LOOKUP_TTL_S)
        down = [ending for _ in range(3) for ending in asker.ask(5.0)]
    finally:
        world.postgres.start()
    judge(down, redis=False, slow=False, case=case)
    began = time.monotonic()
    # The ledger holds that nothing is acknowledged that is not stored.
    asker.until_well()
    back_s = time.monotonic() - began
    codes = dict(Counter(ending.how for ending in down))
    case.tell(f"{codes} without SQL, everything right {back_s:.1f} s after")
