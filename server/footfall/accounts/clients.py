"""Client addresses, as what is counted for them may be called."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from footfall.accounts.salts import SaltCache

_DAY_S = 86_400
_DIGEST_BYTES = 16
#: The network that one subscriber has, by RFC 6177: within it addresses cost nothing.
_IPV6_PREFIX = 64


class ClientSubjects:
    """Makes subjects for rate limits of client addresses, which are stored nowhere.

    A subject holds a hash of the address, keyed with the UTC day's salt. The salt lies in another
    store and is forgotten after a day, so that nobody who reads the counters gets addresses by
    hashing all there are.
    """

    def __init__(self, salts: SaltCache, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._salts = salts
        self._wall_clock = wall_clock

    async def subjects(self, purpose: str, address: str, window_s: int) -> list[str]:
        """Return the subjects whose windows of `window_s` seconds a request must fit into.

        In the first window's length of a day these are two, the day before's as well: otherwise
        midnight would give everybody a second allowance. All addresses of an IPv6 /64 are one
        client. Raises UnavailableError.
        """
        client = _client(address).encode()
        now = self._wall_clock()
        days = {int(now) // _DAY_S, int(now - window_s) // _DAY_S}
        subjects = []
        for day in sorted(days, reverse=True):
            digest = hashlib.blake2b(
                client,
                key=await self._salts.fetch(day),
                digest_size=_DIGEST_BYTES,
                person=b"footfall-client",
            )
            subjects.append(f"client:{purpose}:{digest.hexdigest()}")
        return subjects


def _client(address: str) -> str:
    """Return what one client has in common: its address, or its IPv6 network; "" for "", which
    stands for all callers of this machine of whom nothing is told.
    """
    if not address:
        return ""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ip_network((ip, _IPV6_PREFIX), strict=False))
        ip = ip.ipv4_mapped
    return str(ip)
