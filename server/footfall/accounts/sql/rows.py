"""Rows as the domain's values, and rows that every part of the store looks for."""

from __future__ import annotations

import time
from typing import TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload

from footfall.accounts.model import (
    Account,
    ApiKey,
    Application,
    KeyKind,
    Plan,
    RemovalOrder,
    Role,
    Scope,
    Site,
    User,
    Workspace,
)
from footfall.accounts.sql.models import (
    AccountRow,
    ApplicationRow,
    KeyRow,
    PlanRow,
    RemovalRow,
    SiteRow,
    UserRow,
    WorkspaceRow,
)
from footfall.errors import FieldViolation, InvalidInputError, NotFoundError

_Owned = TypeVar("_Owned", SiteRow, ApplicationRow, WorkspaceRow)


def find_account(session: Session, account: str) -> AccountRow:
    """Return the account with this id, else the one with this name."""
    if is_storable(account):
        statement = select(AccountRow).options(joinedload(AccountRow.plan))
        for column in (AccountRow.id, AccountRow.name):
            row = session.scalar(statement.where(column == account))
            if row is not None:
                return row
    raise NotFoundError(f"There is no account {account!r}.")


def with_plan(rows: type[_Owned]) -> Select[_Owned, PlanRow]:
    """Select rows that belong to an account, each with the account's plan."""
    return (
        select(rows, PlanRow)
        .join(AccountRow, AccountRow.id == rows.account_id)
        .join(PlanRow, PlanRow.name == AccountRow.plan_name)
    )


def is_storable(text: str) -> bool:
    """Return whether a database can hold the text at all: a lone surrogate is not UTF-8, and
    PostgreSQL has no NUL in text.
    """
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def taken(field: str, message: str) -> InvalidInputError:
    """Return the error for a value that must be unique and is not."""
    return InvalidInputError(message, violations=[FieldViolation(field, "is taken")])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _seconds(value_ms: int | None) -> float | None:
    return None if value_ms is None else value_ms / 1000


def to_account(row: AccountRow) -> Account:
    return Account(row.id, row.name, row.plan_name)


def to_user(row: UserRow) -> User:
    return User(row.id, row.account_id, row.email, Role(row.role))


def to_plan(row: PlanRow) -> Plan:
    return Plan(
        name=row.name,
        site_requests_per_minute=row.site_requests_per_minute,
        application_reads_per_10s=row.application_reads_per_10s,
        account_requests_per_10s=row.account_requests_per_10s,
        account_requests_per_minute=row.account_requests_per_minute,
        workspace_requests_per_second=row.workspace_requests_per_second,
        custom_sql_per_minute=row.custom_sql_per_minute,
    )


def to_site(row: SiteRow, plan: PlanRow) -> Site:
    return Site(
        id=row.id,
        account_id=row.account_id,
        host=row.host,
        timezone=row.timezone,
        public=row.public,
        plan=to_plan(plan),
        retention_days=row.retention_days,
        created_at=row.created_ms / 1000,
    )


def to_order(row: RemovalRow) -> RemovalOrder:
    return RemovalOrder(row.id, row.site_id, row.visitor_id, is_done=row.done_ms is not None)


def to_application(row: ApplicationRow, plan: PlanRow) -> Application:
    return Application(id=row.id, account_id=row.account_id, name=row.name, plan=to_plan(plan))


def to_workspace(row: WorkspaceRow, plan: PlanRow) -> Workspace:
    return Workspace(id=row.id, account_id=row.account_id, name=row.name, plan=to_plan(plan))


def to_key(row: KeyRow) -> ApiKey:
    granted = {Scope.READ: row.can_read, Scope.WRITE: row.can_write, Scope.ADMIN: row.can_admin}
    return ApiKey(
        id=row.id,
        account_id=row.account_id,
        kind=KeyKind(row.kind),
        site_ids=frozenset(item.site_id for item in row.sites),
        scopes=frozenset(scope for scope, is_granted in granted.items() if is_granted),
        created_at=row.created_ms / 1000,
        revoked_at=_seconds(row.revoked_ms),
        expires_at=_seconds(row.expires_ms),
        hint=row.hint,
        last_used_at=_seconds(row.last_used_ms),
    )
