"""AccountsService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from footfall.accounts.management import AccountManager, NewKey, key_expiry
from footfall.accounts.model import ApiKey, KeyKind, Role, Scope, Site, User
from footfall.ingest.removals import Removals
from footfall.rpc.call import Call
from footfall.rpc.convert import rfc3339
from footfall.v1 import accounts_pb2 as pb

_P = ParamSpec("_P")
_R = TypeVar("_R")

#: Hashing a password takes 0.2 s and 32 MiB in one of them.
_THREADS = 2


class AccountsServicer:
    """What an account owns; the account is the call's tenant.

    The calls block in threads of their own, so that they hold up nobody else's.
    """

    def __init__(self, accounts: AccountManager, removals: Removals) -> None:
        self._accounts = accounts
        self._removals = removals
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="administration")

    def close(self) -> None:
        """Begin no more calls."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def CreateApplication(
        self, request: pb.CreateApplicationRequest, call: Call
    ) -> pb.CreateApplicationResponse:
        made = await self._run(self._accounts.create_application, call.tenant, request.name)
        return pb.CreateApplicationResponse(
            id=made.application.id,
            name=made.application.name,
            write_key=made.write_key,
            read_key=made.read_key,
        )

    async def CreateKey(self, request: pb.CreateKeyRequest, call: Call) -> pb.CreateKeyResponse:
        days = request.expires_in_days if request.HasField("expires_in_days") else None
        made = await self._run(
            self._accounts.create_key,
            call.tenant,
            kind=request.kind or KeyKind.NM,
            site_ids=list(request.sites),
            scopes=list(request.scopes) or [Scope.READ],
            expires_at=key_expiry(days),
        )
        return _new_key(made)

    async def ListKeys(self, request: pb.ListKeysRequest, call: Call) -> pb.ListKeysResponse:
        page = await self._run(
            self._accounts.list_keys, call.tenant, request.page_size, request.page_token
        )
        return pb.ListKeysResponse(
            keys=[_key(key) for key in page.items], next_page_token=page.next_token
        )

    async def RotateKey(self, request: pb.RotateKeyRequest, call: Call) -> pb.CreateKeyResponse:
        overlap = request.overlap_seconds if request.HasField("overlap_seconds") else None
        made = await self._run(
            self._accounts.rotate_key, request.id, call.tenant, overlap_s=overlap
        )
        return _new_key(made)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, call: Call) -> pb.ApiKey:
        key = await self._run(self._accounts.revoke_key, request.id, call.tenant)
        return _key(key)

    async def CreateSite(self, request: pb.CreateSiteRequest, call: Call) -> pb.Site:
        site = await self._run(
            self._accounts.create_site,
            call.tenant,
            request.host,
            request.timezone or "UTC",
            public=request.public,
        )
        return _site(site)

    async def ListSites(self, request: pb.ListSitesRequest, call: Call) -> pb.ListSitesResponse:
        page = await self._run(
            self._accounts.list_sites, call.tenant, request.page_size, request.page_token
        )
        return pb.ListSitesResponse(
            sites=[_site(site) for site in page.items], next_page_token=page.next_token
        )

    async def UpdateSite(self, request: pb.UpdateSiteRequest, call: Call) -> pb.Site:
        days = request.retention_days if request.HasField("retention_days") else None
        site = await self._run(
            self._accounts.update_site,
            call.tenant,
            request.id,
            public=request.public if request.HasField("public") else None,
            retention_days=days,
        )
        return _site(site)

    async def DeleteSite(self, request: pb.DeleteSiteRequest, call: Call) -> pb.DeleteSiteResponse:
        order = await self._run(self._accounts.delete_site, call.tenant, request.id)
        done = await self._removals.carried_out(order)
        return pb.DeleteSiteResponse(id=order.site_id, done=done)

    async def DeleteVisitor(
        self, request: pb.DeleteVisitorRequest, call: Call
    ) -> pb.DeleteVisitorResponse:
        order = await self._run(
            self._accounts.delete_visitor, call.tenant, request.site, request.visitor_id
        )
        return pb.DeleteVisitorResponse(done=await self._removals.carried_out(order))

    async def CreateMember(self, request: pb.CreateMemberRequest, call: Call) -> pb.Member:
        user = await self._run(
            self._accounts.create_user,
            call.tenant,
            request.email,
            request.password,
            request.role or Role.MEMBER,
        )
        return _member(user)

    async def ListMembers(
        self, request: pb.ListMembersRequest, call: Call
    ) -> pb.ListMembersResponse:
        page = await self._run(
            self._accounts.list_users, call.tenant, request.page_size, request.page_token
        )
        return pb.ListMembersResponse(
            members=[_member(user) for user in page.items], next_page_token=page.next_token
        )

    async def UpdateMember(self, request: pb.UpdateMemberRequest, call: Call) -> pb.Member:
        user = await self._run(
            self._accounts.update_user,
            call.tenant,
            request.id,
            role=request.role if request.HasField("role") else None,
            password=request.password if request.HasField("password") else None,
        )
        return _member(user)

    async def RemoveMember(self, request: pb.RemoveMemberRequest, call: Call) -> pb.Member:
        user = await self._run(self._accounts.remove_user, call.tenant, request.id)
        return _member(user)


def _new_key(made: NewKey) -> pb.CreateKeyResponse:
    return pb.CreateKeyResponse(id=made.key.id, key=made.text, details=_key(made.key))


def _key(key: ApiKey) -> pb.ApiKey:
    return pb.ApiKey(
        id=key.id,
        hint=key.hint,
        kind=key.kind,
        sites=sorted(key.site_ids),
        scopes=[scope for scope in Scope if scope in key.scopes],
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339(key.expires_at),
        revoked_at=rfc3339(key.revoked_at),
        last_used_at=rfc3339(key.last_used_at),
    )


def _site(site: Site) -> pb.Site:
    return pb.Site(
        id=site.id,
        host=site.host,
        timezone=site.timezone,
        public=site.public,
        retention_days=site.retention_days,
    )


def _member(user: User) -> pb.Member:
    return pb.Member(id=user.id, email=user.email, role=user.role)
