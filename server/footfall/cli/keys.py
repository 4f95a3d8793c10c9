"""API keys from the command line."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any

import click

from footfall.accounts.management import AccountManager, key_expiry
from footfall.accounts.model import ApiKey, KeyKind, Scope
from footfall.cli.accounts import account_option, account_store
from footfall.cli.options import DURATION, data_option, emit, json_option, print_table
from footfall.settings import Settings


@click.group()
def key() -> None:
    """Manage API keys."""


@key.command(
    "create", epilog="Example: footfall key create --account News --site SITE --scope read,write"
)
@account_option
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="ID[,ID…]",
    help="A site that the key may be used for; may be repeated. Only a key with just the admin "
    "scope does without.",
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
@click.option(
    "--expires-in-days",
    type=int,
    metavar="N",
    help="Days after which it stops, from 1 to 3650.  [default: never]",
)
@data_option
@json_option
def key_create(
    account_: str,
    sites: Sequence[str],
    scopes: Sequence[str],
    kind: str,
    expires_in_days: int | None,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    """Create an API key and print it, this once."""
    with account_store(settings) as store:
        made = AccountManager(store).create_key(
            account_,
            kind=kind,
            site_ids=_items(sites),
            scopes=_items(scopes),
            expires_at=key_expiry(expires_in_days),
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


@key.command("list", epilog="Example: footfall key list --account News")
@account_option
@data_option
@json_option
def key_list(account_: str, settings: Settings, *, as_json: bool) -> None:
    """List an account's API keys, newest first, without their secrets.

    When a key was last used is known to the minute.
    """
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
        "scopes": _scopes(item),
        "created_at": _time(item.created_at),
        "expires_at": _time(item.expires_at),
        "revoked_at": _time(item.revoked_at),
        "last_used_at": _time(item.last_used_at),
    }


def _scopes(item: ApiKey) -> list[str]:
    return [scope.value for scope in Scope if scope in item.scopes]


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()


def _minute(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M UTC}"


def _state(item: ApiKey) -> str:
    if item.revoked_at is not None:
        return f"revoked {_day(item.revoked_at)}"
    if item.expires_at is None:
        return "in force"
    return f"{'expires' if time.time() < item.expires_at else 'expired'} {_day(item.expires_at)}"


def _print_keys(keys: Sequence[ApiKey]) -> None:
    print_table(
        # What is copied from here must be whole; the others may wrap.
        {
            "ID": True,
            "Key": True,
            "Sites": True,
            "Scopes": False,
            "Last used": False,
            "State": False,
        },
        [
            (
                item.id,
                f"{item.hint}…",
                "\n".join(sorted(item.site_ids)) or "none",
                ", ".join(_scopes(item)),
                "never" if item.last_used_at is None else _minute(item.last_used_at),
                _state(item),
            )
            for item in keys
        ],
    )


@key.command("rotate", epilog="Example: footfall key rotate KEY_ID --overlap 2h")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap",
    type=DURATION,
    default="1d",
    show_default=True,
    metavar="TIME",
    help="How long the key before goes on working: 0, 90s, 30m, 12h, up to 7d.",
)
@data_option
@json_option
def key_rotate(key_id: str, overlap: int, settings: Settings, *, as_json: bool) -> None:
    """Give an API key a new text and print it, this once.

    Sites, scopes and expiry stay. The text before works until the overlap ends; one that was still
    in an overlap stops within a second.
    """
    with account_store(settings) as store:
        made = AccountManager(store).rotate_key(key_id, overlap_s=overlap)
    emit(
        {"id": made.key.id, "key": made.text},
        as_json=as_json,
        title="Rotated the API key. It cannot be shown again.",
        note=f"Use it as: Authorization: Bearer {made.text}",
    )


@key.command("revoke", epilog="Example: footfall key revoke KEY_ID")
@click.argument("key_id", metavar="ID")
@data_option
@json_option
def key_revoke(key_id: str, settings: Settings, *, as_json: bool) -> None:
    """Revoke an API key: within a second no server accepts it any more.

    The id is the one that `key create` and `key list` print. To revoke a key again changes nothing.
    """
    with account_store(settings) as store:
        revoked = AccountManager(store).revoke_key(key_id)
    emit(
        {"id": revoked.id, "revoked_at": _time(revoked.revoked_at)},
        as_json=as_json,
        title=f"Revoked {revoked.hint}….",
    )
