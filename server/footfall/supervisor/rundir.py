"""What belongs to one run over a data directory: the lock, the sockets, and the logs' bounds."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from footfall.supervisor.child import StartFailedError

SOCKETS_PREFIX = "footfall-"
SOCKET_PATH_MAX = 90
LOG_BYTES_MAX = 32 * 1024 * 1024
STALE_WAIT_S = 3.0


class RunDirectory:
    """`DATA/run` and a short private directory for sockets, held for as long as the stack runs.

    The lock is on an open file that the children inherit: it is free when the last process of a
    run has ended, not when its supervisor has. Raises StartFailedError if another run holds it.
    """

    def __init__(self, data: Path) -> None:
        self.data = data.absolute()
        self.run = self.data / "run"
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.run.mkdir(exist_ok=True)
            self.lock_fd = os.open(self.run / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartFailedError(
                f"{self.data} cannot be used as a data directory: {error.strerror}. "
                "Choose another one with --data."
            ) from None
        try:
            previous = self._acquire()
        except StartFailedError:
            os.close(self.lock_fd)
            raise
        self._remove_sockets(str(previous.get("sockets", "")))
        self.sockets = _sockets_directory()
        self.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.sockets, ignore_errors=True)
        self._write({})
        os.close(self.lock_fd)

    def tell(self, **where: str) -> None:
        """Write into the lock's file who runs, where the sockets are, and more for `doctor`."""
        self._write({"pid": os.getpid(), "sockets": str(self.sockets), **where})

    @property
    def logs(self) -> Path:
        """The directory of the children's logs."""
        return self.data / "logs"

    def bound_logs(self) -> None:
        """Move a large log to `NAME.1`, in place, since its writer appends to the open file."""
        for path in self.logs.glob("*.log"):
            if path.stat().st_size > LOG_BYTES_MAX:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)

    def _acquire(self) -> dict[str, object]:
        """Take the lock and return what the last run left in its file."""
        deadline = time.monotonic() + STALE_WAIT_S
        while True:
            try:
                fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = self._read().get("pid")
                # A killed supervisor leaves its children for a moment, and the lock with them.
                if time.monotonic() < deadline and not (isinstance(pid, int) and _alive(pid)):
                    time.sleep(0.05)
                    continue
                raise StartFailedError(
                    f"Footfall already runs on {self.data} (process {pid}). "
                    "Stop it first, or choose another directory with --data."
                ) from None
            return self._read()

    def _read(self) -> dict[str, object]:
        try:
            document = json.loads(os.pread(self.lock_fd, 4096, 0) or b"{}")
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, document: Mapping[str, object]) -> None:
        os.ftruncate(self.lock_fd, 0)
        os.pwrite(self.lock_fd, json.dumps(document).encode(), 0)

    @staticmethod
    def _remove_sockets(left: str) -> None:
        """Remove the sockets' directory of a run that was killed."""
        if left and Path(left).name.startswith(SOCKETS_PREFIX):
            shutil.rmtree(left, ignore_errors=True)


def _sockets_directory() -> Path:
    """Make a private directory whose paths fit into a socket's address (108 bytes)."""
    base = tempfile.gettempdir()
    if len(base) > SOCKET_PATH_MAX - len(SOCKETS_PREFIX) - 20:
        base = "/tmp"  # noqa: S108 - mkdtemp makes it private
    return Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=base))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
