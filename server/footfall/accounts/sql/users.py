"""Users in the accounts store."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from footfall.accounts.keys import make_id
from footfall.accounts.model import Login, Role, User
from footfall.accounts.sql.models import AccountRow, UserRow
from footfall.accounts.sql.rows import find_account, is_storable, now_ms, taken, to_user
from footfall.accounts.sql.transactions import Transactions
from footfall.errors import ConflictError, NotFoundError


class UserStatements(Transactions):
    """What AccountStore says of users."""

    def create_user(self, account: str, email: str, password_hash: str, role: Role) -> User:
        with self._writing(taken("email", f"There is already a user {email!r}.")) as session:
            row = UserRow(
                id=make_id(),
                account_id=find_account(session, account).id,
                email=email,
                password_hash=password_hash,
                role=role.value,
                created_ms=now_ms(),
            )
            session.add(row)
            return to_user(row)

    def find_login(self, email: str) -> Login | None:
        if not is_storable(email):
            return None
        with self._reading() as session:
            row = session.scalar(select(UserRow).where(UserRow.email == email))
            return None if row is None else Login(to_user(row), row.password_hash)

    def get_login(self, user_id: str) -> Login | None:
        if not is_storable(user_id):
            return None
        with self._reading() as session:
            row = session.get(UserRow, user_id)
            return None if row is None else Login(to_user(row), row.password_hash)

    def list_users(self, account: str) -> list[User]:
        with self._reading() as session:
            owner = find_account(session, account).id
            rows = session.scalars(select(UserRow).where(UserRow.account_id == owner))
            # Not by the database, whose order of letters follows its locale.
            return sorted((to_user(row) for row in rows), key=lambda user: user.email)

    def update_user(
        self,
        account: str,
        user_id: str,
        *,
        role: Role | None = None,
        password_hash: str | None = None,
    ) -> User:
        with self._writing() as session:
            row = _user(session, account, user_id)
            if role is not None and role is not Role.ADMIN:
                _require_another_admin(session, row)
            if role is not None:
                row.role = role.value
            if password_hash is not None:
                row.password_hash = password_hash
            return to_user(row)

    def delete_user(self, account: str, user_id: str) -> User:
        with self._writing() as session:
            row = _user(session, account, user_id)
            _require_another_admin(session, row)
            session.delete(row)
            return to_user(row)


def _user(session: Session, account: str, user_id: str) -> UserRow:
    """Return a user of the account, whose users nobody else changes from now on.

    The account is locked before its users are read, so that of two admins who take each other's
    role away the second sees what the first has done. FOR NO KEY UPDATE, because whoever adds
    something to the account needs its key and no more.
    """
    owner = find_account(session, account).id
    session.execute(
        select(AccountRow.id).where(AccountRow.id == owner).with_for_update(key_share=True)
    )
    row = session.get(UserRow, user_id) if is_storable(user_id) else None
    if row is None or row.account_id != owner:
        raise NotFoundError(f"The account has no user {user_id!r}.")
    return row


def _require_another_admin(session: Session, row: UserRow) -> None:
    """Raise ConflictError if this is the account's only admin."""
    if row.role != Role.ADMIN:
        return
    admins = select(func.count()).where(
        UserRow.account_id == row.account_id, UserRow.role == Role.ADMIN.value
    )
    if session.scalar(admins) == 1:
        raise ConflictError(
            f"{row.email} is the account's only admin; make another user an admin first.",
            "LAST_ADMIN",
        )
