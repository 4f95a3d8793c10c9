"""Sites in the accounts store, and orders to remove events of theirs."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from footfall.accounts.keys import make_id
from footfall.accounts.model import RemovalOrder, Site
from footfall.accounts.sql.models import KeySiteRow, RemovalRow, SiteRow
from footfall.accounts.sql.rows import (
    find_account,
    is_storable,
    now_ms,
    taken,
    to_order,
    to_site,
    with_plan,
)
from footfall.accounts.sql.transactions import Transactions
from footfall.errors import NotFoundError


class SiteStatements(Transactions):
    """What AccountStore says of sites and of removals."""

    def create_site(self, account: str, host: str, timezone: str, *, public: bool) -> Site:
        exists = taken("host", f"The account already has a site for {host!r}.")
        with self._writing(exists) as session:
            owner = find_account(session, account)
            row = SiteRow(
                id=make_id(),
                account_id=owner.id,
                host=host,
                timezone=timezone,
                public=public,
                created_ms=now_ms(),
            )
            session.add(row)
            return to_site(row, owner.plan)

    def account_sites(self, account: str) -> list[Site]:
        with self._reading() as session:
            owner = find_account(session, account)
            rows = session.scalars(select(SiteRow).where(SiteRow.account_id == owner.id))
            return sorted((to_site(row, owner.plan) for row in rows), key=lambda site: site.host)

    def update_site(
        self,
        account: str,
        site_id: str,
        *,
        public: bool | None = None,
        retention_days: int | None = None,
    ) -> Site:
        with self._writing() as session:
            row = _site(session, account, site_id)
            if public is not None:
                row.public = public
            if retention_days is not None:
                row.retention_days = retention_days or None
            return to_site(row, find_account(session, account).plan)

    def get_site(self, site_id: str) -> Site | None:
        if not is_storable(site_id):
            return None
        with self._reading() as session:
            found = session.execute(with_plan(SiteRow).where(SiteRow.id == site_id)).one_or_none()
            return None if found is None else to_site(*found)

    def list_sites(self) -> list[Site]:
        with self._reading() as session:
            statement = with_plan(SiteRow).order_by(SiteRow.created_ms, SiteRow.id)
            return [to_site(*found) for found in session.execute(statement)]

    def sites_with_retention(self) -> list[Site]:
        with self._reading() as session:
            statement = with_plan(SiteRow).where(SiteRow.retention_days.is_not(None))
            return [to_site(*found) for found in session.execute(statement)]

    def delete_site(self, account: str, site_id: str) -> RemovalOrder:
        with self._writing() as session:
            row = _site(session, account, site_id)
            session.execute(delete(KeySiteRow).where(KeySiteRow.site_id == row.id))
            session.delete(row)
            return _order(session, row.id)

    def order_removal(self, account: str, site_id: str, visitor_id: str) -> RemovalOrder:
        with self._writing() as session:
            return _order(session, _site(session, account, site_id).id, visitor_id)

    def removal_orders(self) -> list[RemovalOrder]:
        with self._reading() as session:
            statement = select(RemovalRow).order_by(RemovalRow.ordered_ms, RemovalRow.id)
            return [to_order(row) for row in session.scalars(statement)]

    def finish_removal(self, order_id: str, keep_s: float = 0.0) -> None:
        with self._writing() as session:
            row = session.get(RemovalRow, order_id)
            if row is not None and row.done_ms is None:
                row.done_ms = now_ms()
                # What follows is to see it.
                session.flush()
            old_ms = now_ms() - round(keep_s * 1000)
            session.execute(delete(RemovalRow).where(RemovalRow.done_ms <= old_ms))
        self._overwrite_log()


def _site(session: Session, account: str, site_id: str) -> SiteRow:
    """Return a site of the account."""
    owner = find_account(session, account).id
    row = session.get(SiteRow, site_id) if is_storable(site_id) else None
    if row is None or row.account_id != owner:
        raise NotFoundError(f"The account has no site {site_id!r}.")
    return row


def _order(session: Session, site_id: str, visitor_id: str | None = None) -> RemovalOrder:
    row = RemovalRow(
        id=make_id(), site_id=site_id, visitor_id=visitor_id, ordered_ms=now_ms(), done_ms=None
    )
    session.add(row)
    return to_order(row)
