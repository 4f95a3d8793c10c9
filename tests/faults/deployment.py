"""`footfall serve` as an operator runs it: a process of its own, on stores of the test's choice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.service import FOOTFALL
from tests.live.conftest import Valkey

_START_TIMEOUT_S = 60.0


@dataclass
class Server:
    """A server process that can be killed and started again."""

    data: Path
    log: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    #: Where it serves, until it is started again.
    address: str = ""
    _metrics_port: int = 0

    def start(self) -> None:
        """Start it, and return when it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*FOOTFALL, "serve", "--data", str(self.data)],
                env=os.environ | self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        told = self.data / "run" / "server.json"
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            document = json.loads(told.read_text()) if told.exists() else {}
            if document.get("pid") == self.process.pid:
                break
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.log.read_text(errors="replace"))
            time.sleep(0.02)
        self.address, self._metrics_port = document["grpc"], document["metrics"]

    def kill(self) -> None:
        """Kill it and whatever it was doing."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Let it end by itself; it must."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log.read_text(errors="replace")

    @property
    def descriptors(self) -> int:
        """How many files and connections it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    @property
    def calls_in_flight(self) -> int:
        """How many calls it is busy with, by its own metrics."""
        address = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        (line,) = (line for line in lines if line.startswith("footfall_calls_in_flight "))
        return int(float(line.split()[1]))


@contextmanager
def serving(data: Path, redis_url: str, **environ: str) -> Iterator[Server]:
    """Run a server over a data directory for a block; more settings are given by their names."""
    server = Server(
        data,
        data.with_name(f"{data.name}.log"),
        {
            "FOOTFALL_REDIS_URL": redis_url,
            "FOOTFALL_GRPC_LISTEN": "127.0.0.1:0",
            "FOOTFALL_METRICS_LISTEN": "127.0.0.1:0",
            "FOOTFALL_DRAIN_SECONDS": "2",
            **environ,
        },
    )
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


@contextmanager
def running_valkey() -> Iterator[Valkey]:
    """Run a Valkey of one's own for a block."""
    # A unix socket's path is limited to about 100 bytes, which pytest's own may exceed.
    with TemporaryDirectory(prefix="ffv") as folder:
        valkey = Valkey(Path(folder))
        valkey.start()
        try:
            yield valkey
        finally:
            valkey.resume()
            valkey.kill()
