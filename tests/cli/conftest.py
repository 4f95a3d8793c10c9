"""The `footfall` command on a real store in an empty directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in an empty directory with nothing configured."""
    for name in ("FOOTFALL_DATA", "FOOTFALL_ACCOUNTS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: str | bytes = "") -> Result:
        return CliRunner().invoke(main, arguments, input=stdin, prog_name="footfall")

    return run


@pytest.fixture
def made(run: Callable[..., Result]) -> Callable[..., Any]:
    """Runs a command with --json and returns what it prints."""

    def made(*arguments: str, stdin: str = "") -> Any:
        result = run(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    return made


@pytest.fixture
def store(tmp_path: Path, made: Callable[..., Any]) -> Iterator[AccountStore]:
    """The store that the commands work on, with an account named News in it."""
    made("account", "create", "News")
    store = open_account_store(f"sqlite:///{tmp_path}/footfall-data/accounts.sqlite")
    yield store
    store.close()


def failure(result: Result, status: int = 1) -> str:
    """Return the one line of a failed command's standard error, without its `Error: `."""
    assert result.exit_code == status
    assert result.stdout == ""
    line, end = result.stderr[:-1], result.stderr[-1]
    assert end == "\n"
    assert "\n" not in line
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")
