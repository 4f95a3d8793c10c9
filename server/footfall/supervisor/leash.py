"""Becomes another program that dies with its parent: `leash.py PARENT_PID PROGRAM ARGUMENT…`.

Run as a script by a bare interpreter, not as `preexec_fn`, which is unsafe in a process with
threads. The kernel kills the program when its parent ends in any way, so that not even `kill -9` of
a supervisor leaves it behind.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie_to(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; ends it now if that has happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit("The parent ended before its child began.")


def main(parent: int, command: list[str]) -> None:
    """Tie this process to its parent and become the command."""
    tie_to(parent)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.execv(command[0], command)  # noqa: S606 - a program and its arguments, no shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
