"""UsageService."""

from __future__ import annotations

import math

from footfall.accounts.usage import UsageService, WindowUse
from footfall.rpc.call import Call
from footfall.v1 import usage_pb2 as pb


class UsageServicer:
    """What an account has left."""

    def __init__(self, usage: UsageService) -> None:
        self._usage = usage

    async def GetUsage(
        self,
        request: pb.GetUsageRequest,  # noqa: ARG002  # empty
        call: Call,
    ) -> pb.GetUsageResponse:
        windows = await self._usage.windows(call.tenant)
        return pb.GetUsageResponse(
            success=True, plan=call.tenant.plan.name, windows=map(_window, windows)
        )


def _window(use: WindowUse) -> pb.UsageWindow:
    limit = use.window.limit
    return pb.UsageWindow(
        name=use.name,
        window_seconds=use.window.seconds,
        limit=limit,
        used=limit - use.remaining,
        remaining=use.remaining,
        reset=math.ceil(use.reset_at),
    )
