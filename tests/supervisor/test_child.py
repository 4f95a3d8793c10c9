"""One child process, and what a run leaves in its directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from footfall.supervisor import rundir
from footfall.supervisor.child import Child, StartFailedError, ending
from footfall.supervisor.rundir import RunDirectory


def make_child(folder: Path, program: str, **options: float) -> Child:
    """Return a child that runs Python text in `folder`, and is ready while `ready` is there."""

    def is_ready() -> bool:
        found = (folder / "ready").exists()
        if found:
            (folder / "seen").touch()
        return found

    return Child(
        "program",
        lambda: [sys.executable, "-c", f"import os; os.chdir({str(folder)!r})\n{program}"],
        folder / "logs" / "program.log",
        is_ready,
        **options,
    )


async def until(condition: asyncio.Event) -> None:
    await asyncio.wait_for(condition.wait(), 30)


async def test_pauses_double_until_the_program_is_ready_again(tmp_path: Path) -> None:
    # Ready in its first and its fifth life; in between it ends at once.
    child = make_child(
        tmp_path,
        """
import time
with open("lives", "a+") as file:
    file.write(".")
lives = os.path.getsize("lives")
if lives in (1, 5):
    open("ready", "w").close()
    while not os.path.exists("seen"):
        time.sleep(0.01)
    time.sleep(0.2)
    os.remove("ready")
    os.remove("seen")
""",
    )
    said: list[str] = []
    enough = asyncio.Event()

    def report(line: str) -> None:
        said.append(line)
        if len(said) == 6:
            enough.set()

    keeper = asyncio.create_task(child.keep(report))
    await until(enough)
    keeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeper
    await child.stop()
    pauses = [line.split(" in ")[1].split(" s ")[0] for line in said]
    assert pauses == ["0.1", "0.2", "0.4", "0.8", "0.1", "0.2"]
    assert child.pid == 0


async def test_a_program_that_was_never_ready_cannot_start(tmp_path: Path) -> None:
    child = make_child(tmp_path, "raise SystemExit('the reason')")
    with pytest.raises(StartFailedError, match=r"program ended with code 1 .*\n.*the reason"):
        await child.keep(print)
    assert child.starts == 1


async def test_a_program_that_forks_is_loaded_once(tmp_path: Path) -> None:
    # Tells when it is loaded, and who begins.
    child = make_child(
        tmp_path,
        """
import sys, time
from footfall.supervisor.forking import forked
open(f"loaded-{os.getpid()}", "w").close()
if forked():
    assert os.getsid(0) == os.getpid() and not sys.stdin.read()
    print("begun", flush=True)
    open("ready", "w").close()
    time.sleep(1000)
""",
        forks=True,
    )

    def loaded() -> set[int]:
        return {int(path.name.removeprefix("loaded-")) for path in tmp_path.glob("loaded-*")}

    said: list[str] = []
    keeper = asyncio.create_task(child.keep(said.append))
    begun: set[int] = {0}

    async def another_one() -> int:
        """Return the process that has begun since the last time."""
        async with asyncio.timeout(30):
            while child.pid in begun or not child.ready.is_set():  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(0.01)
        begun.add(child.pid)
        return child.pid

    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        running = await another_one()
        (tmp_path / "ready").unlink()
        os.kill(running, number)
    last = await another_one()
    (first,) = loaded()
    assert [line.partition(";")[0] for line in said] == [
        "program was killed by SIGKILL",
        "program was killed by SIGTERM",
        "program was killed by SIGKILL",
    ]
    # Whoever asks everybody to end does not end it; killed, it takes the other along.
    os.kill(first, signal.SIGTERM)
    assert child.pid == last
    (tmp_path / "ready").unlink()
    os.kill(first, signal.SIGKILL)
    left = await another_one()
    assert state(last) in ("", "Z")
    (second,) = loaded() - {first}
    keeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeper
    await child.stop()
    assert {state(left), state(second)} <= {"", "Z"}
    assert child.log.read_text() == "begun\n" * child.starts


async def test_a_program_that_cannot_be_loaded_tells_why(tmp_path: Path) -> None:
    child = make_child(tmp_path, "raise SystemExit('the reason')", forks=True)
    with pytest.raises(StartFailedError, match=r"program ended with code 1 .*\n.*the reason"):
        await child.keep(print)
    await child.stop()


async def test_stop_kills_what_does_not_listen_and_its_whole_session(tmp_path: Path) -> None:
    child = make_child(
        tmp_path,
        """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen(["sleep", "1000"])
with open("pid", "w") as file:
    file.write(str(grandchild.pid))
os.rename("pid", "ready")
time.sleep(1000)
""",
        grace_s=0.2,
    )
    run = asyncio.create_task(child.run_once())
    await until(child.ready)
    grandchild = int((tmp_path / "ready").read_text())
    await child.stop()
    assert await run == -signal.SIGKILL
    # Its end has been asked for; the kernel may take a moment.
    async with asyncio.timeout(30):
        while state(grandchild) not in ("", "Z"):  # noqa: ASYNC110 - a process has no event
            await asyncio.sleep(0.01)


def state(pid: int) -> str:
    """Return a process's state letter, "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_what_ended_a_process() -> None:
    assert ending(3) == "ended with code 3"
    assert ending(-9) == "was killed by SIGKILL"


def test_large_logs_are_moved_away_under_their_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "LOG_BYTES_MAX", 1000)
    with RunDirectory(tmp_path) as directory:
        directory.logs.mkdir()
        log = directory.logs / "server.log"
        with log.open("ab", buffering=0) as writer:
            writer.write(b"a" * 1000)
            directory.bound_logs()
            assert log.stat().st_size == 1000
            writer.write(b"b")
            directory.bound_logs()
            assert log.stat().st_size == 0
            assert (directory.logs / "server.log.1").read_bytes() == b"a" * 1000 + b"b"
            writer.write(b"c")
        assert log.read_bytes() == b"c"


def test_the_lock_is_held_until_the_last_process_of_a_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "STALE_WAIT_S", 0.3)
    with RunDirectory(tmp_path) as directory:
        sockets = directory.sockets
        assert sockets.stat().st_mode & 0o777 == 0o700
        survivor = subprocess.Popen(["sleep", "1000"], pass_fds=(directory.lock_fd,))
    try:
        assert not sockets.exists()
        with pytest.raises(StartFailedError, match="already runs on"):
            RunDirectory(tmp_path)
    finally:
        survivor.kill()
        survivor.wait()
    with RunDirectory(tmp_path):
        pass


def test_a_damaged_lock_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "up.lock").write_bytes(b"\xff\x00[1")
    with RunDirectory(tmp_path) as directory:
        assert str(os.getpid()) in (directory.run / "up.lock").read_text()


def test_sockets_fit_into_their_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with RunDirectory(tmp_path / "data") as directory:
        assert len(str(directory.sockets / "v.sock")) < 108
