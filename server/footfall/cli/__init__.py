"""The `footfall` command.

A subcommand's module is imported when it is run and not before, so that `footfall --help` does not
wait for stores and servers to load.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import click

from footfall.errors import FootfallError

#: Name → where the command is, and its line in the help. Sections are for people only.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "up": ("footfall.cli.up:command", "Start everything on this machine."),
        "serve": ("footfall.cli.serve:command", "Start the gRPC server alone."),
        "gateway": ("footfall.cli.gateway:command", "Write or check Envoy's configuration."),
        "doctor": ("footfall.cli.doctor:command", "Say what is reachable, and what to do if not."),
    },
    "Manage": {
        "account": ("footfall.cli.accounts:account", "Create accounts, list them, change plans."),
        "user": ("footfall.cli.users:user", "Create users of an account, list and change them."),
        "site": ("footfall.cli.sites:site", "Create sites, list, change and delete them."),
        "visitor": ("footfall.cli.removals:visitor", "Delete visitors of sites."),
        "key": ("footfall.cli.keys:key", "Create, list, rotate and revoke API keys."),
        "app": ("footfall.cli.accounts:app", "Create applications, which send API requests."),
        "workspace": ("footfall.cli.accounts:workspace", "Create workspaces."),
        "plan": ("footfall.cli.plans:plan", "List the plans and change what they allow."),
    },
    "Data": {
        "import-log": ("footfall.cli.import_log:command", "Import web servers' access logs."),
    },
}


class LazyGroup(click.Group):
    """A group whose commands are named in COMMANDS, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for section in COMMANDS.values() for name in section]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        for section in COMMANDS.values():
            if cmd_name in section:
                module, _, attribute = section[cmd_name][0].partition(":")
                command: click.Command = getattr(_load(module), attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(n.ljust(width), line) for n, (_, line) in section.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and end the process: 0 for success, 1 for an error, 2 for wrong usage,
        130 for Ctrl-C, or what the command returns.
        """
        given = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
        # Looked up in the arguments, not in the parsed options: they also say how to report that
        # parsing failed.
        options = given[: given.index("--")] if "--" in given else given
        try:
            status = super().main(given, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except Exception as error:  # noqa: BLE001 - the last place that can tell the user anything
            _fail(error, as_json="--json" in options, debug="--debug" in options)
        sys.exit(status if isinstance(status, int) else 0)


def _load(module: str) -> ModuleType:
    """Import a command's module. All that is loaded with it stays, and to look for garbage in it
    while it grows takes a tenth of the time.
    """
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.enable()


def _fail(error: Exception, *, as_json: bool, debug: bool) -> NoReturn:
    """Report the error on standard error and end the process."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        # The reader of the output went away, and a second attempt at exit would be reported.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if isinstance(error, click.Abort):
        click.echo("Aborted.", err=True)
        sys.exit(130)
    if debug:
        traceback.print_exception(error)
    status = 1
    if isinstance(error, click.UsageError) and not as_json:
        error.show()
        sys.exit(error.exit_code)
    if isinstance(error, click.ClickException):
        status = error.exit_code
        code = "usage" if isinstance(error, click.UsageError) else "error"
        message = error.format_message()
    elif isinstance(error, FootfallError):
        code, message = error.reason.lower(), error.message
    else:
        code, message = "internal", _unexpected(error, debug=debug)
    if as_json:
        document = {"error": {"code": code, "message": message}}
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
    else:
        click.secho(f"Error: {message}", fg="red", err=True)
    sys.exit(status)


def _unexpected(error: Exception, *, debug: bool) -> str:
    """Say that the fault is Footfall's own, and where to find what a report needs."""
    what = f"Something went wrong inside Footfall ({type(error).__name__})."
    if debug:
        return what
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="footfall-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return f"{what} Run `footfall --debug …` to see where, and report it with its output."
    return f"{what} The details are in {file.name}; please report it with that file."


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try it: footfall up --demo",
)
@click.version_option(package_name="footfall", prog_name="footfall")
@click.option("--debug", is_flag=True, help="Show tracebacks and the stores' own messages.")
@click.pass_context
def main(ctx: click.Context, *, debug: bool) -> None:
    """Footfall is one analytics service: events in, live numbers and charts out."""
    ctx.meta["footfall.debug"] = debug
