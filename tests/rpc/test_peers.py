"""Who the client is, behind proxies that are believed and others."""

from __future__ import annotations

from typing import Any

import pytest

from footfall.errors import InvalidInputError
from footfall.rpc.peers import Peers, parse_networks, peer_ip

TRUSTED = "10.0.0.0/8, 2001:db8::/32"


class Context:
    def __init__(self, peer: str) -> None:
        self._peer = peer

    def peer(self) -> str:
        return self._peer


def call(peer: str, **metadata: str) -> Any:
    made: Any = type("Call", (), {})()
    made.context = Context(peer)
    made.metadata = {key.replace("_", "-"): value for key, value in metadata.items()}
    return made


def client(peer: str, forwarded: str | None = None) -> str:
    metadata = {} if forwarded is None else {"x_forwarded_for": forwarded}
    return Peers(parse_networks(TRUSTED)).client_ip(call(peer, **metadata))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:50000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:50000", "::1"),
        ("ipv6:[2001:db8::1]:1", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1"),
        ("unix:", ""),
        ("unix:/run/s.sock", ""),
        # A socket of IPv6 that takes IPv4 as well.
        ("ipv6:%5B::ffff:10.1.2.3%5D:1", "10.1.2.3"),
    ],
)
def test_peers(peer: str, expected: str) -> None:
    assert peer_ip(peer) == expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # Nobody is believed but trusted networks and unix sockets.
        ("ipv4:198.51.100.7:1", "203.0.113.1", "198.51.100.7"),
        ("ipv4:10.1.2.3:1", "203.0.113.1", "203.0.113.1"),
        ("unix:", "203.0.113.1", "203.0.113.1"),
        ("ipv6:%5B2001:db8::9%5D:1", "2a00::1", "2a00::1"),
        # The rightmost address that is not a proxy of ours is the client; what it forged is left.
        ("unix:", "1.1.1.1, 203.0.113.1, 10.9.9.9", "203.0.113.1"),
        ("unix:", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("unix:", "203.0.113.1, garbage, 10.0.0.2", "10.0.0.2"),
        ("unix:", "203.0.113.1, ", ""),
        ("unix:", None, ""),
        ("ipv4:10.1.2.3:1", None, "10.1.2.3"),
        ("ipv6:%5B::ffff:10.1.2.3%5D:1", "203.0.113.1", "203.0.113.1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:1", "203.0.113.1", "192.0.2.1"),
        ("unix:", "203.0.113.1, ::ffff:10.9.9.9", "203.0.113.1"),
        # Some proxies tell ports.
        ("unix:", "203.0.113.1:4711, 10.9.9.9:80", "203.0.113.1"),
        ("unix:", "[2a00::1]:4711", "2a00::1"),
        ("unix:", "[2a00::1]", "2a00::1"),
        ("unix:", "10.0.0.1:x", ""),
    ],
)
def test_the_clients_address(peer: str, forwarded: str | None, expected: str) -> None:
    assert client(peer, forwarded) == expected


def test_the_country_header_is_the_proxys_alone() -> None:
    peers = Peers(parse_networks(TRUSTED), "X-Country")
    assert peers.country(call("unix:", x_country=" ch ")) == "CH"
    assert peers.country(call("ipv4:198.51.100.7:1", x_country="ch")) == ""
    assert Peers([], "").country(call("unix:", x_country="ch")) == ""


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ("203.0.113.1, 10.9.9.9", "CH"),
        # Who calls the gateway directly may have written anything.
        ("203.0.113.1", ""),
        ("10.9.9.9, 203.0.113.1", ""),
        ("10.9.9.9, garbage", ""),
        ("", ""),
    ],
)
def test_the_country_header_of_a_stranger_is_not_believed(forwarded: str, expected: str) -> None:
    peers = Peers(parse_networks(TRUSTED), "X-Country")
    told = call("unix:", x_country="ch", x_forwarded_for=forwarded)
    assert peers.country(told) == expected


def test_networks_that_are_none_are_named() -> None:
    assert [str(item) for item in parse_networks(" 10.1.2.3/8 ,, ::1 ")] == [
        "10.0.0.0/8",
        "::1/128",
    ]
    with pytest.raises(InvalidInputError, match=r"FOOTFALL_TRUSTED_PROXIES.*'example.com'"):
        parse_networks("example.com")
