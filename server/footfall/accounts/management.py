"""Managing what an account owns: input checked, secrets made, their digests stored.

A secret is returned by the call that makes it and by no other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from footfall.accounts.keys import (
    key_digest,
    key_hint,
    make_application_key,
    make_key,
    make_workspace_key,
)
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
from footfall.accounts.names import (
    clean_choice,
    clean_email,
    clean_host,
    clean_name,
    clean_timezone,
    invalid,
)
from footfall.accounts.paging import Page, page_of
from footfall.accounts.passwords import (
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    hash_password,
)
from footfall.accounts.ports import AccountStore
from footfall.errors import FieldViolation, InvalidInputError

KEY_SITES_MAX = 1000
KEY_DAYS_MAX = 3650
RETENTION_DAYS_MAX = 36_500
VISITOR_ID_CHARACTERS_MAX = 128
#: How long the secret before goes on working when a key is rotated: a day, unless the caller says
#: otherwise, and a week at most.
OVERLAP_DEFAULT_S = 86_400
OVERLAP_MAX_S = 604_800
#: The numbers of a plan, by their names.
ALLOWANCES = tuple(field.name for field in fields(Plan) if field.name != "name")
ALLOWANCE_MAX = 1_000_000
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key and its text, which is shown once."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class NewApplication:
    """An application and its two keys, which are shown once."""

    application: Application
    write_key: str
    read_key: str


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """A workspace and its API key, which is shown once."""

    workspace: Workspace
    api_key: str


class AccountManager:
    """Creates, lists and changes accounts and what belongs to them.

    Blocking, for worker threads and the command line. `account` arguments take an id or a name.
    Every method may raise InvalidInputError for input that is malformed or taken, NotFoundError
    for what does not exist or is another account's, and UnavailableError.
    """

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def create_account(self, name: str, plan: str) -> Account:
        return self._store.create_account(clean_name(name), plan)

    def update_plan(
        self, name: str, allowances: Mapping[str, int], *, like: str | None = None
    ) -> Plan:
        """Change the allowances of a plan, for all accounts that are on it.

        With `like`, a plan that does not exist is made, with that plan's allowances where none is
        given.
        """
        for field, value in allowances.items():
            _check_range(field, value, 1, ALLOWANCE_MAX)
        return self._store.update_plan(clean_name(name), allowances, like=like)

    def create_user(self, account: str, email: str, password: str, role: str) -> User:
        """Create a user; the password has 8 to 1024 characters, any of them."""
        email, role = clean_email(email), clean_choice(Role, role, "role")
        return self._store.create_user(account, email, _password_hash(password), role)

    def list_users(self, account: str, page_size: int = 0, page_token: str = "") -> Page[User]:
        """Return a page of the account's users in the order of their addresses."""
        users = self._store.list_users(account)
        return page_of(
            users, lambda user: (user.email,), name="users", size=page_size, token=page_token
        )

    def update_user(
        self, account: str, user_id: str, *, role: str | None = None, password: str | None = None
    ) -> User:
        """Change what is given; raises ConflictError (LAST_ADMIN) where an account with admins
        would be left without one.
        """
        return self._store.update_user(
            account,
            user_id,
            role=None if role is None else clean_choice(Role, role, "role"),
            password_hash=None if password is None else _password_hash(password),
        )

    def remove_user(self, account: str, user_id: str) -> User:
        """Remove a user; raises ConflictError as `update_user` does."""
        return self._store.delete_user(account, user_id)

    def create_site(self, account: str, host: str, timezone: str, *, public: bool) -> Site:
        return self._store.create_site(
            account, clean_host(host), clean_timezone(timezone), public=public
        )

    def list_sites(self, account: str, page_size: int = 0, page_token: str = "") -> Page[Site]:
        """Return a page of the account's sites in the order of their hosts."""
        sites = self._store.account_sites(account)
        return page_of(
            sites, lambda site: (site.host,), name="sites", size=page_size, token=page_token
        )

    def update_site(
        self,
        account: str,
        site_id: str,
        *,
        public: bool | None = None,
        retention_days: int | None = None,
    ) -> Site:
        """Change what is given. Events are kept for so many local days before today, for ever if
        it is 0; what is older is removed soon, and every day from then on.
        """
        if retention_days is not None:
            _check_range("retention_days", retention_days, 0, RETENTION_DAYS_MAX)
        return self._store.update_site(
            account, site_id, public=public, retention_days=retention_days
        )

    def delete_site(self, account: str, site_id: str) -> RemovalOrder:
        """Delete a site; the order is to remove all that is stored of it."""
        return self._store.delete_site(account, site_id)

    def delete_visitor(self, account: str, site_id: str, visitor_id: str) -> RemovalOrder:
        """Order all events of a visitor of a site to be removed. Whether there are any is not
        known.
        """
        if not 0 < len(visitor_id) <= VISITOR_ID_CHARACTERS_MAX:
            raise invalid(
                "visitor_id", f"must have from 1 to {VISITOR_ID_CHARACTERS_MAX} characters"
            )
        return self._store.order_removal(account, site_id, visitor_id)

    def create_application(self, account: str, name: str) -> NewApplication:
        write_key, read_key = make_application_key(), make_application_key()
        application = self._store.create_application(
            account, clean_name(name), key_digest(write_key), key_digest(read_key)
        )
        return NewApplication(application, write_key, read_key)

    def create_workspace(self, account: str, name: str) -> NewWorkspace:
        api_key = make_workspace_key()
        workspace = self._store.create_workspace(account, clean_name(name), key_digest(api_key))
        return NewWorkspace(workspace, api_key)

    def create_key(
        self,
        account: str,
        *,
        kind: str,
        site_ids: Sequence[str],
        scopes: Sequence[str],
        expires_at: float | None = None,
    ) -> NewKey:
        """Create an API key for these sites and no others.

        Only a key that has the admin scope and no other may do without sites, since it is the
        account that it manages.
        """
        key_kind = clean_choice(KeyKind, kind, "kind")
        granted = {clean_choice(Scope, scope, "scopes") for scope in scopes}
        if not granted:
            raise invalid("scopes", "an API key needs at least one scope")
        if not site_ids and granted != {Scope.ADMIN}:
            raise invalid(
                "sites", "name at least one site; only a key that has just the admin scope has none"
            )
        if len(site_ids) > KEY_SITES_MAX:
            raise invalid("sites", f"{len(site_ids)} are named, {KEY_SITES_MAX} are allowed")
        text = make_key(key_kind)
        key = self._store.create_key(
            account,
            key_digest(text),
            kind=key_kind,
            site_ids=site_ids,
            scopes=[scope for scope in Scope if scope in granted],
            hint=key_hint(text),
            expires_at=expires_at,
        )
        return NewKey(key, text)

    def list_keys(self, account: str, page_size: int = 0, page_token: str = "") -> Page[ApiKey]:
        """Return a page of the account's API keys, newest first."""
        keys = self._store.list_keys(account)
        return page_of(
            keys,
            lambda key: (-round(key.created_at * 1000), key.id),
            name="keys",
            size=page_size,
            token=page_token,
        )

    def rotate_key(
        self, key_id: str, account: str | None = None, *, overlap_s: int | None = None
    ) -> NewKey:
        """Give a key, of the account if one is named, a new secret.

        The one before goes on working for `overlap_s` seconds, a day if that is None, and any
        older one stops. Raises ConflictError (KEY_REVOKED) for a key that is revoked or expired.
        """
        overlap_s = OVERLAP_DEFAULT_S if overlap_s is None else overlap_s
        _check_range("overlap_seconds", overlap_s, 0, OVERLAP_MAX_S)
        known = self._store.get_key(key_id, account)
        text = make_key(known.kind)
        key = self._store.rotate_key(
            known.account_id,
            key_id,
            key_digest(text),
            hint=key_hint(text),
            overlap_until=time.time() + overlap_s,
        )
        return NewKey(key, text)

    def revoke_key(self, key_id: str, account: str | None = None) -> ApiKey:
        """Revoke a key, of the account if one is named; revoking it again changes nothing."""
        return self._store.revoke_key(key_id, account)


def key_expiry(days: int | None) -> float | None:
    """Return when a key expires that is made now for so many days; None: it does not.

    Raises InvalidInputError for less than a day and for more than 3650 days.
    """
    if days is None:
        return None
    _check_range("expires_in_days", days, 1, KEY_DAYS_MAX)
    return time.time() + days * _DAY_S


def _password_hash(password: str) -> str:
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        fault = f"must have from {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX}"
        raise InvalidInputError(
            f"The password {fault} characters, but has {len(password)}.",
            violations=[FieldViolation("password", f"{fault} characters")],
        )
    return hash_password(password)


def _check_range(field: str, value: int, smallest: int, largest: int) -> None:
    if not smallest <= value <= largest:
        raise invalid(field, f"must be from {smallest} to {largest}, but is {value}")
