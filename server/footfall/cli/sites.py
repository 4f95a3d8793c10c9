"""Sites from the command line."""

from __future__ import annotations

from typing import Any

import click

from footfall.accounts.management import AccountManager
from footfall.accounts.model import Site
from footfall.cli.accounts import account_option, account_store
from footfall.cli.options import data_option, emit, emit_list, json_option
from footfall.errors import NotFoundError
from footfall.settings import Settings


@click.group()
def site() -> None:
    """Manage sites, which send web events."""


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


@site.command("list", epilog="Example: footfall site list --account News")
@account_option
@data_option
@json_option
def site_list(account_: str, settings: Settings, *, as_json: bool) -> None:
    """List an account's sites, by host."""
    with account_store(settings) as store:
        sites = store.account_sites(account_)
    emit_list("sites", [_document(item) for item in sites], as_json=as_json)


@site.command("update", epilog="Example: footfall site update SITE --public")
@click.argument("site_id", metavar="ID")
@click.option(
    "--public/--private",
    default=None,
    help="Whether everyone may see the site's numbers.",
)
@data_option
@json_option
def site_update(site_id: str, settings: Settings, *, public: bool | None, as_json: bool) -> None:
    """Open a site to everyone, or close it again.

    Host and time zone stay: stored days are days of that zone.
    """
    if public is None:
        raise click.UsageError("Give --public or --private.")
    with account_store(settings) as store:
        known = store.get_site(site_id)
        if known is None:
            raise NotFoundError(f"There is no site {site_id!r}.")
        changed = AccountManager(store).update_site(known.account_id, site_id, public=public)
    title = f"{changed.host} is {'public' if changed.public else 'private'}."
    emit(_document(changed), as_json=as_json, title=title)


def _document(item: Site) -> dict[str, Any]:
    return {"id": item.id, "host": item.host, "timezone": item.timezone, "public": item.public}
