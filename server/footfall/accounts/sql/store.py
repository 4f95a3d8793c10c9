"""The accounts store: every statement, and rows as the domain's values."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Engine, Select, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, sessionmaker

from footfall.accounts.keys import make_id
from footfall.accounts.model import (
    Account,
    ApiKey,
    Application,
    ApplicationAccess,
    ApplicationGrant,
    KeyKind,
    Plan,
    Role,
    Scope,
    Site,
    User,
    Workspace,
)
from footfall.accounts.sql.engine import domain_errors
from footfall.accounts.sql.models import (
    AccountRow,
    ApplicationKeyRow,
    ApplicationRow,
    KeyRow,
    KeySiteRow,
    PlanRow,
    SaltRow,
    SiteRow,
    UserRow,
    WorkspaceRow,
)
from footfall.errors import FieldViolation, FootfallError, InvalidInputError, NotFoundError

_SALT_BYTES = 32
_Owned = TypeVar("_Owned", SiteRow, ApplicationRow)


class SqlAccountStore:
    """An AccountStore on SQLite or PostgreSQL; see there for what the methods promise.

    A transaction that writes takes SQLite's write lock when it begins: one that took it later,
    after reading, would fail if another process had written in between.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reads = sessionmaker(engine)
        self._writes = sessionmaker(engine.execution_options(sqlite_begin="BEGIN IMMEDIATE"))

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with domain_errors(), self._reads() as session:
            yield session

    @contextmanager
    def _writing(self, taken: FootfallError | None = None) -> Iterator[Session]:
        with domain_errors(taken), self._writes.begin() as session:
            yield session

    def create_account(self, name: str, plan: str) -> Account:
        taken = _taken("name", f"There is already an account named {name!r}.")
        with self._writing(taken) as session:
            plans = set(session.scalars(select(PlanRow.name)))
            if plan not in plans:
                raise InvalidInputError(
                    f"There is no plan {plan!r}; the plans are {', '.join(sorted(plans))}.",
                    violations=[FieldViolation("plan", "is not the name of a plan")],
                )
            if session.get(AccountRow, name) is not None:
                # A name that is another account's id could never be looked up.
                raise taken
            row = AccountRow(id=make_id(), name=name, plan_name=plan, created_ms=_now_ms())
            session.add(row)
            return Account(row.id, row.name, row.plan_name)

    def create_user(self, account: str, email: str, password_hash: str, role: Role) -> User:
        with self._writing(_taken("email", f"There is already a user {email!r}.")) as session:
            row = UserRow(
                id=make_id(),
                account_id=_account(session, account).id,
                email=email,
                password_hash=password_hash,
                role=role.value,
                created_ms=_now_ms(),
            )
            session.add(row)
            return User(row.id, row.account_id, row.email, role)

    def create_site(self, account: str, host: str, timezone: str, *, public: bool) -> Site:
        taken = _taken("host", f"The account already has a site for {host!r}.")
        with self._writing(taken) as session:
            owner = _account(session, account)
            row = SiteRow(
                id=make_id(),
                account_id=owner.id,
                host=host,
                timezone=timezone,
                public=public,
                created_ms=_now_ms(),
            )
            session.add(row)
            return _site(row, owner.plan)

    def create_application(
        self, account: str, name: str, write_digest: bytes, read_digest: bytes
    ) -> Application:
        with self._writing() as session:
            owner = _account(session, account)
            row = ApplicationRow(
                id=make_id(),
                account_id=owner.id,
                name=name,
                write_digest=write_digest,
                read_digest=read_digest,
                created_ms=_now_ms(),
            )
            session.add(row)
            return _application(row, owner.plan)

    def create_workspace(self, account: str, name: str, key_digest: bytes) -> Workspace:
        with self._writing() as session:
            row = WorkspaceRow(
                id=make_id(),
                account_id=_account(session, account).id,
                name=name,
                key_digest=key_digest,
                created_ms=_now_ms(),
            )
            session.add(row)
            return Workspace(row.id, row.account_id, row.name)

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
            owner = _account(session, account)
            wanted = list(dict.fromkeys(site_ids))
            storable = [site_id for site_id in wanted if _is_storable(site_id)]
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
                created_ms=_now_ms(),
                expires_ms=None if expires_at is None else round(expires_at * 1000),
                revoked_ms=None,
                sites=[KeySiteRow(site_id=site_id) for site_id in wanted],
            )
            session.add(row)
            return _key(row)

    def list_keys(self, account: str) -> list[ApiKey]:
        with self._reading() as session:
            statement = (
                select(KeyRow)
                .where(KeyRow.account_id == _account(session, account).id)
                .order_by(KeyRow.created_ms, KeyRow.id)
            )
            return [_key(row) for row in session.scalars(statement)]

    def revoke_key(self, key_id: str) -> ApiKey:
        with self._writing() as session:
            row = session.get(KeyRow, key_id) if _is_storable(key_id) else None
            if row is None:
                raise NotFoundError(f"There is no key {key_id!r}.")
            if row.revoked_ms is None:
                row.revoked_ms = _now_ms()
            return _key(row)

    def find_key(self, digest: bytes) -> ApiKey | None:
        with self._reading() as session:
            # One statement for the key and its sites: this one runs while a caller waits.
            statement = select(KeyRow).where(KeyRow.digest == digest)
            found = session.scalars(statement.options(joinedload(KeyRow.sites))).unique()
            row = found.one_or_none()
            return None if row is None else _key(row)

    def find_application(self, application_id: str, key_digest: bytes) -> ApplicationGrant | None:
        if not _is_storable(application_id):
            return None
        with self._reading() as session:
            found = session.execute(
                _with_plan(ApplicationRow).where(ApplicationRow.id == application_id)
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
            return None if access is None else ApplicationGrant(_application(row, plan), access)

    def create_application_key(
        self, application_id: str, digest: bytes, access: ApplicationAccess, expires_at: float
    ) -> None:
        with self._writing() as session:
            if (
                not _is_storable(application_id)
                or session.get(ApplicationRow, application_id) is None
            ):
                raise NotFoundError(f"There is no application {application_id!r}.")
            expired = ApplicationKeyRow.expires_ms <= _now_ms()
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
            row = _account(session, account)
            return Account(row.id, row.name, row.plan_name)

    def get_site(self, site_id: str) -> Site | None:
        if not _is_storable(site_id):
            return None
        with self._reading() as session:
            found = session.execute(_with_plan(SiteRow).where(SiteRow.id == site_id)).one_or_none()
            return None if found is None else _site(*found)

    def get_application(self, application_id: str) -> Application | None:
        if not _is_storable(application_id):
            return None
        with self._reading() as session:
            found = session.execute(
                _with_plan(ApplicationRow).where(ApplicationRow.id == application_id)
            ).one_or_none()
            return None if found is None else _application(*found)

    def list_sites(self) -> list[Site]:
        with self._reading() as session:
            statement = _with_plan(SiteRow).order_by(SiteRow.created_ms, SiteRow.id)
            return [_site(*found) for found in session.execute(statement)]

    def salt(self, day: int, now_day: int) -> bytes:
        if not now_day - 1 <= day <= now_day + 1:
            raise ValueError(f"day {day} is not beside {now_day}")
        with self._reading() as session:
            stored = {row.day: row.salt for row in session.scalars(select(SaltRow))}
        if day in stored and min(stored) >= now_day - 1:
            return stored[day]
        return self._make_salt(day, now_day)

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

    def ping(self) -> None:
        with self._reading() as session:
            # Reads a table: SQLite would answer a constant without its file.
            session.execute(select(PlanRow.name).limit(1)).all()

    def close(self) -> None:
        self._engine.dispose()


def _account(session: Session, account: str) -> AccountRow:
    """Return the account with this id, else the one with this name."""
    if _is_storable(account):
        statement = select(AccountRow).options(joinedload(AccountRow.plan))
        for column in (AccountRow.id, AccountRow.name):
            row = session.scalar(statement.where(column == account))
            if row is not None:
                return row
    raise NotFoundError(f"There is no account {account!r}.")


def _temporary_access(
    session: Session, application_id: str, digest: bytes
) -> ApplicationAccess | None:
    """Return what a temporary key of the application gives while it is in force."""
    row = session.get(ApplicationKeyRow, digest)
    if row is None or row.application_id != application_id or row.expires_ms <= _now_ms():
        return None
    return ApplicationAccess(row.access)


def _with_plan(rows: type[_Owned]) -> Select[_Owned, PlanRow]:
    """Select rows that belong to an account, each with the account's plan."""
    return (
        select(rows, PlanRow)
        .join(AccountRow, AccountRow.id == rows.account_id)
        .join(PlanRow, PlanRow.name == AccountRow.plan_name)
    )


def _is_storable(text: str) -> bool:
    """Return whether a database can hold the text at all: a lone surrogate is not UTF-8, and
    PostgreSQL has no NUL in text.
    """
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _taken(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(message, violations=[FieldViolation(field, "is taken")])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _seconds(value_ms: int | None) -> float | None:
    return None if value_ms is None else value_ms / 1000


def _plan(row: PlanRow) -> Plan:
    return Plan(
        name=row.name,
        site_requests_per_minute=row.site_requests_per_minute,
        application_reads_per_10s=row.application_reads_per_10s,
        account_requests_per_10s=row.account_requests_per_10s,
        account_requests_per_minute=row.account_requests_per_minute,
    )


def _site(row: SiteRow, plan: PlanRow) -> Site:
    return Site(
        id=row.id,
        account_id=row.account_id,
        host=row.host,
        timezone=row.timezone,
        public=row.public,
        plan=_plan(plan),
    )


def _application(row: ApplicationRow, plan: PlanRow) -> Application:
    return Application(id=row.id, account_id=row.account_id, name=row.name, plan=_plan(plan))


def _key(row: KeyRow) -> ApiKey:
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
    )
