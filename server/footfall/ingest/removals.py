"""Removing what is stored of sites and visitors: orders that somebody gave, and old days.

An order lies in the accounts store until it is carried out, so that whoever gives it needs no
server, and a server that ends over one goes on with it when it starts again. Carrying one out twice
is harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import structlog

from footfall.accounts.model import RemovalOrder, Site
from footfall.accounts.ports import AccountStore
from footfall.errors import FootfallError, UnavailableError
from footfall.ingest.model import Midnight, Removal

#: How soon an order that was given elsewhere is seen, in seconds.
LOOK_S: Final = 0.5
#: How soon a change of a retention period is seen, and a new day.
RETAIN_S: Final = 2.0
#: How long a caller waits for an order to be carried out.
PATIENCE_S: Final = 5.0

_EPOCH: Final = date(1970, 1, 1)

log = structlog.get_logger(__name__)


class Remover(Protocol):
    """Removes events in their turn; `GroupCommitter` is the one."""

    async def remove(self, removal: Removal) -> int: ...


#: Makes what remembers events besides the event store forget those that were removed from it. May
#: raise UnavailableError, and is called again then.
Forget = Callable[[Removal], Awaitable[None]]


class Removals:
    """Carries out orders and retention periods, for one event loop.

    Orders that are carried out are kept in the store for `keep_s` seconds, in which other servers
    see them and forget what they remember. `clock` returns seconds since the epoch.
    """

    def __init__(
        self,
        store: AccountStore,
        remover: Remover,
        forget: Sequence[Forget] = (),
        *,
        keep_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._remover = remover
        self._forget = forget
        self._keep_s = keep_s
        self._clock = clock
        self._wake = asyncio.Event()
        #: Orders that this process has carried out and the store still has.
        self._done: set[str] = set()
        self._waiters: dict[str, asyncio.Event] = {}
        #: The first day that is kept of each site with a retention period, as far as it is done.
        self._retained: dict[str, Midnight] = {}
        self._retain_after = 0.0

    async def run(self) -> None:
        """Carry out what there is and what comes, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except FootfallError as error:
                log.warning("removals_put_off", reason=error.reason)
            except Exception:
                log.exception("removals_failed")
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Carry out what there is now; raises UnavailableError if the accounts store does not
        answer. An order that cannot be carried out is tried again, and holds up no other.
        """
        orders = await asyncio.to_thread(self._store.removal_orders)
        self._done &= {order.id for order in orders}
        for order in orders:
            if order.id in self._done:
                continue
            try:
                await self._carry_out(order)
            except UnavailableError as error:
                log.warning("removal_put_off", site_id=order.site_id, reason=error.reason)
        if time.monotonic() >= self._retain_after:
            await self._retain()
            self._retain_after = time.monotonic() + RETAIN_S

    async def carried_out(self, order: RemovalOrder, patience_s: float = PATIENCE_S) -> bool:
        """Wait until an order that was just given is carried out; returns whether it is."""
        done = self._waiters.setdefault(order.id, asyncio.Event())
        self._wake.set()
        try:
            async with asyncio.timeout(patience_s):
                await done.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters.pop(order.id, None)
        return True

    async def _carry_out(self, order: RemovalOrder) -> None:
        removal = Removal(order.site_id, order.visitor_id)
        events = await self._remove(removal)
        await asyncio.to_thread(self._store.finish_removal, order.id, self._keep_s)
        self._done.add(order.id)
        if order.id in self._waiters:
            self._waiters[order.id].set()
        what = "site" if removal.of_site else "visitor"
        log.info("removed", what=what, site_id=order.site_id, events=events)

    async def _remove(self, removal: Removal) -> int:
        events = await self._remover.remove(removal)
        for forget in self._forget:
            await forget(removal)
        return events

    async def _retain(self) -> None:
        """Remove what sites do not want to keep any longer, once a day and site."""
        sites = await asyncio.to_thread(self._store.sites_with_retention)
        kept = {site.id for site in sites}
        self._retained = {id_: day for id_, day in self._retained.items() if id_ in kept}
        for site in sites:
            first = first_kept(site, self._clock())
            if self._retained.get(site.id) == first:
                continue
            events = await self._remove(Removal(site.id, before=first))
            self._retained[site.id] = first
            if events:
                log.info("removed", what="old days", site_id=site.id, events=events)


def first_kept(site: Site, now_s: float) -> Midnight:
    """Return the beginning of the first local day that a site with a retention period keeps."""
    zone = ZoneInfo(site.timezone)
    today = datetime.fromtimestamp(now_s, zone).date()
    first = max(today - timedelta(days=site.retention_days or 0), _EPOCH)
    # A midnight that the clock skips is the moment at which it does.
    begins = datetime(first.year, first.month, first.day, tzinfo=zone)
    return Midnight((first - _EPOCH).days, int(begins.astimezone(UTC).timestamp()) * 1_000_000)
