"""What the domain needs of an accounts store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from footfall.accounts.model import (
    Account,
    ApiKey,
    Application,
    ApplicationAccess,
    ApplicationGrant,
    KeyKind,
    Login,
    Plan,
    RemovalOrder,
    Role,
    Scope,
    Site,
    Subscription,
    User,
    Workspace,
)


class AccountStore(Protocol):
    """Transactional storage of accounts; called from worker threads, safe for concurrent use.

    Secrets come in as digests only. `account` arguments take an id or a name. Every method may
    raise UnavailableError; create methods raise InvalidInputError for a name or host that is
    taken, and NotFoundError for an account or site that does not exist.
    """

    def create_account(self, name: str, plan: str) -> Account: ...
    def list_accounts(self) -> list[Account]:
        """Return every account in the order of their names."""

    def set_account_plan(self, account: str, plan: str) -> Account:
        """Put an account on another plan; raises InvalidInputError if there is no such plan."""

    def list_plans(self) -> list[Plan]:
        """Return every plan in the order of their names."""

    def update_plan(
        self, name: str, allowances: Mapping[str, int], *, like: str | None = None
    ) -> Plan:
        """Change a plan's allowances, by the names of Plan's fields.

        A plan that does not exist is made as a copy of the plan `like`; raises NotFoundError if
        there is none to copy.
        """

    def create_user(self, account: str, email: str, password_hash: str, role: Role) -> User: ...
    def create_site(self, account: str, host: str, timezone: str, *, public: bool) -> Site: ...
    def create_application(
        self, account: str, name: str, write_digest: bytes, read_digest: bytes
    ) -> Application: ...
    def create_workspace(self, account: str, name: str, key_digest: bytes) -> Workspace: ...
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
    ) -> ApiKey: ...

    def list_keys(self, account: str) -> list[ApiKey]:
        """Return the account's keys, newest first."""

    def get_key(self, key_id: str, account: str | None = None) -> ApiKey:
        """Return a key, of the account if one is named; raises NotFoundError if there is none."""

    def revoke_key(self, key_id: str, account: str | None = None) -> ApiKey:
        """Revoke a key, of the account if one is named; raises NotFoundError if there is none."""

    def find_key(self, digest: bytes) -> ApiKey | None:
        """Return the key with this digest, revoked and expired ones included; while a rotated
        key's overlap lasts, the digest before finds it as well.
        """

    def find_workspace(self, key_digest: bytes) -> Workspace | None:
        """Return the workspace whose key has this digest."""

    def find_application(self, application_id: str, key_digest: bytes) -> ApplicationGrant | None:
        """Return what this key gives: one of the application's two, or a temporary one in force."""

    def create_application_key(
        self, application_id: str, digest: bytes, access: ApplicationAccess, expires_at: float
    ) -> None:
        """Give an application one more key until `expires_at` (seconds since the Unix epoch), for
        a program that works on its behalf; raises NotFoundError if there is no such application.
        """

    def delete_application_key(self, digest: bytes) -> None:
        """Forget a temporary key; one that is not there is no error."""

    def find_login(self, email: str) -> Login | None:
        """Return the user with this address, compared as `names.clean_email` writes it."""

    def get_login(self, user_id: str) -> Login | None: ...
    def list_users(self, account: str) -> list[User]:
        """Return the account's users in the order of their addresses."""

    def update_user(
        self,
        account: str,
        user_id: str,
        *,
        role: Role | None = None,
        password_hash: str | None = None,
    ) -> User:
        """Change what is given. Raises NotFoundError for a user that is not of the account, and
        ConflictError (LAST_ADMIN) where an account with admins would be left without one.
        """

    def delete_user(self, account: str, user_id: str) -> User:
        """Remove a user; raises as `update_user` does."""

    def rotate_key(
        self, account: str, key_id: str, digest: bytes, *, hint: str, overlap_until: float
    ) -> ApiKey:
        """Give a key a new secret; the one before goes on working until `overlap_until` (seconds
        since the Unix epoch), and any older one stops. Raises NotFoundError for a key that is not
        of the account, and ConflictError (KEY_REVOKED) for one that is revoked or expired.
        """

    def note_key_use(self, used_at: Mapping[str, float]) -> None:
        """Take note of when keys were last used, by their ids; an older time changes nothing."""

    def account_sites(self, account: str) -> list[Site]:
        """Return the account's sites in the order of their hosts."""

    def update_site(
        self,
        account: str,
        site_id: str,
        *,
        public: bool | None = None,
        retention_days: int | None = None,
    ) -> Site:
        """Change what is given; events are kept for ever with a retention of 0 days. Raises
        NotFoundError for a site that is not of the account.
        """

    def sites_with_retention(self) -> list[Site]:
        """Return every site that does not keep its events for ever."""

    def delete_site(self, account: str, site_id: str) -> RemovalOrder:
        """Delete a site, take it from all keys, and order its events to be removed, at once.

        Raises NotFoundError for a site that is not of the account.
        """

    def order_removal(self, account: str, site_id: str, visitor_id: str) -> RemovalOrder:
        """Order the events of a visitor to be removed; raises NotFoundError as `delete_site`."""

    def removal_orders(self) -> list[RemovalOrder]:
        """Return the orders that are not forgotten yet, oldest first."""

    def finish_removal(self, order_id: str, keep_s: float = 0.0) -> None:
        """Note that an order is carried out, and forget those that have been for `keep_s` seconds
        or longer; what is forgotten is not left in the store's file.
        """

    def get_account(self, account: str) -> Account: ...
    def get_subscription(self, account_id: str) -> Subscription | None: ...
    def get_site(self, site_id: str) -> Site | None: ...
    def get_application(self, application_id: str) -> Application | None: ...
    def list_sites(self) -> list[Site]:
        """Return every site of every account, for rebuilding live state."""

    def salt(self, day: int, now_day: int) -> bytes:
        """Return the random 32-byte visitor salt of a UTC day (days since the epoch), making it if
        need be.

        Salts of days before yesterday (seen from `now_day`) are deleted by the call. All servers
        on one store get the same salt. Only today, yesterday and tomorrow are kept; other days
        raise ValueError.
        """

    def forget_salts(self, now_day: int) -> None:
        """Delete the salts of days before yesterday, and leave nothing of them in the store's file
        and log.
        """

    def ping(self) -> None:
        """Raise UnavailableError unless the store answers."""

    def close(self) -> None: ...
