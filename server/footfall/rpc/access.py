"""Credentials and tenants: how each kind of policy is checked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from footfall.accounts.model import ApiKey, ApplicationAccess, Scope, Site
from footfall.accounts.service import Authenticator, missing_api_key, require_scope
from footfall.accounts.sessions import Sessions, require_admin
from footfall.errors import (
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from footfall.ingest.track import unwrapped, website_of
from footfall.rpc.call import Call, Method
from footfall.rpc.convert import parse_documents
from footfall.rpc.cookies import require_own_page, session_id
from footfall.rpc.policy import (
    AccountAdmin,
    AccountReader,
    Anyone,
    ApplicationKey,
    Policy,
    SessionOrKey,
    SignedIn,
    SigningIn,
    SiteKey,
    WebsiteReader,
    WebsiteWriter,
    WorkspaceKey,
)

#: Checks a call, and notes on it what was found out.
Check = Callable[[Call], Awaitable[None]]

#: What a person is told is for no cache to keep.
_NO_STORE = ("cache-control", "no-store")


class Access:
    """Makes the checks of a method out of its policy."""

    def __init__(self, authenticator: Authenticator, sessions: Sessions) -> None:
        self._authenticator = authenticator
        self._sessions = sessions

    def authenticator(self, policy: Policy) -> Check:
        """Return the check of the credentials; it sets the call's principal."""
        check: Check
        match policy.credentials:
            case ApplicationKey(access):
                check = self._application_key(access)
            case SiteKey(browsers=browsers):
                check = self._site_key(browsers=browsers)
            case WorkspaceKey():
                check = self._workspace_key
            case AccountAdmin(members):
                check = self._account_admin(members=members)
            case SessionOrKey():
                check = self._session_or_key
            case SignedIn():
                check = self._signed_in
            case SigningIn():
                check = _signing_in
            case AccountReader():
                check = self._reader(strangers=False)
            case WebsiteReader(public):
                check = self._reader(strangers=public)
            case WebsiteWriter():
                check = self._website_writer
            case Anyone():
                check = _anyone
        return check

    def _application_key(self, access: ApplicationAccess) -> Check:
        accounts = self._authenticator

        async def check(call: Call) -> None:
            metadata = call.metadata
            call.principal = call.tenant = await accounts.authenticate_application(
                metadata.get("x-auth-user"), metadata.get("x-auth-key"), access
            )

        return check

    def _site_key(self, *, browsers: bool) -> Check:
        accounts = self._authenticator

        async def check(call: Call) -> None:
            header = call.metadata.get("authorization")
            if header is not None or not browsers:
                call.principal = await accounts.authenticate_bearer(header)

        return check

    async def _workspace_key(self, call: Call) -> None:
        call.principal = call.tenant = await self._authenticator.authenticate_workspace(
            call.metadata.get("x-api-key")
        )

    def _account_admin(self, *, members: bool) -> Check:
        async def check(call: Call) -> None:
            await self._session_or_key(call)
            if isinstance(call.principal, ApiKey):
                require_scope(call.principal, Scope.ADMIN)
            elif not members:
                require_admin(call.principal)

        return check

    async def _session_or_key(self, call: Call) -> None:
        """Find out who calls: by the key if there is one, whatever cookie a browser adds."""
        header = call.metadata.get("authorization", "")
        if not header.strip() and session_id(call) is not None:
            await self._signed_in(call)
            return
        call.headers.append(_NO_STORE)
        call.principal = key = await self._authenticator.authenticate_bearer(header)
        call.tenant = key.account_id

    async def _signed_in(self, call: Call) -> None:
        call.headers.append(_NO_STORE)
        require_own_page(call)
        call.principal = session = await self._sessions.authenticate(session_id(call))
        call.tenant = session.account_id

    def _reader(self, *, strangers: bool) -> Check:
        """Return the check of a caller who reads for an account, or is a stranger if those may
        come. The tenant is the account until the call is known to be about one of its sites.
        """
        accounts = self._authenticator

        async def check(call: Call) -> None:
            api_key = call.metadata.get("x-api-key", "")
            bearer = call.metadata.get("authorization", "")
            if api_key.strip():
                call.principal = await accounts.authenticate_key(api_key)
            elif bearer.strip():
                call.principal = await accounts.authenticate_bearer(bearer)
            elif strangers:
                await self._signed_in_or_stranger(call)
            elif session_id(call) is None:
                raise missing_api_key()
            else:
                await self._signed_in(call)
            if call.principal is not None:
                call.tenant = await accounts.subscription(call.principal.account_id)

        return check

    async def _website_writer(self, call: Call) -> None:
        api_key = call.metadata.get("x-api-key", "")
        bearer = call.metadata.get("authorization", "")
        if api_key.strip():
            call.principal = await self._authenticator.authenticate_key(api_key)
        elif bearer.strip():
            call.principal = await self._authenticator.authenticate_bearer(bearer)

    async def _signed_in_or_stranger(self, call: Call) -> None:
        """Find out who calls by the session. Browsers send it without being asked to, so that one
        that does not count makes a stranger of the caller, and no failure of the call.
        """
        if session_id(call) is not None:
            with contextlib.suppress(UnauthenticatedError, ForbiddenError):
                await self._signed_in(call)

    def authoriser(self, method: Method) -> Check | None:
        """Return the check of the tenant that the message names; it sets the call's tenant.

        None where the credentials name the tenant themselves. A request stream is about the site
        of its first message.
        """
        if isinstance(method.policy.credentials, WebsiteReader):
            return self._website_reader(public=method.policy.credentials.public)
        if isinstance(method.policy.credentials, WebsiteWriter):
            return self._tracked_websites
        if not isinstance(method.policy.credentials, SiteKey):
            return None
        site = self._site

        async def of_message(call: Call) -> None:
            await site(call, call.request.site)

        async def of_first_message(call: Call) -> None:
            first = await anext(call.request, None)
            await site(call, first.site if first is not None else "")
            call.request = _prepend(first, call.request)

        return of_first_message if method.request_streaming else of_message

    async def _site(self, call: Call, site_id: str) -> None:
        """Set the tenant to the site, if the caller's key or a browser may use it."""
        credentials = call.method.policy.credentials
        if call.principal is None:
            call.tenant = await self._authenticator.site_for_browser(site_id)
        elif isinstance(credentials, SiteKey):
            call.tenant = await self._authenticator.authorize_site(
                call.principal, site_id, credentials.scope
            )

    def _website_reader(self, *, public: bool) -> Check:
        accounts = self._authenticator

        async def check(call: Call) -> None:
            website_id, caller = _website_id(call.request), call.principal
            if caller is None:
                website = await accounts.public_website(website_id)
            else:
                website = await accounts.authorize_website(
                    caller.account_id,
                    caller if isinstance(caller, ApiKey) else None,
                    website_id,
                    public=public,
                )
            call.tenant = website.site
            if website.as_stranger:
                call.principal = None

        return check

    async def _tracked_websites(self, call: Call) -> None:
        """Set the tenant to the websites that the events name, by name; all must be allowed."""
        request, key = call.request, call.principal
        default: str = request.website_id or request.client_id
        events = parse_documents(request.content, single=True)
        names = {website_of(unwrapped(event), default) for event in events} or {default}
        call.tenant = {name: await self._tracked_website(key, name) for name in sorted(names)}

    async def _tracked_website(self, key: ApiKey | None, name: str) -> Site:
        accounts = self._authenticator
        if key is None:
            if not name:
                raise missing_api_key()
            return await accounts.site_for_browser(name)
        if not name and len(key.site_ids) == 1:
            (name,) = key.site_ids
        if not name:
            raise InvalidInputError(
                "The events name no websiteId, and the key is for more than one website.",
                "MISSING_WEBSITE_ID",
            )
        return await accounts.authorize_site(key, name, Scope.WRITE)

    async def recheck(self, call: Call) -> None:
        """Raise what a new call of the same caller would meet; for calls that live long.

        Accounts that cannot be asked are no reason to send anybody away.
        """
        told = len(call.headers)
        with contextlib.suppress(UnavailableError):
            await self.authenticator(call.method.policy)(call)
            if call.method.request_streaming and isinstance(call.tenant, Site):
                # The message that named it has been read, and the others need not name it.
                await self._site(call, call.tenant.id)
            elif (authorise := self.authoriser(call.method)) is not None:
                await authorise(call)
        del call.headers[told:]


def _website_id(request: Any) -> str:
    """Return the website that a message names; some take it by the other families' name, too."""
    website_id: str = request.website_id or getattr(request, "site", "")
    return website_id


async def _anyone(call: Call) -> None:
    """Let everybody through."""


async def _signing_in(call: Call) -> None:
    call.headers.append(_NO_STORE)
    require_own_page(call)


async def _prepend(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for message in rest:
        yield message
