"""What subcommands share: the data directory, and results for people or programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

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
