"""API keys in the accounts store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.orm import Session, joinedload

from footfall.accounts.keys import make_id
from footfall.accounts.model import ApiKey, KeyKind, Scope
from footfall.accounts.sql.models import KeyRow, KeySiteRow, SiteRow
from footfall.accounts.sql.rows import find_account, is_storable, now_ms, to_key
from footfall.accounts.sql.transactions import Transactions
from footfall.errors import ConflictError, NotFoundError


class KeyStatements(Transactions):
    """What AccountStore says of API keys."""

    def create_key(
        self,
        account: str,
        digest: bytes,
        *,
        kind: KeyKind,
        site_ids: Sequence[str],
        scopes: Sequence[Scope],
        hint: str,
        expires_at: float | None = None,
    ) -> ApiKey:
        with self._writing() as session:
            owner = find_account(session, account)
            wanted = list(dict.fromkeys(site_ids))
            storable = [site_id for site_id in wanted if is_storable(site_id)]
            owned = set(
                session.scalars(
                    select(SiteRow.id).where(
                        SiteRow.account_id == owner.id, SiteRow.id.in_(storable)
                    )
                )
            )
            for site_id in wanted:
                if site_id not in owned:
                    raise NotFoundError(f"The account has no site {site_id!r}.")
            row = KeyRow(
                id=make_id(),
                account_id=owner.id,
                digest=digest,
                kind=kind.value,
                can_read=Scope.READ in scopes,
                can_write=Scope.WRITE in scopes,
                can_admin=Scope.ADMIN in scopes,
                hint=hint,
                created_ms=now_ms(),
                expires_ms=None if expires_at is None else round(expires_at * 1000),
                revoked_ms=None,
                sites=[KeySiteRow(site_id=site_id) for site_id in wanted],
            )
            session.add(row)
            return to_key(row)

    def list_keys(self, account: str) -> list[ApiKey]:
        with self._reading() as session:
            statement = (
                select(KeyRow)
                .where(KeyRow.account_id == find_account(session, account).id)
                .order_by(KeyRow.created_ms.desc(), KeyRow.id)
            )
            return [to_key(row) for row in session.scalars(statement)]

    def get_key(self, key_id: str, account: str | None = None) -> ApiKey:
        with self._reading() as session:
            return to_key(_key(session, key_id, account))

    def find_key(self, digest: bytes) -> ApiKey | None:
        with self._reading() as session:
            # One statement for the key and its sites: this one runs while a caller waits.
            statement = select(KeyRow).where(
                or_(
                    KeyRow.digest == digest,
                    and_(KeyRow.previous_digest == digest, KeyRow.previous_until_ms > now_ms()),
                )
            )
            found = session.scalars(statement.options(joinedload(KeyRow.sites))).unique()
            row = found.one_or_none()
            return None if row is None else to_key(row)

    def rotate_key(
        self, account: str, key_id: str, digest: bytes, *, hint: str, overlap_until: float
    ) -> ApiKey:
        with self._writing() as session:
            row = _key(session, key_id, account, lock=True)
            now = now_ms()
            if row.revoked_ms is not None or (row.expires_ms is not None and row.expires_ms <= now):
                what = "expired" if row.revoked_ms is None else "been revoked"
                raise ConflictError(
                    f"The key {key_id!r} has {what}; create another one.", "KEY_REVOKED"
                )
            until_ms = round(overlap_until * 1000)
            overlaps = until_ms > now
            row.previous_digest = row.digest if overlaps else None
            row.previous_until_ms = until_ms if overlaps else None
            row.digest = digest
            row.hint = hint
            return to_key(row)

    def note_key_use(self, used_at: Mapping[str, float]) -> None:
        if not used_at:
            return
        # Always in the same order, so that two servers cannot wait for each other's rows.
        uses = [{"key": key, "used": round(used_at[key] * 1000)} for key in sorted(used_at)]
        statement = (
            update(KeyRow)
            .where(
                KeyRow.id == bindparam("key"),
                or_(KeyRow.last_used_ms.is_(None), KeyRow.last_used_ms < bindparam("used")),
            )
            .values(last_used_ms=bindparam("used"))
        )
        with self._writing() as session:
            session.connection().execute(statement, uses)

    def revoke_key(self, key_id: str, account: str | None = None) -> ApiKey:
        with self._writing() as session:
            row = _key(session, key_id, account)
            if row.revoked_ms is None:
                row.revoked_ms = now_ms()
            return to_key(row)


def _key(session: Session, key_id: str, account: str | None, *, lock: bool = False) -> KeyRow:
    """Return a key, of the account if one is named; locked, nobody else changes it meanwhile."""
    owner = None if account is None else find_account(session, account).id
    row = session.get(KeyRow, key_id, with_for_update=lock) if is_storable(key_id) else None
    if row is None or owner not in {None, row.account_id}:
        raise NotFoundError(f"There is no key {key_id!r}.")
    return row
