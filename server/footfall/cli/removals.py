"""Visitors from the command line, and what the commands that remove events share.

An order to remove events lies in the accounts store. A server that runs carries it out at once;
without one, the command does. Where the event store is a server of its own, nothing tells whether
one runs, and the order waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from footfall.accounts.management import AccountManager
from footfall.accounts.model import RemovalOrder, Site
from footfall.accounts.ports import AccountStore
from footfall.cli.accounts import account_store
from footfall.cli.options import data_option, emit, json_option
from footfall.errors import NotFoundError, UnavailableError
from footfall.lifecycle import is_embedded
from footfall.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: How long a server is given.
_PATIENCE_S: Final = 10.0
_LOOK_S: Final = 0.05

#: What to tell of an order that is not carried out yet.
NOT_YET: Final = "The events are not removed yet: a server does it once one runs."


def yes_option(command: _Command) -> _Command:
    """Add `--yes`, which arrives as `yes`."""
    return click.option("--yes", is_flag=True, help="Do not ask whether to go on.")(command)


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask whether to go on; a program has to say so beforehand."""
    if yes:
        return
    if as_json:
        raise click.UsageError("With --json, give --yes: nobody is asked.")
    click.confirm(question, abort=True)


def existing(store: AccountStore, site_id: str) -> Site:
    """Return a site; raises NotFoundError if there is none."""
    site = store.get_site(site_id)
    if site is None:
        raise NotFoundError(f"There is no site {site_id!r}.")
    return site


def carried_out(settings: Settings, store: AccountStore, order: RemovalOrder) -> bool:
    """Wait until an order is carried out, by a server or in this process; return whether it is."""
    if is_embedded(settings.effective_events_url):
        # Here, because the stores and their engines take a while to load.
        from footfall.app import carry_out_removals  # noqa: PLC0415

        try:
            asyncio.run(carry_out_removals(settings))
        except UnavailableError:
            # A server has the store, and does it.
            pass
        else:
            return True
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if all(known.is_done for known in store.removal_orders() if known.id == order.id):
            return True
        time.sleep(_LOOK_S)
    return False


@click.group()
def visitor() -> None:
    """Delete visitors of sites."""


@visitor.command("delete", epilog="Example: footfall visitor delete SITE VISITOR")
@click.argument("site_id", metavar="SITE")
@click.argument("visitor_id", metavar="VISITOR")
@yes_option
@data_option
@json_option
def visitor_delete(
    site_id: str, visitor_id: str, settings: Settings, *, yes: bool, as_json: bool
) -> None:
    """Delete all events of a visitor of a site, by the id that exports show.

    All counts are then as if the visitor had never been there. Without a server, this command
    removes the events itself.
    """
    with account_store(settings) as store:
        known = existing(store, site_id)
        confirm(
            f"Delete all events of this visitor of {known.host} for good?", yes=yes, as_json=as_json
        )
        order = AccountManager(store).delete_visitor(known.account_id, site_id, visitor_id)
        done = carried_out(settings, store, order)
    emit(
        {"site": site_id, "done": done},
        as_json=as_json,
        title=f"Deleted the visitor of {known.host}.",
        note="" if done else NOT_YET,
    )
