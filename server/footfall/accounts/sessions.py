"""Sessions: people sign in with a password, and an opaque id stands for them from then on.

An id is 256 random bits, so a plain SHA-256 of it is all that is stored, as of a key (see `keys`).
A session belongs to a user and to the password that it began with: a new password or a removed
user ends it, because every use compares it with the accounts store.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from footfall.accounts.keys import key_digest
from footfall.accounts.lookups import Lookups
from footfall.accounts.model import ApiKey, Login, Role, Site, User
from footfall.accounts.names import clean_email
from footfall.accounts.passwords import (
    PASSWORD_CHARACTERS_MAX,
    unmatched_hash,
    verify_password,
)
from footfall.accounts.ports import AccountStore
from footfall.accounts.service import LOOKUP_TTL_S
from footfall.errors import (
    FieldViolation,
    ForbiddenError,
    InvalidInputError,
    OverloadedError,
    UnauthenticatedError,
)

#: How long a session lasts without use, and at most, in seconds.
IDLE_S = 7 * 86_400
LIFE_MAX_S = 30 * 86_400

#: A password costs 0.2 s and 32 MiB, and so many are checked at once.
_PASSWORD_THREADS = 2
#: Logins that may wait for that, about six seconds' worth.
_LOGINS_WAITING_MAX = 64
_LOOKUP_THREADS = 2
_ACCOUNTS_REMEMBERED_MAX = 1_000

_ID_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """What is stored of a session, under the digest of its id."""

    user_id: str
    #: Tells whether the user's password is still the one that the session began with.
    password_mark: str
    #: The site that the user has selected; "": none.
    site_id: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """How long a session lasts."""

    #: When it ends unless it is used or refreshed: seconds since the Unix epoch.
    expires_at: float
    #: Whole seconds after which it ends whatever happens.
    left_max_s: int


class SessionStore(Protocol):
    """Keeps sessions for their lifetimes, by a clock that all servers share.

    Every method may raise UnavailableError (REDIS_UNAVAILABLE).
    """

    async def create(self, digest: bytes, session: StoredSession) -> Term:
        """Store a new session."""

    async def find(self, digest: bytes) -> StoredSession | None:
        """Return a session, which this use keeps alive; None if there is none."""

    async def replace(self, digest: bytes, successor: bytes) -> Term | None:
        """Move a session to another digest and begin its idle time anew, in one step; None if
        there is none, as for all but one of those who replace the same one at once.
        """

    async def select(self, digest: bytes, site_id: str) -> bool:
        """Change the selected site; return False if there is no such session."""

    async def delete(self, digest: bytes) -> None:
        """Forget a session; one that is not there is no error."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is in force, and its user as the accounts store has it now."""

    digest: bytes = field(repr=False)
    user: User
    #: The selected site, which the user may have lost since; "": none.
    site_id: str

    @property
    def account_id(self) -> str:
        return self.user.account_id


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that has just begun, and its id, which is told once."""

    id: str = field(repr=False)
    user: User
    term: Term


@dataclass(frozen=True, slots=True)
class VisibleSites:
    """The sites that a caller may see, in the order of their hosts."""

    sites: tuple[Site, ...]
    #: The id of the one that the session has selected, else of the first; "" if there is none.
    current: str


class Sessions:
    """Signs users in and out, and tells whom a session's id stands for.

    Every method may raise UnavailableError. `id_` arguments are what a client sent, whatever it
    is; None if it sent nothing.
    """

    def __init__(
        self,
        accounts: AccountStore,
        store: SessionStore,
        *,
        ttl_s: float = LOOKUP_TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._passwords = ThreadPoolExecutor(_PASSWORD_THREADS, thread_name_prefix="passwords")
        self._logins_waiting = 0
        self._nobodys_hash = unmatched_hash()
        # Apart from the passwords, since those who are signed in must not wait for logins.
        self._executor = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="sessions")
        self._logins: Lookups[str, Login | None] = Lookups(
            accounts.get_login, self._executor, ttl_s=ttl_s, clock=clock
        )
        self._sites: Lookups[str, tuple[Site, ...]] = Lookups(
            lambda account: tuple(accounts.account_sites(account)),
            self._executor,
            ttl_s=ttl_s,
            entries_max=_ACCOUNTS_REMEMBERED_MAX,
            clock=clock,
        )

    async def login(self, email: str, password: str) -> NewSession:
        """Begin a session for the user with this address and password.

        Raises UnauthenticatedError (INVALID_LOGIN), which neither tells nor shows by the time it
        takes whether the address is a user's; InvalidInputError if either is empty;
        OverloadedError while too many others are signing in.
        """
        violations = [
            FieldViolation(name, "must not be empty")
            for name, text in (("email", email), ("password", password))
            if not text
        ]
        if violations:
            raise InvalidInputError(
                "Signing in takes an email and a password.", violations=violations
            )
        if self._logins_waiting >= _LOGINS_WAITING_MAX:
            raise OverloadedError("Too many sign in at the moment. Try again in a few seconds.")
        self._logins_waiting += 1
        try:
            login = await asyncio.get_running_loop().run_in_executor(
                self._passwords, self._verify, email, password
            )
        finally:
            self._logins_waiting -= 1
        if login is None:
            raise UnauthenticatedError(
                "The e-mail address or the password is wrong.", "INVALID_LOGIN"
            )
        id_ = _make_id()
        stored = StoredSession(login.user.id, _password_mark(login))
        return NewSession(id_, login.user, await self._store.create(key_digest(id_), stored))

    def _verify(self, email: str, password: str) -> Login | None:
        """Return the login if the password is right; blocking."""
        if max(len(email), len(password)) > PASSWORD_CHARACTERS_MAX:
            # Nobody has such an address or password, so that an early answer tells nothing.
            return None
        try:
            login = self._accounts.find_login(clean_email(email))
        except InvalidInputError:
            login = None
        # A stranger's password is hashed as well, because an early answer would tell them apart.
        stored = login.password_hash if login is not None else self._nobodys_hash
        return login if verify_password(password, stored) else None

    async def authenticate(self, id_: str | None) -> Session:
        """Return the session; this use keeps it alive.

        Raises UnauthenticatedError: MISSING_TOKEN without an id, INVALID_TOKEN for one that is
        unknown, has expired or ended, or whose user is gone or has a new password.
        """
        if id_ is None:
            raise UnauthenticatedError("The session cookie is missing.", "MISSING_TOKEN")
        if _ID.fullmatch(id_) is None:
            raise _ended()
        digest = key_digest(id_)
        stored = await self._store.find(digest)
        if stored is None:
            raise _ended()
        login = await self._logins.get(stored.user_id)
        if not _is_in_force(stored, login):
            # What is remembered may be older than the session: a user who changes the password
            # signs in with it at once.
            login = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._accounts.get_login, stored.user_id
            )
        if login is None or not _is_in_force(stored, login):
            await self._store.delete(digest)
            raise _ended()
        return Session(digest, login.user, stored.site_id)

    async def refresh(self, id_: str | None) -> NewSession:
        """Replace a session by one with another id, a new idle time and the same selection; its
        longest life goes on from the login.

        Raises what `authenticate` does. Of several that refresh one session at once, one gets the
        new session and the others INVALID_TOKEN.
        """
        session = await self.authenticate(id_)
        successor = _make_id()
        term = await self._store.replace(session.digest, key_digest(successor))
        if term is None:
            raise _ended()
        return NewSession(successor, session.user, term)

    async def logout(self, id_: str | None) -> None:
        """End a session; one that has ended already, or never was, is no error."""
        if id_ is not None:
            await self._store.delete(key_digest(id_))

    async def sites_of(self, caller: Session | ApiKey) -> VisibleSites:
        """Return the sites that a session's user or a key may see."""
        sites = await self._sites.get(caller.account_id)
        selected = ""
        if isinstance(caller, ApiKey):
            sites = tuple(site for site in sites if site.id in caller.site_ids)
        else:
            selected = caller.site_id
        if not any(site.id == selected for site in sites):
            selected = sites[0].id if sites else ""
        return VisibleSites(sites, selected)

    async def select(self, session: Session, site_id: str) -> VisibleSites:
        """Select a site for the rest of the session; return what the user sees now.

        Raises InvalidInputError (SITE_REQUIRED) if no site is named, ForbiddenError
        (SITE_NOT_AUTHORIZED) whether the site exists or not, UnauthenticatedError (INVALID_TOKEN)
        if the session has just ended.
        """
        if not site_id:
            raise InvalidInputError("The site to select is missing.", "SITE_REQUIRED")
        visible = await self.sites_of(session)
        if not any(site.id == site_id for site in visible.sites):
            raise ForbiddenError("The user has no access to this site.", "SITE_NOT_AUTHORIZED")
        if not await self._store.select(session.digest, site_id):
            raise _ended()
        return replace(visible, current=site_id)

    def close(self) -> None:
        """Take no more calls; the stores are the caller's to close."""
        for executor in (self._passwords, self._executor):
            executor.shutdown(wait=False, cancel_futures=True)


def require_admin(session: Session) -> None:
    """Raise ForbiddenError (ADMIN_REQUIRED) unless the session's user is an admin."""
    if session.user.role is not Role.ADMIN:
        raise ForbiddenError("Only an admin of the account may do this.", "ADMIN_REQUIRED")


def _make_id() -> str:
    return secrets.token_urlsafe(_ID_BYTES)


def _password_mark(login: Login) -> str:
    # Of the stored hash, whose salt is random: it tells nothing of the password.
    return hashlib.sha256(login.password_hash.encode()).hexdigest()


def _is_in_force(stored: StoredSession, login: Login | None) -> bool:
    return login is not None and _password_mark(login) == stored.password_mark


def _ended() -> UnauthenticatedError:
    return UnauthenticatedError("The session has ended; sign in again.", "INVALID_TOKEN")
