"""A disk without room: nothing is acknowledged that is not stored, reads go on, room is used."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from footfall.settings import Settings
from tests.faults.callers import FAMILIES, Family, Grpc, Ledger, UnclearError, until_clear
from tests.faults.deployment import Server, running_valkey, serving
from tests.faults.tenants import Tenant, create_tenant
from tests.faults.verdicts import Case

#: How long ingest may take to resume once there is room.
RESUMES_S = 5.0
DISK_BYTES = 192 * 1024 * 1024
#: Writes that are refused before the disk is taken to be full.
REFUSED_IN_A_ROW = 4
#: How long the disk stays full.
FULL_S = 10.0
FULL_QUICK_S = 1.0
_BLOCK = b"\0" * 1024 * 1024


class Limit(Protocol):
    """What makes a disk full, and not."""

    def fill(self, server: Server) -> None: ...

    def make_room(self, server: Server) -> None: ...


class SmallDisk:
    """A file system in memory, filled by a file beside the data."""

    def __init__(self, mount: Path) -> None:
        self._filler = mount / "filler"

    def fill(self, server: Server) -> None:
        # Down to the last byte: what there is of a last block would take a few more events.
        try:
            with self._filler.open("wb", buffering=0) as file:
                while True:
                    file.write(_BLOCK)
        except OSError:
            pass

    def make_room(self, server: Server) -> None:
        self._filler.unlink()


class SizeLimit:
    """A limit on the size of the server's files, which needs no privilege: no file may grow."""

    def fill(self, server: Server) -> None:
        largest = max(path.stat().st_size for path in server.data.rglob("*") if path.is_file())
        self._set(server, largest)

    def make_room(self, server: Server) -> None:
        self._set(server, resource.RLIM_INFINITY)

    @staticmethod
    def _set(server: Server, size: int) -> None:
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def size_limit(folder: Path) -> Iterator[Limit]:
    folder.mkdir()
    yield SizeLimit()


@contextmanager
def small_disk(folder: Path) -> Iterator[Limit]:
    """Mount a small file system for a block; skips where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system; the size limit is tested in any case")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "footfall-faults", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a file system: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Writer:
    """Writes to all families and reads them, with a ledger of each."""

    def __init__(self, tenant: Tenant, case: Case) -> None:
        self._tenant = tenant
        self._chance = case.chance
        self._ledgers: dict[Family, Ledger] = {family: Ledger() for family in FAMILIES}
        self._names = (f"event-{number}" for number in count())

    def use(self, server: Server) -> None:
        """Call this server from now on."""
        self._caller = Grpc(server.address, self._tenant)

    def write(self, family: Family) -> bool:
        """Send a batch once; return whether it was acknowledged."""
        ledger = self._ledgers[family]
        ids = [next(self._names) for _ in range(self._chance.randrange(1, 200))]
        ledger.send(ids)
        try:
            ledger.acknowledge(ids, self._caller.send(family, ids))
        except UnclearError:
            return False
        return True

    def read(self) -> None:
        """Read all counts. Raises UnclearError if one cannot be read."""
        for family in FAMILIES:
            self._ledgers[family].check(partial(self._caller.count, family))
        self._ledgers["web"].check(self._caller.live, "live")

    def close(self) -> None:
        self._caller.close()


@pytest.mark.parametrize("limit_on", [size_limit, small_disk])
def test_a_full_disk(
    tmp_path: Path, case: Case, limit_on: Callable[[Path], AbstractContextManager[Limit]]
) -> None:
    if limit_on is small_disk and not case.full:
        pytest.skip("the quick form has the size limit only")
    disk = tmp_path / "disk"
    with limit_on(disk) as limit, running_valkey() as valkey:
        data = disk / "data"
        writer = Writer(create_tenant(Settings(data_dir=data).effective_accounts_url), case)
        with serving(data, valkey.url) as server:
            writer.use(server)
            assert all(writer.write(family) for family in FAMILIES * 3)
            writer.read()
            limit.fill(server)
            refused = 0
            while refused < REFUSED_IN_A_ROW:
                refused = 0 if writer.write(FAMILIES[refused % len(FAMILIES)]) else refused + 1
            rounds = stored = 0
            end = time.monotonic() + (FULL_S if case.full else FULL_QUICK_S)
            while time.monotonic() < end:
                # A small batch may find room that a large one did not; then it counts.
                stored += writer.write(FAMILIES[rounds % len(FAMILIES)])
                writer.read()
                rounds += 1
            assert stored < rounds

            limit.make_room(server)
            began = time.monotonic()
            for family in FAMILIES:
                while not writer.write(family):
                    assert time.monotonic() < began + 60, "ingest does not resume"
                    time.sleep(0.02)
            resumed_s = time.monotonic() - began
            writer.read()
            case.tell(f"{rounds} rounds of reads without room, resumed in {resumed_s:.1f} s")
            if case.full:
                # What the file holds is what was said, whatever memory held.
                server.kill()
                server.start()
                writer.close()
                writer.use(server)
                until_clear(writer.read)
            writer.close()
    if case.full:
        assert resumed_s <= RESUMES_S
