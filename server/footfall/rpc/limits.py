"""Rate limits on calls: whose allowance a call is, and what its caller is told about it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence

from footfall.accounts.clients import ClientSubjects
from footfall.accounts.limits import Decision, RateLimiter, Window, account_windows, sql_window
from footfall.accounts.model import ApiKey, Application, Site
from footfall.errors import (
    FootfallError,
    InvalidInputError,
    RateLimitedError,
    UnavailableError,
)
from footfall.rpc.call import Call, Method, Step
from footfall.rpc.peers import Peers
from footfall.rpc.policy import Allowance

_LIMIT = "x-ratelimit-limit"

#: Finds the windows that a call must fit into.
_WindowsOf = Callable[[Call], Awaitable[Sequence[Window]]]


class RateLimit:
    """Spends what a call costs of the caller's allowance, and tells what is left.

    Most allowances are those of the tenant's plan. Calls of nobody in particular are counted for a
    client address: `authentication_per_minute` of those that sign in, and `public_per_minute`.
    """

    def __init__(
        self,
        limiter: RateLimiter,
        peers: Peers,
        clients: ClientSubjects,
        *,
        authentication_per_minute: int,
        public_per_minute: int,
    ) -> None:
        self._limiter = limiter

        def of_client(purpose: str, limit: int) -> _WindowsOf:
            async def windows(call: Call) -> Sequence[Window]:
                subjects = await clients.subjects(purpose, peers.client_ip(call), 60)
                return [Window(subject, limit, 60) for subject in subjects]

            return windows

        public = of_client("public", public_per_minute)

        async def account(call: Call) -> Sequence[Window]:
            # Who reads a public site spends none of its account's requests.
            return await public(call) if call.principal is None else account_windows(call.tenant)

        async def account_sql(call: Call) -> Sequence[Window]:
            return (*account_windows(call.tenant), sql_window(call.tenant))

        self._windows: dict[Allowance, _WindowsOf] = {
            Allowance.SITE: _site,
            Allowance.APPLICATION_READS: _application,
            Allowance.WORKSPACE: _workspace,
            Allowance.AUTHENTICATION: of_client("authentication", authentication_per_minute),
            Allowance.ACCOUNT: account,
            Allowance.ACCOUNT_SQL: account_sql,
            Allowance.PUBLIC: public,
        }

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that decides before `proceed`."""
        if method.policy.allowance is None:
            return proceed
        windows_of = self._windows[method.policy.allowance]
        cost_of = method.policy.cost
        limiter = self._limiter

        async def step(call: Call) -> None:
            windows = await windows_of(call)
            cost = cost_of(call.request)
            if cost > 1:
                _require_possible(cost, windows)
            decision = await limiter.decide(windows, cost)
            call.headers += _headers(decision)
            if not decision.allowed and cost:
                raise _refusal(call, decision, windows[decision.place])
            await proceed(call)

        return step

    async def tell(self, call: Call) -> None:
        """Tell a caller who has failed before the decision what is left, and spend nothing."""
        allowance = call.method.policy.allowance
        if allowance is not None:
            decision = await self._limiter.decide(await self._windows[allowance](call), 0)
            call.headers += _headers(decision)


class TellAllowance:
    """Tells what is left in the answers that fail between the credentials and the rate limit, in
    the family whose every answer does so.
    """

    def __init__(self, rate_limit: RateLimit) -> None:
        self._rate_limit = rate_limit

    def wrap(self, method: Method, proceed: Step) -> Step:
        """Return the step that tells of failures in `proceed`."""
        if method.policy.allowance not in _TOLD_ALWAYS:
            return proceed
        tell = self._rate_limit.tell

        async def step(call: Call) -> None:
            try:
                await proceed(call)
            except FootfallError:
                if call.tenant is not None and not _is_told(call):
                    # The call has failed for another reason, which is the one to say.
                    with contextlib.suppress(UnavailableError):
                        await tell(call)
                raise

        return step


_TOLD_ALWAYS = frozenset({Allowance.ACCOUNT, Allowance.ACCOUNT_SQL})


def _is_told(call: Call) -> bool:
    return any(name == _LIMIT for name, _ in call.headers)


def _require_possible(cost: int, windows: Sequence[Window]) -> None:
    """Raise InvalidInputError for a batch that no waiting would let through."""
    tightest = min(windows, key=lambda window: window.limit)
    if cost > tightest.limit:
        raise InvalidInputError(
            f"The batch has {cost} queries, but only {tightest.limit} in "
            f"{_length(tightest.seconds)} are allowed; send it in smaller ones.",
            metadata={"limit": str(tightest.limit)},
        )


def _refusal(call: Call, decision: Decision, window: Window) -> RateLimitedError:
    # A session counts only where its page does, which takes more than credentials to tell; a caller
    # without any is counted for an address. Every call of a workspace is in its record, which the
    # server keeps. With something left, a call that costs less may pass.
    holds = decision.remaining == 0 and isinstance(call.principal, ApiKey | Application)
    return RateLimitedError(
        f"The limit of {decision.limit} requests in {_length(window.seconds)} is reached; try "
        f"again in {decision.retry_after_s} s.",
        metadata={
            # A client's has a hash of its address, which is nobody's business.
            "subject": "client" if window.subject.startswith("client:") else window.subject,
            "limit": str(decision.limit),
        },
        retry_after_s=decision.retry_after_s,
        holds_ms=decision.wait_ms if holds else 0,
        holds_for=call.tenant.id if isinstance(call.tenant, Site) else "",
    )


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
        (_LIMIT, str(decision.limit)),
        ("x-ratelimit-remaining", str(decision.remaining)),
        ("x-ratelimit-reset", str(math.ceil(decision.reset_at))),
    ]
