"""Country and city of an address, from a database file that the operator gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import maxminddb

from footfall.errors import InvalidInputError


class NoGeo:
    """Knows no place: the source without a database."""

    def locate(self, ip: str) -> tuple[str, str]:  # noqa: ARG002 - the Protocol's signature
        return "", ""


class MmdbGeo:
    """Looks addresses up in an mmdb file (MaxMind's format, which several vendors publish)."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises InvalidInputError if it cannot be read as a database."""
        try:
            self._reader = maxminddb.open_database(path)
        except (OSError, maxminddb.InvalidDatabaseError):
            raise InvalidInputError("FOOTFALL_GEO_DATABASE must be a readable mmdb file.") from None
        # Addresses live in this cache only, for as long as they are in use.
        self._located = lru_cache(maxsize=16_384)(self._lookup)

    def locate(self, ip: str) -> tuple[str, str]:
        """Return country code and city in English, "" where the file does not say or `ip` is no
        address.
        """
        return self._located(ip) if ip else ("", "")

    def close(self) -> None:
        self._reader.close()

    def _lookup(self, ip: str) -> tuple[str, str]:
        try:
            record = self._reader.get(ip)
        except (TypeError, ValueError, maxminddb.InvalidDatabaseError):
            return "", ""
        if not isinstance(record, Mapping):
            return "", ""
        return country_code(_country(record)), _city(record)


def country_code(text: str) -> str:
    """Return a two-letter country code in upper case, "" for anything else.

    XX and T1 are what proxies say of unknown places and of Tor.
    """
    code = text.strip().upper()
    known = len(code) == 2 and code.isascii() and code.isalpha() and code != "XX"
    return code if known else ""


def _country(record: Mapping[str, Any]) -> str:
    country = record.get("country", record.get("country_code", ""))
    if isinstance(country, Mapping):
        country = country.get("iso_code", "")
    return country if isinstance(country, str) else ""


def _city(record: Mapping[str, Any]) -> str:
    city = record.get("city", "")
    if isinstance(city, Mapping):
        names = city.get("names", {})
        city = names.get("en", "") if isinstance(names, Mapping) else ""
    return city[:128] if isinstance(city, str) else ""
