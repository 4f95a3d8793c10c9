"""The tables of the accounts store, as SQLAlchemy sees them.

The migrations in `migrations/` make the tables; a test compares the two. Times are milliseconds
since the Unix epoch, UTC. Of a secret only the SHA-256 is stored, of a password its scrypt hash.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, Integer, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """What all tables share."""


class PlanRow(Base):
    """Allowances; an operator may change them while servers run."""

    __tablename__ = "plans"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    site_requests_per_minute: Mapped[int] = mapped_column(Integer)
    application_reads_per_10s: Mapped[int] = mapped_column(Integer)
    account_requests_per_10s: Mapped[int] = mapped_column(Integer)
    account_requests_per_minute: Mapped[int] = mapped_column(Integer)
    workspace_requests_per_second: Mapped[int] = mapped_column(Integer, server_default="5")
    custom_sql_per_minute: Mapped[int] = mapped_column(Integer, server_default="30")


class AccountRow(Base):
    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("name", name="accounts_name_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    plan_name: Mapped[str] = mapped_column("plan", Text, ForeignKey("plans.name"))
    created_ms: Mapped[int] = mapped_column(BigInteger)

    plan: Mapped[PlanRow] = relationship()


class UserRow(Base):
    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("email", name="users_email_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text, ForeignKey("accounts.id"), index=True)
    email: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class SiteRow(Base):
    __tablename__ = "sites"
    __table_args__ = (UniqueConstraint("account_id", "host", name="sites_account_id_host_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text, ForeignKey("accounts.id"))
    host: Mapped[str] = mapped_column(Text)
    timezone: Mapped[str] = mapped_column(Text)
    public: Mapped[bool] = mapped_column(Boolean)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    #: None: for ever.
    retention_days: Mapped[int | None] = mapped_column(Integer)


class RemovalRow(Base):
    """An order to remove a site's events, or one visitor's; done or not yet."""

    __tablename__ = "removals"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    site_id: Mapped[str] = mapped_column(Text)
    visitor_id: Mapped[str | None] = mapped_column(Text)
    ordered_ms: Mapped[int] = mapped_column(BigInteger)
    done_ms: Mapped[int | None] = mapped_column(BigInteger)


class ApplicationRow(Base):
    __tablename__ = "applications"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text, ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    write_digest: Mapped[bytes] = mapped_column(LargeBinary)
    read_digest: Mapped[bytes] = mapped_column(LargeBinary)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class ApplicationKeyRow(Base):
    """One more key of an application, which holds for a time."""

    __tablename__ = "application_keys"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    application_id: Mapped[str] = mapped_column(Text, ForeignKey("applications.id"))
    access: Mapped[str] = mapped_column(Text)
    expires_ms: Mapped[int] = mapped_column(BigInteger)


class WorkspaceRow(Base):
    __tablename__ = "workspaces"
    __table_args__ = (UniqueConstraint("key_digest", name="workspaces_key_digest_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text, ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    key_digest: Mapped[bytes] = mapped_column(LargeBinary)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class KeySiteRow(Base):
    """A site that an API key may be used for."""

    __tablename__ = "api_key_sites"

    key_id: Mapped[str] = mapped_column(Text, ForeignKey("api_keys.id"), primary_key=True)
    site_id: Mapped[str] = mapped_column(Text, ForeignKey("sites.id"), primary_key=True, index=True)


class KeyRow(Base):
    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("digest", name="api_keys_digest_key"),)

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text, ForeignKey("accounts.id"), index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    #: The secret before, which works until the time beside it.
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary, index=True)
    previous_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    can_read: Mapped[bool] = mapped_column(Boolean)
    can_write: Mapped[bool] = mapped_column(Boolean)
    can_admin: Mapped[bool] = mapped_column(Boolean)
    hint: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    expires_ms: Mapped[int | None] = mapped_column(BigInteger)
    revoked_ms: Mapped[int | None] = mapped_column(BigInteger)
    last_used_ms: Mapped[int | None] = mapped_column(BigInteger)

    sites: Mapped[list[KeySiteRow]] = relationship(lazy="selectin")


class SaltRow(Base):
    """The visitor salt of a UTC day, in days since the Unix epoch."""

    __tablename__ = "salts"

    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
