"""Each shell block of the README works when pasted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
#: Make the environment of this run count as installed: the suite must not install over itself.
MAKE = "env -u MAKEFLAGS -u MAKELEVEL make -o .venv/.installed"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with its environment, where `make demo` runs."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if entry.name not in (".venv", ".git", "footfall-data"):
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    assert BLOCKS[0] == "make demo\n"
    with (folder / "demo.log").open("wb") as log:
        demo = subprocess.Popen(
            ["bash", "-c", BLOCKS[0].replace("make", f"exec {MAKE}")],
            cwd=folder,
            env=os.environ | {"FOOTFALL_PORT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 30
            while not (folder / "footfall-data" / "demo.env").exists():
                assert demo.poll() is None, (folder / "demo.log").read_text()
                assert time.monotonic() < deadline, (folder / "demo.log").read_text()
                time.sleep(0.05)
            yield folder
        finally:
            os.killpg(demo.pid, signal.SIGINT)
            demo.wait(timeout=30)


def run(block: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


def test_make_test_runs_this_suite(checkout: Path) -> None:
    assert BLOCKS[1] == "make test\n"
    plan = run(BLOCKS[1].replace("make", f"{MAKE} --dry-run"), checkout)
    program, *options = plan.split()
    assert (program, options[:2]) == (".venv/bin/python", ["-m", "pytest"])
    # How it is run may change, but not what: no path, marker or name picks a part of it.
    assert [option for option in options[2:] if option.startswith(("-m", "-k", "tests"))] == []


def test_the_first_question_has_the_answer_that_is_shown(checkout: Path) -> None:
    shown = json.loads(re.findall(r"^```json\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0])
    got = json.loads(run(BLOCKS[2], checkout))
    for volatile in ("site", "updated_at"):
        assert isinstance(got[volatile], type(shown[volatile]))
        got[volatile] = shown[volatile]
    assert got == shown


@pytest.mark.parametrize("block", BLOCKS[3:], ids=lambda block: block.splitlines()[-1][:50])
def test_block(checkout: Path, block: str) -> None:
    output = run(block, checkout)
    assert '"error"' not in output
