"""Users from the command line."""

from __future__ import annotations

import sys

import click

from footfall.accounts.management import AccountManager
from footfall.accounts.model import Role, User
from footfall.accounts.names import clean_email
from footfall.accounts.passwords import PASSWORD_CHARACTERS_MAX
from footfall.accounts.ports import AccountStore
from footfall.cli.accounts import account_option, account_store
from footfall.cli.options import data_option, emit, emit_list, json_option
from footfall.errors import InvalidInputError, NotFoundError
from footfall.settings import Settings

_ROLES = click.Choice([role.value for role in Role])


@click.group()
def user() -> None:
    """Manage users, who sign in to an account."""


@user.command(
    "create",
    epilog="Example: footfall user create ada@example.com --account News < password.txt",
)
@click.argument("email")
@account_option
@click.option(
    "--role",
    type=_ROLES,
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


@user.command("list", epilog="Example: footfall user list --account News")
@account_option
@data_option
@json_option
def user_list(account_: str, settings: Settings, *, as_json: bool) -> None:
    """List an account's users, by address."""
    with account_store(settings) as store:
        users = store.list_users(account_)
    emit_list("users", [_document(item) for item in users], as_json=as_json)


@user.command("set-role", epilog="Example: footfall user set-role ada@example.com admin")
@click.argument("user_", metavar="USER")
@click.argument("role", type=_ROLES)
@data_option
@json_option
def user_set_role(user_: str, role: str, settings: Settings, *, as_json: bool) -> None:
    """Change the role of a user, named by the address or the id.

    The last admin of an account stays one.
    """
    with account_store(settings) as store:
        known = _find(store, user_)
        changed = AccountManager(store).update_user(known.account_id, known.id, role=role)
    title = f"{changed.email} has the role {changed.role.value}."
    emit(_document(changed), as_json=as_json, title=title)


@user.command(
    "set-password", epilog="Example: footfall user set-password ada@example.com < password.txt"
)
@click.argument("user_", metavar="USER")
@data_option
@json_option
def user_set_password(user_: str, settings: Settings, *, as_json: bool) -> None:
    """Give a user, named by the address or the id, a new password, which ends all sessions.

    The password is read from standard input, as by `footfall user create`.
    """
    with account_store(settings) as store:
        known = _find(store, user_)
        changed = AccountManager(store).update_user(
            known.account_id, known.id, password=_read_password()
        )
    title = f"{changed.email} has a new password."
    emit(_document(changed), as_json=as_json, title=title)


@user.command("remove", epilog="Example: footfall user remove ada@example.com")
@click.argument("user_", metavar="USER")
@data_option
@json_option
def user_remove(user_: str, settings: Settings, *, as_json: bool) -> None:
    """Remove a user, named by the address or the id, and end all sessions.

    The last admin of an account stays.
    """
    with account_store(settings) as store:
        known = _find(store, user_)
        removed = AccountManager(store).remove_user(known.account_id, known.id)
    emit(_document(removed), as_json=as_json, title=f"Removed {removed.email}.")


def _find(store: AccountStore, text: str) -> User:
    """Return the user with this address or id; an address is one user's in all accounts."""
    login = store.find_login(clean_email(text)) if "@" in text else store.get_login(text)
    if login is None:
        raise NotFoundError(f"There is no user {text!r}.")
    return login.user


def _document(item: User) -> dict[str, str]:
    return {"id": item.id, "email": item.email, "role": item.role.value}


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
