"""A writer of small mmdb files, after the format's specification: an IPv4 tree with records of 24
bits, a data section, and the metadata.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def encoded(value: Any) -> bytes:
    """Return a value in the data section's encoding; for short texts and small maps."""
    if isinstance(value, str):
        data = value.encode()
        assert len(data) < 29 + 256
        if len(data) < 29:
            return bytes([2 << 5 | len(data)]) + data
        return bytes([2 << 5 | 29, len(data) - 29]) + data
    if isinstance(value, int):
        return bytes([6 << 5 | 4]) + value.to_bytes(4, "big")
    if isinstance(value, bytes):  # an unsigned integer of as many bytes: 16, or 64 bits
        return bytes([5 << 5 | 2] if len(value) == 2 else [8, 2]) + value
    if isinstance(value, list):
        return bytes([len(value), 4]) + b"".join(map(encoded, value))
    assert isinstance(value, Mapping)
    parts = [encoded(name) + encoded(member) for name, member in value.items()]
    return bytes([7 << 5 | len(parts)]) + b"".join(parts)


def write(path: Path, networks: Mapping[str, Any]) -> None:
    """Write a database that has these records for these IPv4 networks."""
    data = b""
    tree: list[list[int | None]] = [[None, None]]
    leaves: list[tuple[int, int, int]] = []
    for network, record in networks.items():
        parsed = ipaddress.IPv4Network(network)
        bits = f"{int(parsed.network_address):032b}"[: parsed.prefixlen]
        node = 0
        for bit in map(int, bits[:-1]):
            following = tree[node][bit]
            if following is None:
                tree.append([None, None])
                following = tree[node][bit] = len(tree) - 1
            node = following
        leaves.append((node, int(bits[-1]), len(data)))
        data += encoded(record)
    count = len(tree)
    for node, bit, offset in leaves:
        tree[node][bit] = count + 16 + offset
    search = b"".join(
        (count if record is None else record).to_bytes(3, "big")
        for node_records in tree
        for record in node_records
    )
    metadata = {
        "node_count": count,
        "record_size": (24).to_bytes(2, "big"),
        "ip_version": (4).to_bytes(2, "big"),
        "database_type": "Test",
        "binary_format_major_version": (2).to_bytes(2, "big"),
        "binary_format_minor_version": bytes(2),
        "build_epoch": (1).to_bytes(8, "big"),
        "languages": ["en"],
        "description": {"en": "for tests"},
    }
    path.write_bytes(search + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encoded(metadata))
