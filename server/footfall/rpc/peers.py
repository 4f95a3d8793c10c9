"""Where a call comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

from footfall.errors import InvalidInputError
from footfall.rpc.call import Call

Network = IPv4Network | IPv6Network

#: Where proxies say for whom they call, each at the end.
FORWARDED = "x-forwarded-for"

#: A hop: an address, of which some proxies tell the port as well.
_HOP = re.compile(r"(\d[\d.]+):\d+|\[([^]]+)\](?::\d+)?|(.+)", re.ASCII)


class Peers:
    """Tells a client's address from those of the proxies in between.

    Who may write `x-forwarded-for` is set by the operator: peers on a unix socket, which only the
    own gateway can reach, and the trusted networks. What anybody else writes there is not read.
    """

    def __init__(self, trusted: Sequence[Network], country_header: str = "") -> None:
        self._trusted = trusted
        self._country_header = country_header.strip().lower()

    def client_ip(self, call: Call) -> str:
        """Return the address of the caller, as far as proxies that are trusted tell; "" for a
        caller on a unix socket of whom nothing is told.
        """
        address = peer_ip(call.context.peer())
        if not self._is_trusted(address):
            return address
        for hop in _hops(call):
            if hop is None:
                # What is left of a hop that cannot be read is not to be believed.
                return address
            address = hop
            if not self._is_trusted(address):
                return address
        return address

    def country(self, call: Call) -> str:
        """Return what the operator's country header says, if a trusted proxy sent it, else "".

        The gateway passes on what it was sent, so that the peer is not enough: who called the
        gateway, the last hop, has to be a trusted proxy as well.
        """
        if not self._country_header or not self._is_trusted(peer_ip(call.context.peer())):
            return ""
        if FORWARDED in call.metadata:
            hop = next(_hops(call))
            if hop is None or not self._is_trusted(hop):
                return ""
        return call.metadata.get(self._country_header, "").strip().upper()

    def _is_trusted(self, address: str) -> bool:
        if not address:
            return True
        ip = ip_address(address)
        return any(ip in network for network in self._trusted)


def _hops(call: Call) -> Iterator[str | None]:
    """Yield the addresses in a call's `x-forwarded-for`, the last hop first; None for what is no
    address.
    """
    for hop in reversed(call.metadata.get(FORWARDED, "").split(",")):
        found = _HOP.fullmatch(hop.strip())
        yield None if found is None else _plain(found[1] or found[2] or found[3])


def _plain(text: str) -> str | None:
    """Return an address as networks have it, None for no address. One of IPv4 that came over a
    socket of IPv6 is what it was before.
    """
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip)


def peer_ip(peer: str) -> str:
    """Return the address in a peer's name (`ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5`), "" for a unix
    socket.
    """
    kind, _, rest = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return ""
    address = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    return _plain(address) or address


def parse_networks(text: str) -> list[Network]:
    """Return the networks of a list separated by commas; raises InvalidInputError."""
    networks: list[Network] = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ip_network(part, strict=False))
        except ValueError:
            raise InvalidInputError(
                f"FOOTFALL_TRUSTED_PROXIES must list networks such as 10.0.0.0/8, but has {part!r}."
            ) from None
    return networks
