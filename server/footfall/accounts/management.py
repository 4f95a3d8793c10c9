"""Creating what an account owns: input checked, secrets made, their digests stored.

A secret is returned by the call that makes it and by no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    Role,
    Scope,
    Site,
    User,
    Workspace,
)
from footfall.accounts.names import clean_email, clean_host, clean_name, clean_timezone
from footfall.accounts.passwords import (
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    hash_password,
)
from footfall.accounts.ports import AccountStore
from footfall.errors import FieldViolation, InvalidInputError


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
    """Creates accounts and what belongs to them.

    Blocking, for worker threads and the command line. `account` arguments take an id or a name.
    Every method may raise InvalidInputError for input that is malformed or taken, NotFoundError
    for an account or site that does not exist, and UnavailableError.
    """

    def __init__(self, store: AccountStore) -> None:
        self._store = store

    def create_account(self, name: str, plan: str) -> Account:
        return self._store.create_account(clean_name(name), plan)

    def create_user(self, account: str, email: str, password: str, role: Role) -> User:
        """Create a user; the password has 8 to 1024 characters, any of them."""
        email = clean_email(email)
        if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
            fault = f"must have from {PASSWORD_CHARACTERS_MIN} to {PASSWORD_CHARACTERS_MAX}"
            raise InvalidInputError(
                f"The password {fault} characters, but has {len(password)}.",
                violations=[FieldViolation("password", f"{fault} characters")],
            )
        return self._store.create_user(account, email, hash_password(password), role)

    def create_site(self, account: str, host: str, timezone: str, *, public: bool) -> Site:
        return self._store.create_site(
            account, clean_host(host), clean_timezone(timezone), public=public
        )

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
        kind: KeyKind,
        site_ids: Sequence[str],
        scopes: Sequence[Scope],
        expires_at: float | None = None,
    ) -> NewKey:
        """Create an API key for these sites and no others: for none if there are none."""
        if not scopes:
            raise InvalidInputError(
                "An API key needs at least one scope.",
                violations=[FieldViolation("scope", "must not be empty")],
            )
        text = make_key(kind)
        key = self._store.create_key(
            account,
            key_digest(text),
            kind=kind,
            site_ids=site_ids,
            scopes=scopes,
            hint=key_hint(text),
            expires_at=expires_at,
        )
        return NewKey(key, text)
