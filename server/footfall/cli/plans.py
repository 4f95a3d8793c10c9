"""Plans from the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from footfall.accounts.management import ALLOWANCE_MAX, ALLOWANCES, AccountManager
from footfall.cli.accounts import account_store
from footfall.cli.options import data_option, emit, json_option, print_table
from footfall.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: What each number of a plan allows.
ALLOWANCE_HELP = {
    "site_requests_per_minute": "Requests a minute to one site by the publisher endpoints.",
    "application_reads_per_10s": "Reads of one application in 10 seconds.",
    "account_requests_per_10s": "Batch query requests of an account in 10 seconds.",
    "account_requests_per_minute": "Batch query requests of an account in a minute.",
    "workspace_requests_per_second": "Requests of one workspace in a second.",
    "custom_sql_per_minute": "Custom SQL queries of an account in a minute.",
}


def _allowance_options(command: _Command) -> _Command:
    for name, text in reversed(ALLOWANCE_HELP.items()):
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=click.IntRange(1, ALLOWANCE_MAX),
            metavar="N",
            help=text,
        )(command)
    return command


@click.group()
def plan() -> None:
    """Manage plans, which say how much an account may ask."""


@plan.command("list", epilog="Example: footfall plan list")
@data_option
@json_option
def plan_list(settings: Settings, *, as_json: bool) -> None:
    """List the plans and what they allow."""
    with account_store(settings) as store:
        plans = store.list_plans()
    documents = [asdict(item) for item in plans]
    if as_json:
        emit({"plans": documents}, as_json=True)
        return
    # A column a plan: there are more numbers than a terminal is wide for.
    print_table(
        {"": True} | {item.name: True for item in plans},
        [
            (name.replace("_", " "), *(str(document[name]) for document in documents))
            for name in ALLOWANCES
        ],
    )


@plan.command("set", epilog="Example: footfall plan set pro --site-requests-per-minute 600")
@click.argument("name")
@_allowance_options
@click.option(
    "--like",
    metavar="PLAN",
    help="Make the plan if there is none of that name, as a copy of this one but for the numbers "
    "that are given.",
)
@data_option
@json_option
def plan_set(
    name: str, like: str | None, settings: Settings, *, as_json: bool, **allowances: int | None
) -> None:
    """Change what a plan allows, for all accounts that are on it, within a second."""
    given = {allowance: value for allowance, value in allowances.items() if value is not None}
    if not given and like is None:
        raise click.UsageError("Give at least one number to change.")
    with account_store(settings) as store:
        changed = AccountManager(store).update_plan(name, given, like=like)
    emit(asdict(changed), as_json=as_json, title=f"This is the {changed.name} plan now.")
