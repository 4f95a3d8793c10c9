"""The `footfall` command itself: what it lists, what it loads, and how it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from footfall import cli
from footfall.cli import COMMANDS, main
from footfall.errors import UnavailableError

ALL = [name for section in COMMANDS.values() for name in section]
HEAVY = ("alembic", "duckdb", "footfall.rpc", "grpc", "numpy", "pyarrow", "rich", "sqlalchemy")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such-command"]])
def test_help_loads_no_store_and_no_server(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from footfall.cli import main\n"
        "try: main(sys.argv[1:], prog_name='footfall')\n"
        f"except SystemExit: print('loaded', [m for m in {HEAVY} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert re.findall(r"^  ([a-z][a-z-]*)  +[A-Z]", result.stdout, re.MULTILINE) == ALL


@pytest.mark.parametrize("name", ALL)
def test_command_is_there(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"Usage: main {name}" in result.stdout.replace("footfall", "main")


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert re.fullmatch(r"footfall, version \d+\.\d+\.\d+\n", result.stdout)


def test_unknown_command() -> None:
    result = CliRunner().invoke(main, ["acount"])
    assert result.exit_code == 2
    assert "No such command 'acount'." in result.stderr
    assert result.stdout == ""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[BaseException]:
    """Registers commands that end badly."""

    @click.command()
    @click.argument("how")
    @click.option("--json", "as_json", is_flag=True)
    def command(how: str, *, as_json: bool) -> int | None:
        match how:
            case "unavailable":
                raise UnavailableError("The store is away.", metadata={"a": "b"})
            case "bug":
                raise KeyError("secret thing")
            case "interrupt":
                raise KeyboardInterrupt
            case _:
                return int(how)

    monkeypatch.setattr(cli, "failing", command, raising=False)
    monkeypatch.setitem(COMMANDS["Run"], "fail", ("footfall.cli:failing", "Fail."))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return KeyError


@pytest.mark.usefixtures("failing")
def test_domain_error_is_one_line_and_status_1() -> None:
    result = CliRunner().invoke(main, ["fail", "unavailable"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: The store is away.\n"
    red = CliRunner().invoke(main, ["fail", "unavailable"], color=True)
    assert red.stderr == "\x1b[31mError: The store is away.\x1b[0m\n"


@pytest.mark.usefixtures("failing")
def test_domain_error_as_json() -> None:
    result = CliRunner().invoke(main, ["fail", "unavailable", "--json"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr) == {
        "error": {"code": "unavailable", "message": "The store is away."}
    }


@pytest.mark.usefixtures("failing")
def test_bug_shows_no_traceback_and_says_where_it_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fail", "bug"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "secret thing" not in result.stderr
    assert "Traceback" not in result.stderr
    (log,) = tmp_path.glob("footfall-error-*.log")
    assert str(log) in result.stderr
    assert "KeyError: 'secret thing'" in log.read_text()
    error = json.loads(CliRunner().invoke(main, ["fail", "bug", "--json"]).stderr)["error"]
    assert error["code"] == "internal"


@pytest.mark.usefixtures("failing")
def test_bug_with_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--debug", "fail", "bug"])
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "KeyError: 'secret thing'" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(("how", "status"), [("0", 0), ("3", 3), ("interrupt", 130)])
def test_exit_status(how: str, status: int) -> None:
    assert CliRunner().invoke(main, ["fail", how]).exit_code == status


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -c 'from footfall.cli import main; main()' --help | true",
        ],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == b""
