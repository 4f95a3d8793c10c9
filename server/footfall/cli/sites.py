"""Sites from the command line."""

from __future__ import annotations

from typing import Any

import click

from footfall.accounts.management import AccountManager
from footfall.accounts.model import Site
from footfall.cli.accounts import account_option, account_store
from footfall.cli.options import DAYS, data_option, emit, emit_list, json_option
from footfall.cli.removals import NOT_YET, carried_out, confirm, existing, yes_option
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
    shown = _document if as_json else _row
    emit_list("sites", [shown(item) for item in sites], as_json=as_json)


@site.command("update", epilog="Example: footfall site update SITE --retention-days 400")
@click.argument("site_id", metavar="ID")
@click.option(
    "--public/--private",
    default=None,
    help="Whether everyone may see the site's numbers.",
)
@click.option(
    "--retention-days",
    type=DAYS,
    metavar="DAYS|none",
    help="How many local days before today events are kept; none: for ever.",
)
@data_option
@json_option
def site_update(
    site_id: str,
    settings: Settings,
    *,
    public: bool | None,
    retention_days: int | None,
    as_json: bool,
) -> None:
    """Open a site to everyone, close it again, or change how long its events are kept.

    A server removes what is older within seconds, and then every day. Host and time zone stay:
    stored days are days of that zone.
    """
    if public is None and retention_days is None:
        raise click.UsageError("Give --public, --private or --retention-days.")
    with account_store(settings) as store:
        known = existing(store, site_id)
        changed = AccountManager(store).update_site(
            known.account_id, site_id, public=public, retention_days=retention_days
        )
    days = changed.retention_days
    kept = "keeps its events for ever" if days is None else f"keeps its events for {days} days"
    title = f"{changed.host} is {'public' if changed.public else 'private'} and {kept}."
    emit(_document(changed), as_json=as_json, title=title)


@site.command("delete", epilog="Example: footfall site delete SITE")
@click.argument("site_id", metavar="ID")
@yes_option
@data_option
@json_option
def site_delete(site_id: str, settings: Settings, *, yes: bool, as_json: bool) -> None:
    """Delete a site with everything that is stored of it.

    It is gone for every caller within a second, and its events right after. Without a server, this
    command removes them itself.
    """
    with account_store(settings) as store:
        known = existing(store, site_id)
        confirm(f"Delete {known.host} and all of its events for good?", yes=yes, as_json=as_json)
        order = AccountManager(store).delete_site(known.account_id, site_id)
        done = carried_out(settings, store, order)
    emit(
        {"id": site_id, "done": done},
        as_json=as_json,
        title=f"Deleted {known.host}.",
        note="" if done else NOT_YET,
    )


def _row(item: Site) -> dict[str, Any]:
    row = _document(item)
    days = row.pop("retention_days")
    return row | {"kept": "all" if days is None else f"{days} days"}


def _document(item: Site) -> dict[str, Any]:
    return {
        "id": item.id,
        "host": item.host,
        "timezone": item.timezone,
        "public": item.public,
        "retention_days": item.retention_days,
    }
