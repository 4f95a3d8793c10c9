"""What subcommands share: the data directory, and results for people or programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click

from footfall.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def data_option(command: _Command) -> _Command:
    """Add `--data`, which arrives as `settings`: the environment's, with that directory."""
    return click.option(
        "--data",
        "settings",
        metavar="DIR",
        callback=_settings,
        help="Directory of the embedded stores.  [default: FOOTFALL_DATA or ./footfall-data; "
        "stores that are configured by URL are used instead]",
    )(command)


def _settings(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Settings:
    return Settings.from_env() if value is None else Settings.from_env(data_dir=Path(value))


def json_option(command: _Command) -> _Command:
    """Add `--json`, which arrives as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object, errors too."
    )(command)


class _Duration(click.ParamType[int]):
    """A length of time, which arrives as whole seconds."""

    name = "time"
    _SECONDS: ClassVar = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9})([smhd]?)", str(value).strip().lower(), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a time, as in 90s, 30m, 12h or 1d.", param, ctx)
        return int(match[1]) * self._SECONDS[match[2]]


DURATION = _Duration()


class _Days(click.ParamType[int]):
    """A number of days, or `none`, which arrives as 0."""

    name = "days"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip().lower()
        if text == "none":
            return 0
        if re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII) is None:
            self.fail(f"{value!r} is neither a number of days nor none.", param, ctx)
        return int(text)


DAYS = _Days()


def emit(document: Mapping[str, Any], *, as_json: bool, title: str = "", note: str = "") -> None:
    """Print a result: as a JSON object, or as a line of its own for each value, a title above and
    a note below.
    """
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    if title:
        click.secho(title, fg="green")
    width = max(len(name) for name in document)
    for name, value in document.items():
        click.echo(f"  {name.replace('_', ' ').ljust(width)}  {value}")
    if note:
        click.echo(note)


def emit_list(name: str, items: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print a list: as a JSON object that holds it under its name, or as a table."""
    if as_json:
        emit({name: items}, as_json=True)
    elif items:
        headings = {key.replace("_", " ").capitalize(): True for key in items[0]}
        print_table(headings, [[_cell(value) for value in item.values()] for item in items])
    else:
        click.echo(f"There are no {name}.")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def print_table(headings: Mapping[str, bool], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of rows under headings; each heading says whether the lines of its column
    stay whole where the terminal is narrow, or wrap between words.
    """
    # Here, because most commands do without.
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None)
    for index, (heading, whole) in enumerate(headings.items()):
        cells = [row[index] for row in rows]
        parts = [part for cell in cells for part in (cell.splitlines() if whole else cell.split())]
        width = max(map(cell_len, parts), default=0)
        table.add_column(heading, no_wrap=whole, min_width=width)
    for row in rows:
        # As text, because brackets in a name are no markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
