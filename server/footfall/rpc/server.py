"""The gRPC server: listening, serving, draining."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from footfall.errors import InvalidInputError
from footfall.rpc.chain import Chain, Deadline, Middleware
from footfall.rpc.health import Health
from footfall.rpc.metrics import Metrics
from footfall.rpc.services import DESCRIPTORS, PACKAGE, add_servicers, methods

#: How long a load balancer has to see NOT_SERVING before new calls are refused, in seconds.
DRAIN_PAUSE_S = 0.3
#: How long calls that are given up have to tell their callers so, in seconds.
GIVE_UP_S = 1.0
#: Messages that are too large but no attack are told so in the family's words; beyond this factor
#: the transport refuses them.
OVERSIZE_FACTOR = 4
SEND_BYTES_MAX = 256 * 1024 * 1024
CONNECTION_AGE_MAX_MS = 3_600_000
#: Streams that live on an aged connection have this long to end, in milliseconds.
CONNECTION_AGE_GRACE_MS = 600_000
KEEPALIVE_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000
PING_INTERVAL_MIN_MS = 10_000
CONCURRENT_STREAMS_MAX = 2_000
METADATA_BYTES_MAX = 16 * 1024

log = structlog.get_logger("footfall.server")


class RpcServer:
    """Serves the services on their addresses, with health and reflection."""

    def __init__(
        self,
        servicers: Mapping[str, object],
        middlewares: Sequence[Middleware],
        health: Health,
        metrics: Metrics,
        *,
        message_bytes_max: int,
    ) -> None:
        self._health = health
        self._metrics = metrics
        self.chain = Chain(middlewares, methods())
        self._deadlines = [item for item in middlewares if isinstance(item, Deadline)]
        self._server = grpc.aio.server(
            interceptors=(self.chain,),
            options=(
                ("grpc.max_receive_message_length", OVERSIZE_FACTOR * message_bytes_max),
                ("grpc.max_send_message_length", SEND_BYTES_MAX),
                ("grpc.max_metadata_size", METADATA_BYTES_MAX),
                ("grpc.max_concurrent_streams", CONCURRENT_STREAMS_MAX),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_MS),
                ("grpc.max_connection_age_ms", CONNECTION_AGE_MAX_MS),
                ("grpc.max_connection_age_grace_ms", CONNECTION_AGE_GRACE_MS),
                # Two servers on one port would each have half of the calls.
                ("grpc.so_reuseport", 0),
            ),
        )
        add_servicers(self._server, servicers)
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, self._server)
        reflection.enable_server_reflection(
            (
                *(f"{PACKAGE}.{name}" for name in DESCRIPTORS),
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            ),
            self._server,
        )

    def listen(self, addresses: Sequence[str]) -> list[str]:
        """Bind `HOST:PORT` and `unix:PATH` addresses; return them with the ports that were picked
        for 0.

        Raises InvalidInputError for an address that cannot be bound.
        """
        bound = []
        for address in addresses:
            try:
                port = self._server.add_insecure_port(address)
            except RuntimeError:
                port = 0
            if not port:
                raise InvalidInputError(
                    f"Cannot listen on {address}: another process has it, or it is no address "
                    "of this machine."
                )
            if address.startswith("unix:"):
                # Whoever reaches the socket is believed about client addresses.
                Path(address.removeprefix("unix:")).chmod(0o600)
                bound.append(address)
            else:
                bound.append(f"{address.rpartition(':')[0]}:{port}")
        return bound

    async def start(self) -> None:
        """Begin to take calls."""
        await self._server.start()

    async def drain(self, draining: asyncio.Event, grace_s: float) -> None:
        """End gracefully: tell NOT_SERVING, refuse new calls, let those in flight finish for at
        most `grace_s`.

        `draining` is set for streams to see, which end by themselves.
        """
        await self._health.drain()
        await asyncio.sleep(DRAIN_PAUSE_S)
        draining.set()
        stopping = asyncio.ensure_future(self._server.stop(grace_s + GIVE_UP_S))
        await self._idle(grace_s)
        if self._metrics.in_flight:
            # What the transport cancels was never begun, the gateway believes, and repeats it.
            for deadline in self._deadlines:
                deadline.expire_all()
            await self._idle(GIVE_UP_S)
        # Health watches and reflection would keep the server up for the whole grace.
        await self._server.stop(None)
        await stopping

    async def _idle(self, timeout_s: float) -> None:
        """Return once no call is in flight, or when the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._metrics.in_flight:
                    await self._metrics.idle()
                    # A call that came in just before the stop may not have begun yet.
                    await asyncio.sleep(0.02)
