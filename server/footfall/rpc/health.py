"""Standard health checking: what each service needs decides whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

from footfall.errors import DeadlineError, FootfallError

#: Raises a FootfallError while what it asks does not answer.
Probe = Callable[[], Awaitable[None]]

INTERVAL_S = 1.0
#: A probe without an answer after this long is late, in seconds.
TIMEOUT_S = 2.0
#: A store that is busy answers late now and then; one that is late this often in a row is down.
LATE_MAX = 3

log = structlog.get_logger("footfall.health")

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Asks every probe once a second, and tells by service.

    The server as a whole (the service "") serves from its start until it drains: while a store is
    down, calls are answered with what is missing, which says more than no answer.
    """

    def __init__(self, probes: Mapping[str, Probe], needs: Mapping[str, Sequence[str]]) -> None:
        """`probes` by the name of what they ask; `needs` by service, the names that it needs."""
        self.servicer = HealthServicer()
        self._probes = probes
        self._needs = needs
        self._up: dict[str, bool] = {}
        self._late: dict[str, int] = dict.fromkeys(probes, 0)

    async def watch(self) -> None:
        """Probe until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(INTERVAL_S)

    async def probe(self) -> None:
        """Ask every probe once, and tell."""
        names = list(self._probes)
        answers = await asyncio.gather(*map(self._ask, names))
        for name, up in zip(names, answers, strict=True):
            if self._up.get(name) is not up:
                (log.info if up else log.warning)("store", store=name, up=up)
            self._up[name] = up
        for service, needed in self._needs.items():
            serves = all(self._up[name] for name in needed)
            await self.servicer.set(service, _SERVING if serves else _NOT_SERVING)

    async def drain(self) -> None:
        """Tell everybody, for good, that nothing is served any more."""
        await self.servicer.enter_graceful_shutdown()

    def up(self, name: str) -> bool:
        """Return whether a probe's last answer was good."""
        return self._up.get(name, False)

    async def _ask(self, name: str) -> bool:
        try:
            await asyncio.wait_for(self._probes[name](), TIMEOUT_S)
        except (DeadlineError, TimeoutError):
            self._late[name] += 1
            return self.up(name) and self._late[name] < LATE_MAX
        except FootfallError:
            return False
        except Exception:
            log.exception("probe_failed", store=name)
            return False
        self._late[name] = 0
        return True
