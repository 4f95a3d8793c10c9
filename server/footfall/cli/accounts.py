"""Accounts, applications and workspaces from the command line, and what the commands that manage
the rest share.

These commands open the accounts store themselves; a server that runs beside them sees the change
within a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from footfall.accounts.management import AccountManager
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.cli.options import data_option, emit, emit_list, json_option
from footfall.errors import NotFoundError
from footfall.logs import configure_command_logs
from footfall.settings import Settings

account_option = click.option(
    "--account", "account_", metavar="ACCOUNT", required=True, help="The account's id or name."
)


@contextmanager
def account_store(settings: Settings, *, create: bool = False) -> Iterator[AccountStore]:
    """Open the accounts store; an embedded one is made only if `create` is set, because a mistyped
    directory should say so.
    """
    debug = click.get_current_context().find_root().params.get("debug", False)
    configure_command_logs(debug=debug)
    embedded = settings.data_dir / "accounts.sqlite"
    if not (create or settings.accounts_url or embedded.exists()):
        raise NotFoundError(
            f"There are no accounts in {settings.data_dir} yet. Begin with "
            "`footfall account create`, or name the right directory with --data."
        )
    store = open_account_store(settings.effective_accounts_url)
    try:
        yield store
    finally:
        store.close()


@click.group()
def account() -> None:
    """Manage accounts, which own everything else."""


@account.command("create", epilog="Example: footfall account create 'Daily News' --plan pro")
@click.argument("name")
@click.option(
    "--plan",
    default="free",
    show_default=True,
    metavar="PLAN",
    help="free, hobby, pro or scale, or another that the operator has added.",
)
@data_option
@json_option
def account_create(name: str, plan: str, settings: Settings, *, as_json: bool) -> None:
    """Create an account and print its id."""
    with account_store(settings, create=True) as store:
        made = AccountManager(store).create_account(name, plan)
    emit(
        {"id": made.id},
        as_json=as_json,
        title=f"Created account {made.name} on the {made.plan} plan.",
        note=f"Next: footfall site create HOST --account {made.id} --timezone ZONE",
    )


@account.command("list", epilog="Example: footfall account list")
@data_option
@json_option
def account_list(settings: Settings, *, as_json: bool) -> None:
    """List all accounts with their plans, by name."""
    with account_store(settings) as store:
        accounts = store.list_accounts()
    emit_list(
        "accounts",
        [{"id": item.id, "name": item.name, "plan": item.plan} for item in accounts],
        as_json=as_json,
    )


@account.command("set-plan", epilog="Example: footfall account set-plan News scale")
@click.argument("account_", metavar="ACCOUNT")
@click.argument("plan")
@data_option
@json_option
def account_set_plan(account_: str, plan: str, settings: Settings, *, as_json: bool) -> None:
    """Put an account, named by its id or name, on another plan."""
    with account_store(settings) as store:
        changed = store.set_account_plan(account_, plan)
    emit(
        {"id": changed.id, "plan": changed.plan},
        as_json=as_json,
        title=f"{changed.name} is on the {changed.plan} plan.",
    )


@click.group()
def app() -> None:
    """Create applications, which send API requests."""


@app.command("create", epilog="Example: footfall app create checkout --account News")
@click.argument("name")
@account_option
@data_option
@json_option
def app_create(name: str, account_: str, settings: Settings, *, as_json: bool) -> None:
    """Create an application and print its id and keys, this once."""
    with account_store(settings) as store:
        made = AccountManager(store).create_application(account_, name)
    emit(
        {"id": made.application.id, "write_key": made.write_key, "read_key": made.read_key},
        as_json=as_json,
        title=f"Created application {made.application.name}. Its keys cannot be shown again.",
        note="Send the id as X-Auth-User and a key as X-Auth-Key.",
    )


@click.group()
def workspace() -> None:
    """Create workspaces, which report flow runs and AI operations."""


@workspace.command("create", epilog="Example: footfall workspace create Support --account News")
@click.argument("name")
@account_option
@data_option
@json_option
def workspace_create(name: str, account_: str, settings: Settings, *, as_json: bool) -> None:
    """Create a workspace and print its id and API key, this once."""
    with account_store(settings) as store:
        made = AccountManager(store).create_workspace(account_, name)
    emit(
        {"id": made.workspace.id, "api_key": made.api_key},
        as_json=as_json,
        title=f"Created workspace {made.workspace.name}. Its key cannot be shown again.",
        note="Send the key as X-API-Key.",
    )
