"""One child process: how it starts, is kept alive, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from footfall.supervisor import leash

FIRST_DELAY_S = 0.1
LAST_DELAY_S = 5.0
POLL_S = 0.05
LOG_TAIL_BYTES = 4096


class StartFailedError(Exception):
    """The stack cannot start; the message tells a person why and what to do."""


class _Forked:
    """A process that a loaded program has forked, with what is used of asyncio's processes."""

    def __init__(self, loaded: asyncio.subprocess.Process, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._loaded = loaded
        self._end = asyncio.create_task(self._until_end())

    async def wait(self) -> int:
        """Return the exit code once there is one."""
        return await asyncio.shield(self._end)

    async def _until_end(self) -> int:
        code = await _told(self._loaded)
        # Its parent takes it along.
        self.returncode = -signal.SIGKILL if code is None else code
        return self.returncode


async def _told(loaded: asyncio.subprocess.Process) -> int | None:
    """Return the next number that a loaded program tells, None once it has ended."""
    line = await cast("asyncio.StreamReader", loaded.stdout).readline()
    return int(line) if line else None


_Process = asyncio.subprocess.Process | _Forked


@dataclass
class Child:
    """A program that is run in a session of its own and started again whenever it ends."""

    name: str
    command: Callable[[], Sequence[str]]
    """Asked anew for each start; the first item is the program's path."""
    log: Path
    is_ready: Callable[[], bool]
    """Asked in a thread; OSError counts as no."""
    environ: Mapping[str, str] | None = None
    """The whole environment; None: this process's."""
    grace_s: float = 5.0
    """How long it may take to end after SIGTERM."""
    pass_fds: tuple[int, ...] = ()
    forks: bool = False
    """Whether the program forks for each start (`forking.forked`), and so is loaded only once."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    _process: _Process | None = None
    _loaded: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id, 0 while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and running else 0

    async def run_once(self) -> int:
        """Start the program and return its exit code; `ready` is set while it is."""
        process = await (self._fork() if self.forks else self._launch())
        self._process = process
        self.starts += 1
        poll = asyncio.create_task(self._poll_ready())
        try:
            return await process.wait()
        finally:
            poll.cancel()
            # It may be about to launch a process, which must not be lost.
            await asyncio.wait({poll})
            self.ready.clear()

    async def _fork(self) -> _Process:
        """Start a process of the loaded program, which is loaded first if there is none."""
        if self._loaded is None or self._loaded.returncode is not None:
            self._loaded = await self._launch()
        loaded = self._loaded
        cast("asyncio.StreamWriter", loaded.stdin).write(b"\n")
        pid = await _told(loaded)
        # It has ended before it was loaded, and tells why in its place.
        return loaded if pid is None else _Forked(loaded, pid)

    async def _launch(self) -> asyncio.subprocess.Process:
        """Start a process."""
        to_program = asyncio.subprocess.PIPE if self.forks else asyncio.subprocess.DEVNULL
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # -I -S: the interpreter only becomes the command, so it loads as little as it can.
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                leash.__file__,
                str(os.getpid()),
                *self.command(),
                stdin=to_program,
                stdout=asyncio.subprocess.PIPE if self.forks else output,
                stderr=output,
                env=None if self.environ is None else dict(self.environ),
                start_new_session=True,
                pass_fds=self.pass_fds,
            )

    async def keep(self, report: Callable[[str], None]) -> None:
        """Run the program again and again, until cancelled.

        An end before it was ever ready is a StartFailedError. Later the pause between an end and
        the next start begins at 0.1 s and doubles up to 5 s, until the program is ready once more.
        """
        delay = FIRST_DELAY_S
        ever_ready = False
        while True:
            run = asyncio.create_task(self.run_once())
            ready = asyncio.create_task(self.ready.wait())
            try:
                await asyncio.wait({run, ready}, return_when=asyncio.FIRST_COMPLETED)
                code = await run
                was_ready = ready.done()
            finally:
                run.cancel()
                ready.cancel()
            ever_ready = ever_ready or was_ready
            if not ever_ready:
                raise StartFailedError(
                    f"{self.name} {ending(code)} while starting:\n{self.log_tail()}"
                )
            delay = FIRST_DELAY_S if was_ready else min(delay * 2, LAST_DELAY_S)
            report(f"{self.name} {ending(code)}; starting it again in {delay:g} s ({self.log})")
            await asyncio.sleep(delay)

    async def stop(self) -> None:
        """Ask the program to end, and kill it with its whole session if it does not."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self.grace_s)
        self.kill()
        for each in (process, self._loaded):
            if each is not None:
                await each.wait()

    def kill(self) -> None:
        """Kill the program and whatever it has started in its session."""
        _kill(self._process)
        _kill(self._loaded)

    def log_tail(self) -> str:
        """Return the end of the log, for a message."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-12:])

    async def _poll_ready(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                if await asyncio.to_thread(self.is_ready):
                    self.ready.set()
                    break
            await asyncio.sleep(POLL_S)


def _kill(process: _Process | None) -> None:
    """Kill a process and whatever it has started in its session."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def ending(code: int) -> str:
    """Say how a process ended."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
