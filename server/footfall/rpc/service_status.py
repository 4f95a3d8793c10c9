"""StatusService: how the service is, for people and monitors."""

from __future__ import annotations

import datetime as dt
from importlib.metadata import version

from footfall.rpc.call import TRANSCODED, Call
from footfall.rpc.health import Health
from footfall.v1 import status_pb2 as pb

#: The status that the gateway gives to an answer which is no failure of the call.
_UNWELL = ("footfall-status", "503")


class StatusServicer:
    """Tells what the probes of the stores last said; asking costs the stores nothing."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._version = version("footfall")

    async def GetStatus(
        self,
        request: pb.GetStatusRequest,  # noqa: ARG002  # empty
        call: Call,
    ) -> pb.GetStatusResponse:
        database = self._health.up("events") and self._health.up("accounts")
        redis = self._health.up("redis")
        call.headers.append(("cache-control", "no-store"))
        if not (database and redis) and TRANSCODED in call.metadata:
            call.headers.append(_UNWELL)
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        return pb.GetStatusResponse(
            success=database and redis,
            database=database,
            redis=redis,
            version=self._version,
            timestamp=now.replace("+00:00", "Z"),
        )
