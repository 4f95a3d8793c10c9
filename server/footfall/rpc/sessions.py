"""SessionService."""

from __future__ import annotations

from footfall.accounts.model import User
from footfall.accounts.sessions import NewSession, Sessions, VisibleSites
from footfall.rpc.call import Call
from footfall.rpc.convert import rfc3339
from footfall.rpc.cookies import expire_cookie, session_id, set_cookie
from footfall.v1 import sessions_pb2 as pb


class SessionServicer:
    """People, signing in and out, and what they see."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def Login(self, request: pb.LoginRequest, call: Call) -> pb.LoginResponse:
        made = await self._sessions.login(request.email, request.password)
        _hand_over(made, call)
        return pb.LoginResponse(
            success=True, user=_user(made.user), expires_at=rfc3339(made.term.expires_at)
        )

    async def Refresh(
        self,
        request: pb.RefreshRequest,  # noqa: ARG002  # empty
        call: Call,
    ) -> pb.RefreshResponse:
        made = await self._sessions.refresh(session_id(call))
        _hand_over(made, call)
        return pb.RefreshResponse(
            success=True, user=_user(made.user), expires_at=rfc3339(made.term.expires_at)
        )

    async def Logout(
        self,
        request: pb.LogoutRequest,  # noqa: ARG002  # empty
        call: Call,
    ) -> pb.LogoutResponse:
        await self._sessions.logout(session_id(call))
        call.headers.append(expire_cookie())
        return pb.LogoutResponse(success=True)

    async def GetMe(
        self,
        request: pb.GetMeRequest,  # noqa: ARG002  # empty
        call: Call,
    ) -> pb.GetMeResponse:
        return _me(await self._sessions.sites_of(call.principal))

    async def SelectTracker(self, request: pb.SelectTrackerRequest, call: Call) -> pb.GetMeResponse:
        return _me(await self._sessions.select(call.principal, request.tracker))


def _hand_over(made: NewSession, call: Call) -> None:
    # The cookie may outlive the session's idle time, which uses move on and the cookie cannot know.
    call.headers.append(set_cookie(made.id, made.term.left_max_s))


def _user(user: User) -> pb.SessionUser:
    return pb.SessionUser(id=user.id, email=user.email, role=user.role)


def _me(visible: VisibleSites) -> pb.GetMeResponse:
    return pb.GetMeResponse(
        authenticated=True,
        current_tracker=visible.current,
        trackers=[pb.Tracker(tracker=site.id, host=site.host) for site in visible.sites],
    )
