"""The accounts store: accounts and plans, applications, workspaces and salts; sites, users and API
keys are parts of their own.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from footfall.accounts.keys import make_id
from footfall.accounts.model import (
    Account,
    Application,
    ApplicationAccess,
    ApplicationGrant,
    Plan,
    Subscription,
    Workspace,
)
from footfall.accounts.sql.keys import KeyStatements
from footfall.accounts.sql.models import (
    AccountRow,
    ApplicationKeyRow,
    ApplicationRow,
    PlanRow,
    SaltRow,
    WorkspaceRow,
)
from footfall.accounts.sql.rows import (
    find_account,
    is_storable,
    now_ms,
    taken,
    to_account,
    to_application,
    to_plan,
    to_workspace,
    with_plan,
)
from footfall.accounts.sql.sites import SiteStatements
from footfall.accounts.sql.users import UserStatements
from footfall.errors import FieldViolation, InvalidInputError, NotFoundError

_SALT_BYTES = 32


class SqlAccountStore(KeyStatements, SiteStatements, UserStatements):
    """An AccountStore on SQLite or PostgreSQL; see there for what the methods promise."""

    def create_account(self, name: str, plan: str) -> Account:
        exists = taken("name", f"There is already an account named {name!r}.")
        with self._writing(exists) as session:
            _require_plan(session, plan)
            if session.get(AccountRow, name) is not None:
                # A name that is another account's id could never be looked up.
                raise exists
            row = AccountRow(id=make_id(), name=name, plan_name=plan, created_ms=now_ms())
            session.add(row)
            return to_account(row)

    def list_accounts(self) -> list[Account]:
        with self._reading() as session:
            accounts = [to_account(row) for row in session.scalars(select(AccountRow))]
            return sorted(accounts, key=lambda account: account.name)

    def set_account_plan(self, account: str, plan: str) -> Account:
        with self._writing() as session:
            row = find_account(session, account)
            _require_plan(session, plan)
            row.plan_name = plan
            return to_account(row)

    def list_plans(self) -> list[Plan]:
        with self._reading() as session:
            plans = [to_plan(row) for row in session.scalars(select(PlanRow))]
            return sorted(plans, key=lambda plan: plan.name)

    def update_plan(
        self, name: str, allowances: Mapping[str, int], *, like: str | None = None
    ) -> Plan:
        with self._writing(taken("name", f"There is already a plan {name!r}.")) as session:
            row = session.get(PlanRow, name, with_for_update=True)
            if row is None:
                model = None if like is None else session.get(PlanRow, like)
                if model is None:
                    raise NotFoundError(_no_plan(session, name if like is None else like))
                row = PlanRow(**(asdict(to_plan(model)) | {"name": name}))
                session.add(row)
            for allowance, value in allowances.items():
                setattr(row, allowance, value)
            return to_plan(row)

    def create_application(
        self, account: str, name: str, write_digest: bytes, read_digest: bytes
    ) -> Application:
        with self._writing() as session:
            owner = find_account(session, account)
            row = ApplicationRow(
                id=make_id(),
                account_id=owner.id,
                name=name,
                write_digest=write_digest,
                read_digest=read_digest,
                created_ms=now_ms(),
            )
            session.add(row)
            return to_application(row, owner.plan)

    def create_workspace(self, account: str, name: str, key_digest: bytes) -> Workspace:
        with self._writing() as session:
            owner = find_account(session, account)
            row = WorkspaceRow(
                id=make_id(),
                account_id=owner.id,
                name=name,
                key_digest=key_digest,
                created_ms=now_ms(),
            )
            session.add(row)
            return to_workspace(row, owner.plan)

    def find_workspace(self, key_digest: bytes) -> Workspace | None:
        with self._reading() as session:
            found = session.execute(
                with_plan(WorkspaceRow).where(WorkspaceRow.key_digest == key_digest)
            ).one_or_none()
            return None if found is None else to_workspace(*found)

    def find_application(self, application_id: str, key_digest: bytes) -> ApplicationGrant | None:
        if not is_storable(application_id):
            return None
        with self._reading() as session:
            found = session.execute(
                with_plan(ApplicationRow).where(ApplicationRow.id == application_id)
            ).one_or_none()
            if found is None:
                return None
            row, plan = found
            access: ApplicationAccess | None
            if hmac.compare_digest(row.write_digest, key_digest):
                access = ApplicationAccess.WRITE
            elif hmac.compare_digest(row.read_digest, key_digest):
                access = ApplicationAccess.READ
            else:
                access = _temporary_access(session, application_id, key_digest)
            return None if access is None else ApplicationGrant(to_application(row, plan), access)

    def create_application_key(
        self, application_id: str, digest: bytes, access: ApplicationAccess, expires_at: float
    ) -> None:
        with self._writing() as session:
            if (
                not is_storable(application_id)
                or session.get(ApplicationRow, application_id) is None
            ):
                raise NotFoundError(f"There is no application {application_id!r}.")
            expired = ApplicationKeyRow.expires_ms <= now_ms()
            session.execute(delete(ApplicationKeyRow).where(expired))
            session.add(
                ApplicationKeyRow(
                    digest=digest,
                    application_id=application_id,
                    access=access.value,
                    expires_ms=round(expires_at * 1000),
                )
            )

    def delete_application_key(self, digest: bytes) -> None:
        with self._writing() as session:
            session.execute(delete(ApplicationKeyRow).where(ApplicationKeyRow.digest == digest))

    def get_account(self, account: str) -> Account:
        with self._reading() as session:
            return to_account(find_account(session, account))

    def get_subscription(self, account_id: str) -> Subscription | None:
        if not is_storable(account_id):
            return None
        with self._reading() as session:
            row = session.get(AccountRow, account_id)
            return None if row is None else Subscription(row.id, to_plan(row.plan))

    def get_application(self, application_id: str) -> Application | None:
        if not is_storable(application_id):
            return None
        with self._reading() as session:
            found = session.execute(
                with_plan(ApplicationRow).where(ApplicationRow.id == application_id)
            ).one_or_none()
            return None if found is None else to_application(*found)

    def salt(self, day: int, now_day: int) -> bytes:
        if not now_day - 1 <= day <= now_day + 1:
            raise ValueError(f"day {day} is not beside {now_day}")
        with self._reading() as session:
            stored = {row.day: row.salt for row in session.scalars(select(SaltRow))}
        if day in stored and min(stored) >= now_day - 1:
            return stored[day]
        return self._make_salt(day, now_day)

    def forget_salts(self, now_day: int) -> None:
        with self._writing() as session:
            session.execute(delete(SaltRow).where(SaltRow.day < now_day - 1))
        self._overwrite_log()

    def _make_salt(self, day: int, now_day: int) -> bytes:
        """Forget old salts and return the day's: the one that another server made first, if one
        did.
        """
        with self._writing() as session:
            session.execute(delete(SaltRow).where(SaltRow.day < now_day - 1))
            try:
                with session.begin_nested():
                    session.add(SaltRow(day=day, salt=secrets.token_bytes(_SALT_BYTES)))
            except IntegrityError:
                session.expire_all()
            return session.scalars(select(SaltRow.salt).where(SaltRow.day == day)).one()


def _require_plan(session: Session, plan: str) -> None:
    if not is_storable(plan) or session.get(PlanRow, plan) is None:
        raise InvalidInputError(
            _no_plan(session, plan),
            violations=[FieldViolation("plan", "is not the name of a plan")],
        )


def _no_plan(session: Session, plan: str) -> str:
    """Say that there is no such plan, and which there are."""
    known = ", ".join(sorted(session.scalars(select(PlanRow.name))))
    return f"There is no plan {plan!r}; the plans are {known}."


def _temporary_access(
    session: Session, application_id: str, digest: bytes
) -> ApplicationAccess | None:
    """Return what a temporary key of the application gives while it is in force."""
    row = session.get(ApplicationKeyRow, digest)
    if row is None or row.application_id != application_id or row.expires_ms <= now_ms():
        return None
    return ApplicationAccess(row.access)
