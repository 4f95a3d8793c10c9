"""Who is calling and what they may do: credentials to entities, or the error that says why not."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from footfall.accounts.key_use import KeyUse
from footfall.accounts.keys import (
    is_application_key,
    is_id,
    is_workspace_key,
    key_digest,
    key_kind,
)
from footfall.accounts.lookups import Lookups
from footfall.accounts.model import (
    ApiKey,
    Application,
    ApplicationAccess,
    ApplicationGrant,
    Scope,
    Site,
    Subscription,
    Workspace,
)
from footfall.accounts.ports import AccountStore
from footfall.errors import (
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)

#: How long a look-up is believed. A revoked key, a new one and a changed plan are seen within a
#: second everywhere: this long, and the time of the look-up itself.
LOOKUP_TTL_S = 0.5
_THREADS = 4
_SCHEME = "bearer"


@dataclass(frozen=True, slots=True)
class Website:
    """A site that may be read."""

    site: Site
    #: Whether the caller may read it only because everybody may.
    as_stranger: bool


class Authenticator:
    """Tells who calls and whether they may, from the accounts store.

    Every method may raise UnavailableError. Look-ups run in threads of its own, so that a store
    that hangs holds up nobody else's; remembered ones cost no thread at all. That an API key is
    used is noted in `key_use`.
    """

    def __init__(
        self,
        store: AccountStore,
        *,
        key_use: KeyUse | None = None,
        ttl_s: float = LOOKUP_TTL_S,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._wall_clock = wall_clock
        self._key_use = key_use
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="accounts")
        self._keys: Lookups[bytes, ApiKey | None] = Lookups(
            store.find_key, self._executor, ttl_s=ttl_s, clock=clock
        )
        self._sites: Lookups[str, Site | None] = Lookups(
            store.get_site, self._executor, ttl_s=ttl_s, clock=clock
        )
        self._grants: Lookups[tuple[str, bytes], ApplicationGrant | None] = Lookups(
            lambda key: store.find_application(*key), self._executor, ttl_s=ttl_s, clock=clock
        )
        self._subscriptions: Lookups[str, Subscription | None] = Lookups(
            store.get_subscription, self._executor, ttl_s=ttl_s, clock=clock
        )
        self._workspaces: Lookups[bytes, Workspace | None] = Lookups(
            store.find_workspace, self._executor, ttl_s=ttl_s, clock=clock
        )

    async def authenticate_bearer(self, header: str | None) -> ApiKey:
        """Return the API key of an `Authorization: Bearer …` header.

        Raises UnauthenticatedError: MISSING_TOKEN without a header, INVALID_TOKEN for one with
        anything but a key that is known, not revoked and not expired.
        """
        if header is None or not header.strip():
            raise UnauthenticatedError("The Authorization header is missing.", "MISSING_TOKEN")
        scheme, _, token = header.strip().partition(" ")
        key = await self._key(token.strip()) if scheme.lower() == _SCHEME else None
        if key is None:
            raise UnauthenticatedError("Bearer token is invalid or revoked.", "INVALID_TOKEN")
        return key

    async def authenticate_key(self, header: str) -> ApiKey:
        """Return the API key of an `X-API-Key` header.

        Raises UnauthenticatedError (INVALID_API_KEY) for one with anything but a key that is known,
        not revoked and not expired.
        """
        key = await self._key(header.strip())
        if key is None:
            raise UnauthenticatedError("The API key is invalid or revoked.", "INVALID_API_KEY")
        return key

    async def _key(self, text: str) -> ApiKey | None:
        """Return the key in force that `text` is, and note that it is used."""
        # What cannot be a key is not worth a look-up.
        key = await self._keys.get(key_digest(text)) if key_kind(text) is not None else None
        if key is None or not self._is_in_force(key):
            return None
        if self._key_use is not None:
            self._key_use.note(key.id)
        return key

    def _is_in_force(self, key: ApiKey) -> bool:
        if key.revoked_at is not None:
            return False
        return key.expires_at is None or self._wall_clock() < key.expires_at

    async def authorize_site(self, key: ApiKey, site_id: str, scope: Scope) -> Site:
        """Return the site that the call names, if the key may be used for it in this way.

        Raises InvalidInputError (SITE_REQUIRED) if no site is named, and ForbiddenError:
        SITE_NOT_AUTHORIZED whether the site exists or not, SCOPE_REQUIRED.
        """
        if not site_id:
            raise InvalidInputError("The site query parameter is missing.", "SITE_REQUIRED")
        site = await self._sites.get(site_id) if site_id in key.site_ids else None
        if site is None:
            raise ForbiddenError("The API key has no access to this site.", "SITE_NOT_AUTHORIZED")
        require_scope(key, scope)
        return site

    async def site_for_browser(self, site_id: str) -> Site:
        """Return the site that a browser's events name; browsers have no key.

        Raises InvalidInputError (SITE_REQUIRED) if no site is named, NotFoundError (NOT_FOUND) if
        it does not exist.
        """
        if not site_id:
            raise InvalidInputError("The site query parameter is missing.", "SITE_REQUIRED")
        site = await self._sites.get(site_id) if is_id(site_id) else None
        if site is None:
            raise NotFoundError("There is no such site.")
        return site

    async def subscription(self, account_id: str) -> Subscription:
        """Return what an account's plan allows it, for a caller who belongs to the account."""
        subscription = await self._subscriptions.get(account_id)
        if subscription is None:
            raise UnauthenticatedError("The account of these credentials is gone.", "INVALID_TOKEN")
        return subscription

    async def authorize_website(
        self, account_id: str, key: ApiKey | None, website_id: str, *, public: bool
    ) -> Website:
        """Return the website that the call names, for a caller of this account: one of its users,
        or one of its keys. With `public`, any caller may read a public website.

        Raises InvalidInputError (MISSING_WEBSITE_ID) if none is named; NotFoundError
        (WEBSITE_NOT_FOUND) for one of another account, whether it exists or not; ForbiddenError
        (SITE_NOT_AUTHORIZED, SCOPE_REQUIRED) for one of the account's that the key is not for.
        """
        if not website_id:
            raise InvalidInputError(
                "The website_id query parameter is missing.", "MISSING_WEBSITE_ID"
            )
        site = await self._sites.get(website_id) if is_id(website_id) else None
        if site is not None and site.account_id == account_id and _may_read(key, site):
            return Website(site, as_stranger=False)
        if public and site is not None and site.public:
            return Website(site, as_stranger=True)
        if site is None or site.account_id != account_id:
            raise NotFoundError(
                "There is no website with this id in your account.", "WEBSITE_NOT_FOUND"
            )
        if key is not None and site.id in key.site_ids:
            require_scope(key, Scope.READ)
        raise ForbiddenError("The API key has no access to this website.", "SITE_NOT_AUTHORIZED")

    async def public_website(self, website_id: str) -> Website:
        """Return the website that a caller without credentials names.

        Raises UnauthenticatedError (MISSING_TOKEN) unless there is a public one of this id.
        """
        site = await self._sites.get(website_id) if is_id(website_id) else None
        if site is None or not site.public:
            # It tells of no website whether it exists, nor that its name is missing.
            raise missing_api_key()
        return Website(site, as_stranger=True)

    async def authenticate_application(
        self, application_id: str | None, key: str | None, needed: ApplicationAccess
    ) -> Application:
        """Return the application of an `X-Auth-User` and an `X-Auth-Key`, which must be its key
        for the `needed` access.

        Raises UnauthenticatedError: MISSING_CREDENTIALS, or INVALID_CREDENTIALS for an unknown
        application and a wrong key alike; ForbiddenError: WRITE_KEY_REQUIRED, READ_KEY_REQUIRED.
        """
        if not application_id or not key:
            raise UnauthenticatedError(
                "The X-Auth-User and X-Auth-Key headers are both required.", "MISSING_CREDENTIALS"
            )
        grant = None
        if is_id(application_id) and is_application_key(key):
            grant = await self._grants.get((application_id, key_digest(key)))
        if grant is None:
            raise UnauthenticatedError(
                "The application id or its key is invalid.", "INVALID_CREDENTIALS"
            )
        if grant.access is not needed:
            if needed is ApplicationAccess.WRITE:
                raise ForbiddenError(
                    "Sending events needs the application's write key.", "WRITE_KEY_REQUIRED"
                )
            raise ForbiddenError(
                "Querying events needs the application's read key.", "READ_KEY_REQUIRED"
            )
        return grant.application

    async def authenticate_workspace(self, header: str | None) -> Workspace:
        """Return the workspace of an `X-API-Key` header.

        Raises UnauthenticatedError: MISSING_API_KEY without a header, INVALID_API_KEY for one with
        anything but a workspace's key.
        """
        text = "" if header is None else header.strip()
        if not text:
            raise UnauthenticatedError("The X-API-Key header is missing.", "MISSING_API_KEY")
        workspace = None
        if is_workspace_key(text):
            workspace = await self._workspaces.get(key_digest(text))
        if workspace is None:
            raise UnauthenticatedError("The API key is invalid.", "INVALID_API_KEY")
        return workspace

    def close(self) -> None:
        """Take no more look-ups; the store is the caller's to close."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def missing_api_key() -> UnauthenticatedError:
    """Return the error of a call that needs credentials and has none."""
    return UnauthenticatedError(
        "Authentication is required: send an API key as x-api-key or as Authorization: Bearer.",
        "MISSING_TOKEN",
    )


def _may_read(key: ApiKey | None, site: Site) -> bool:
    return key is None or (site.id in key.site_ids and Scope.READ in key.scopes)


def require_scope(key: ApiKey, scope: Scope) -> None:
    """Raise ForbiddenError (SCOPE_REQUIRED) unless the key has the scope."""
    if scope not in key.scopes:
        raise ForbiddenError(
            f"The API key lacks the {scope.value} scope.",
            "SCOPE_REQUIRED",
            {"scope": scope.value},
        )
