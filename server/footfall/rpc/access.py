"""Credentials and tenants: how each kind of policy is checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from footfall.accounts.service import Authenticator, require_scope
from footfall.rpc.call import Call, Method
from footfall.rpc.policy import AccountKey, ApplicationKey, Policy, SiteKey, WorkspaceKey

#: Checks a call, and notes on it what was found out.
Check = Callable[[Call], Awaitable[None]]


class Access:
    """Makes the checks of a method out of its policy."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def authenticator(self, policy: Policy) -> Check:
        """Return the check of the credentials; it sets the call's principal."""
        accounts = self._authenticator
        match policy.credentials:
            case ApplicationKey(access):

                async def application_key(call: Call) -> None:
                    metadata = call.metadata
                    call.principal = call.tenant = await accounts.authenticate_application(
                        metadata.get("x-auth-user"), metadata.get("x-auth-key"), access
                    )

                return application_key
            case SiteKey(browsers=browsers):

                async def site_key(call: Call) -> None:
                    header = call.metadata.get("authorization")
                    if header is not None or not browsers:
                        call.principal = await accounts.authenticate_bearer(header)

                return site_key
            case AccountKey(scope):

                async def account_key(call: Call) -> None:
                    key = await accounts.authenticate_bearer(call.metadata.get("authorization"))
                    require_scope(key, scope)
                    call.principal = key
                    call.tenant = key.account_id

                return account_key
            case WorkspaceKey():

                async def workspace_key(call: Call) -> None:
                    call.principal = call.tenant = await accounts.authenticate_workspace(
                        call.metadata.get("x-api-key")
                    )

                return workspace_key

    def authoriser(self, method: Method) -> Check | None:
        """Return the check of the tenant that the message names; it sets the call's tenant.

        None where the credentials name the tenant themselves. A request stream is about the site
        of its first message.
        """
        if not isinstance(method.policy.credentials, SiteKey):
            return None
        accounts = self._authenticator
        scope = method.policy.credentials.scope

        async def site(call: Call, site_id: str) -> None:
            if call.principal is None:
                call.tenant = await accounts.site_for_browser(site_id)
            else:
                call.tenant = await accounts.authorize_site(call.principal, site_id, scope)

        async def of_message(call: Call) -> None:
            await site(call, call.request.site)

        async def of_first_message(call: Call) -> None:
            first = await anext(call.request, None)
            await site(call, first.site if first is not None else "")
            call.request = _prepend(first, call.request)

        return of_first_message if method.request_streaming else of_message

    async def recheck(self, call: Call) -> None:
        """Raise what a new call of the same caller would meet; for calls that live long."""
        await self.authenticator(call.method.policy)(call)
        authorise = self.authoriser(call.method)
        if authorise is not None:
            await authorise(call)


async def _prepend(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for message in rest:
        yield message
