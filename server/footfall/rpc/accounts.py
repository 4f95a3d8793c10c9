"""AccountsService."""

from __future__ import annotations

import asyncio

from footfall.accounts.management import AccountManager
from footfall.rpc.call import Call
from footfall.v1 import accounts_pb2 as pb


class AccountsServicer:
    """What an account owns."""

    def __init__(self, accounts: AccountManager) -> None:
        self._accounts = accounts

    async def CreateApplication(
        self, request: pb.CreateApplicationRequest, call: Call
    ) -> pb.CreateApplicationResponse:
        made = await asyncio.to_thread(self._accounts.create_application, call.tenant, request.name)
        return pb.CreateApplicationResponse(
            id=made.application.id,
            name=made.application.name,
            write_key=made.write_key,
            read_key=made.read_key,
        )
