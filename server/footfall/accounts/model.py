"""The entities of the accounts store, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What an API key may be used for."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class KeyKind(StrEnum):
    """The published family that an API key speaks; its text begins with the kind and an
    underscore.
    """

    NM = "nm"
    DBDY = "dbdy"


class ApplicationAccess(StrEnum):
    """Which of an application's two keys was shown."""

    READ = "read"
    WRITE = "write"


class Role(StrEnum):
    """What a user may do in an account."""

    ADMIN = "admin"
    MEMBER = "member"


@dataclass(frozen=True, slots=True)
class Plan:
    """The allowances of an account; rows that an operator may change, in force within a second."""

    name: str
    #: Requests a minute to one site through the publisher realtime endpoints.
    site_requests_per_minute: int
    #: Reads of one application in 10 seconds.
    application_reads_per_10s: int
    #: Batch query requests of the account in 10 seconds and in a minute.
    account_requests_per_10s: int
    account_requests_per_minute: int
    #: Requests of one workspace in a second.
    workspace_requests_per_second: int = 5
    #: Custom SQL queries of the account in a minute.
    custom_sql_per_minute: int = 30


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    name: str
    plan: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """An account, as what its plan allows it."""

    account_id: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class User:
    id: str
    account_id: str
    email: str
    role: Role


@dataclass(frozen=True, slots=True)
class Login:
    """A user and what a password is checked against."""

    user: User
    password_hash: str


@dataclass(frozen=True, slots=True)
class Site:
    id: str
    account_id: str
    #: Lower case, without a port, as in "news.example.com".
    host: str
    #: IANA name, as in "Europe/Zurich": the zone of the site's days.
    timezone: str
    public: bool
    plan: Plan
    #: How many local days before today are kept; None: all.
    retention_days: int | None = None
    #: When it was made, in seconds since the Unix epoch.
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class RemovalOrder:
    """An order to remove the events of a site that is gone, or of one visitor of a site."""

    id: str
    site_id: str
    visitor_id: str | None
    #: Whether a server has carried it out.
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class Application:
    id: str
    account_id: str
    name: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class ApplicationGrant:
    """An application, and the access that the shown key gives to it."""

    application: Application
    access: ApplicationAccess


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    account_id: str
    kind: KeyKind
    site_ids: frozenset[str]
    scopes: frozenset[Scope]
    #: Seconds since the Unix epoch.
    created_at: float
    revoked_at: float | None = None
    expires_at: float | None = None
    #: The first characters of the key's text, for people to tell keys apart.
    hint: str = ""
    #: When it was last used, to the minute; None: never.
    last_used_at: float | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    id: str
    account_id: str
    name: str
    plan: Plan
