"""Accounts, users, sites, keys, applications and workspaces from the command line.

These commands open the accounts store themselves; a server that runs beside them sees the change
within a second.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

import click

from footfall.accounts.management import AccountManager
from footfall.accounts.model import ApiKey, KeyKind, Role, Scope
from footfall.accounts.passwords import PASSWORD_CHARACTERS_MAX
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.cli.options import data_option, emit, json_option
from footfall.errors import InvalidInputError, NotFoundError
from footfall.logs import configure_command_logs
from footfall.settings import Settings

_Choice = TypeVar("_Choice", bound=StrEnum)

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
    """Create accounts, which own everything else."""


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


@click.group()
def user() -> None:
    """Create users, who sign in to an account."""


@user.command(
    "create",
    epilog="Example: footfall user create ada@example.com --account News < password.txt",
)
@click.argument("email")
@account_option
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.MEMBER.value,
    show_default=True,
    help="Admins manage keys; members read.",
)
@data_option
@json_option
def user_create(email: str, account_: str, role: str, settings: Settings, *, as_json: bool) -> None:
    """Create a user and print the id.

    The password is read from standard input, so that no list of processes shows it: at a terminal
    it is asked for.
    """
    with account_store(settings) as store:
        store.get_account(account_)
        made = AccountManager(store).create_user(account_, email, _read_password(), Role(role))
    emit({"id": made.id}, as_json=as_json, title=f"Created {made.role.value} {made.email}.")


def _read_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    # One byte more than can be right: what is too long is refused, whatever its length.
    data = sys.stdin.buffer.read(4 * PASSWORD_CHARACTERS_MAX + 3)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError("The password on standard input is not UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")


@click.group()
def site() -> None:
    """Create sites, which send web events."""


@site.command(
    "create",
    epilog="Example: footfall site create news.example.com --account News --timezone Europe/Zurich",
)
@click.argument("host")
@account_option
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    metavar="ZONE",
    help="IANA time zone of the site's days.",
)
@click.option("--public", is_flag=True, help="Let everyone see the site's numbers.")
@data_option
@json_option
def site_create(
    host: str, account_: str, timezone: str, settings: Settings, *, public: bool, as_json: bool
) -> None:
    """Create a site and print its id."""
    with account_store(settings) as store:
        made = AccountManager(store).create_site(account_, host, timezone, public=public)
    emit(
        {"id": made.id, "host": made.host, "timezone": made.timezone},
        as_json=as_json,
        title="Created a site.",
        note=f"Next: footfall key create --account {made.account_id} --site {made.id}",
    )


@click.group()
def key() -> None:
    """Create, list and revoke API keys."""


@key.command(
    "create", epilog="Example: footfall key create --account News --site SITE --scope read,write"
)
@account_option
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="ID[,ID…]",
    help="A site that the key may be used for; may be repeated.  [default: none]",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("read",),
    show_default="read",
    metavar="SCOPE[,SCOPE…]",
    help="read, write, admin; may be repeated.",
)
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in KeyKind]),
    default=KeyKind.NM.value,
    show_default=True,
    help="The family of clients that the key is for.",
)
@data_option
@json_option
def key_create(
    account_: str,
    sites: Sequence[str],
    scopes: Sequence[str],
    kind: str,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    """Create an API key and print it, this once."""
    wanted = [_choice(Scope, item, "scope") for item in _items(scopes)]
    with account_store(settings) as store:
        made = AccountManager(store).create_key(
            account_, kind=KeyKind(kind), site_ids=_items(sites), scopes=wanted
        )
    emit(
        {"id": made.key.id, "key": made.text},
        as_json=as_json,
        title="Created an API key. It cannot be shown again.",
        note=f"Use it as: Authorization: Bearer {made.text}",
    )


def _items(values: Sequence[str]) -> list[str]:
    """Return the items of repeated options that may hold several each, between commas."""
    return [item.strip() for value in values for item in value.split(",") if item.strip()]


def _choice(choices: type[_Choice], text: str, name: str) -> _Choice:
    try:
        return choices(text.lower())
    except ValueError:
        known = ", ".join(choice.value for choice in choices)
        raise click.BadParameter(
            f"{text!r} is not one of {known}.", param_hint=f"--{name}"
        ) from None


@key.command("list", epilog="Example: footfall key list --account News")
@account_option
@data_option
@json_option
def key_list(account_: str, settings: Settings, *, as_json: bool) -> None:
    """List an account's API keys, oldest first, without their secrets."""
    with account_store(settings) as store:
        keys = store.list_keys(account_)
    if as_json:
        emit({"keys": [_key_document(item) for item in keys]}, as_json=True)
    elif keys:
        _print_keys(keys)
    else:
        click.echo("The account has no API keys.")


def _key_document(item: ApiKey) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": item.kind.value,
        "hint": item.hint,
        "sites": sorted(item.site_ids),
        "scopes": [scope.value for scope in Scope if scope in item.scopes],
        "created_at": _time(item.created_at),
        "expires_at": _time(item.expires_at),
        "revoked_at": _time(item.revoked_at),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _day(seconds: float | None) -> str:
    return "" if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()


def _print_keys(keys: Sequence[ApiKey]) -> None:
    # Here, because the other commands of this module do without.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None)
    for heading, width in (("ID", 16), ("Key", 10), ("Sites", 16), ("Scopes", 0), ("Created", 10)):
        # What is copied from here must be whole; the others may wrap.
        table.add_column(heading, no_wrap=width > 0, min_width=width)
    table.add_column("State")
    for item in keys:
        revoked = _day(item.revoked_at)
        table.add_row(
            item.id,
            f"{item.hint}…",
            "\n".join(sorted(item.site_ids)) or "none",
            ", ".join(scope.value for scope in Scope if scope in item.scopes),
            _day(item.created_at),
            f"revoked {revoked}" if revoked else "in force",
            style="dim" if revoked else "",
        )
    Console().print(table)


@key.command("revoke", epilog="Example: footfall key revoke KEY_ID")
@click.argument("key_id", metavar="ID")
@data_option
@json_option
def key_revoke(key_id: str, settings: Settings, *, as_json: bool) -> None:
    """Revoke an API key: within a second no server accepts it any more.

    The id is the one that `key create` and `key list` print. To revoke a key again changes nothing.
    """
    with account_store(settings) as store:
        revoked = store.revoke_key(key_id)
    emit(
        {"id": revoked.id, "revoked_at": _time(revoked.revoked_at)},
        as_json=as_json,
        title=f"Revoked {revoked.hint}….",
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
