"""A program that is loaded once, and begins as often as it is told to, each time in a new process.

To load a server takes seconds of a core; to fork a loaded one takes milliseconds, however often
and however soon after the last time, and what is loaded is in memory once.
"""

from __future__ import annotations

import os
import signal
import sys

from footfall.supervisor.leash import tie_to


def forked() -> bool:
    """Fork for each line on standard input: return True in each child, False when input ends.

    A child is one at a time, in a session of its own, without an input, prints to standard error,
    and is killed when its parent ends. For each the parent writes its process id and, once it has
    ended, its exit code to standard output, a line each; a signal is a negative code.
    """
    parent = os.getpid()
    # Who asks all processes of a service to end means that the child shall, in its own time.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            tie_to(parent)
            _let_go_of_the_pipes()
            return True
        _tell(child)
        _, status = os.waitpid(child, 0)
        _tell(os.waitstatus_to_exitcode(status))
    return False


def _let_go_of_the_pipes() -> None:
    """Leave standard input and output to the parent: who reads from it sees its end by them."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


def _tell(number: int) -> None:
    os.write(1, b"%d\n" % number)
