"""Rate limits on calls: whose allowance a call is, and what its caller is told about it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

from footfall.accounts.clients import ClientSubjects
from footfall.accounts.limits import Decision, RateLimiter, Window
from footfall.errors import RateLimitedError
from footfall.rpc.call import Call, Method, Step
from footfall.rpc.peers import Peers
from footfall.rpc.policy import Allowance

#: Finds the windows that a call must fit into.
_WindowsOf = Callable[[Call], Awaitable[Sequence[Window]]]


class RateLimit:
    """Spends one unit of the caller's allowance, and tells what is left.

    Most allowances are those of the tenant's plan. Who signs in has no tenant yet, so that those
    calls are counted for a client address: `authentication_per_minute` of them.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        peers: Peers,
        clients: ClientSubjects,
        *,
        authentication_per_minute: int,
    ) -> None:
        self._limiter = limiter

        async def authentication(call: Call) -> Sequence[Window]:
            subjects = await clients.subjects("authentication", peers.client_ip(call), 60)
            return [Window(subject, authentication_per_minute, 60) for subject in subjects]

        self._windows: dict[Allowance, _WindowsOf] = {
            Allowance.SITE: _site,
            Allowance.APPLICATION_READS: _application,
            Allowance.WORKSPACE: _workspace,
            Allowance.AUTHENTICATION: authentication,
        }

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that decides before `proceed`."""
        if method.policy.allowance is None:
            return proceed
        windows_of = self._windows[method.policy.allowance]
        limiter = self._limiter
        of_client = method.policy.allowance is Allowance.AUTHENTICATION

        async def step(call: Call) -> None:
            windows = await windows_of(call)
            decision = await limiter.decide(windows)
            call.headers += _headers(decision)
            if not decision.allowed:
                raise RateLimitedError(
                    f"The limit of {decision.limit} requests in {_length(windows[0].seconds)} is "
                    f"reached; try again in {decision.retry_after_s} s.",
                    metadata={
                        "subject": "client" if of_client else windows[0].subject,
                        "limit": str(decision.limit),
                    },
                    retry_after_s=decision.retry_after_s,
                )
            await proceed(call)

        return step


async def _site(call: Call) -> Sequence[Window]:
    site = call.tenant
    return (Window(f"site:{site.id}", site.plan.site_requests_per_minute, 60),)


async def _application(call: Call) -> Sequence[Window]:
    application = call.tenant
    return (Window(f"app:{application.id}", application.plan.application_reads_per_10s, 10),)


async def _workspace(call: Call) -> Sequence[Window]:
    workspace = call.tenant
    limit = workspace.plan.workspace_requests_per_second
    return (Window(f"workspace:{workspace.id}", limit, 1),)


def _length(seconds: int) -> str:
    return "a second" if seconds == 1 else f"{seconds} seconds"


def _headers(decision: Decision) -> list[tuple[str, str]]:
    return [
        ("x-ratelimit-limit", str(decision.limit)),
        ("x-ratelimit-remaining", str(decision.remaining)),
        ("x-ratelimit-reset", str(math.ceil(decision.reset_at))),
    ]
