"""What survives `kill -9` and a full disk. Stores are in processes of their own here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.events.crash_child import BATCH

ROOT = Path(__file__).parents[2]


def run(doing: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.events.crash_child", doing, url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def answer(doing: str, url: str) -> dict[str, Any]:
    with run(doing, url) as child:
        out, _ = child.communicate(timeout=300)
    answered: dict[str, Any] = json.loads(out)
    return answered


@pytest.mark.parametrize(("engine_name", "kills"), [("duckdb", (1, 30)), ("chdb", (7,))])
def test_kill_loses_nothing_acknowledged(
    tmp_path: Path, engine_name: str, kills: tuple[int, ...]
) -> None:
    """`kills` are numbers of commits after which the process is killed, one after the other."""
    url = f"{engine_name}:///{tmp_path}/store"
    acknowledged = 0
    for commits in kills:
        child = run("commit", url)
        assert child.stdout is not None
        for _ in range(commits):
            assert child.stdout.readline(), "the child ended by itself"
            acknowledged += 1
        child.kill()
        # What it said before it died counts as well.
        acknowledged += len(child.stdout.read().splitlines())
        child.stdout.close()
        child.wait()

        found = answer("count", url)
        # The commit under way may have got there, unacknowledged; nothing is there twice.
        assert found["rows"] >= acknowledged * BATCH
        assert found["ids"] == found["seqs"] == found["rows"]
        assert found["views"] >= acknowledged * BATCH
        assert found["visits"] == found["views"]
        if engine_name == "duckdb":
            assert found["rows"] % BATCH == 0
            assert found["views"] == found["rows"]
        acknowledged = found["rows"] // BATCH


@pytest.mark.parametrize("doing", ["fill", "fill-auto"])
def test_a_full_disk_refuses_and_recovers(tmp_path: Path, doing: str) -> None:
    found = answer(doing, f"duckdb:///{tmp_path}/events.duckdb")
    assert found["refused"] > 1
    assert found["found"] == sorted(found["kept"])
    assert found["refused"] in found["kept"]
    assert found["rows"] == len(found["kept"]) * BATCH
