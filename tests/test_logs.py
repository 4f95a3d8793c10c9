"""What a server's log says, and what it must not."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import asyncio, structlog
from footfall.logs import configure_server_logs
configure_server_logs("debug")

def check(password):
    raise ZeroDivisionError("why")

async def task(password):
    check(password)

async def main():
    try:
        check("hun" + "ter2")
    except ZeroDivisionError:
        structlog.get_logger("footfall.rpc").exception("call failed", method="/x")
    # What nobody waits for is told by asyncio, whose lines are of another kind.
    asyncio.create_task(task("hun" + "ter2"))
    await asyncio.sleep(0.01)

asyncio.run(main())
"""


def test_tracebacks_tell_where_and_not_with_what() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    text = run.stderr.decode()
    lines = [json.loads(line) for line in text.splitlines()]
    failed = [line for line in lines if "exception" in line]
    assert len(failed) == 2
    for line in failed:
        (error,) = line["exception"]
        assert (error["exc_type"], error["exc_value"]) == ("ZeroDivisionError", "why")
        assert error["frames"][-1]["name"] == "check"
    assert "hunter2" not in text
