"""The catalogue of known sources, read from `sources.toml` once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

#: What follows a name under any country's domain: ".ch", ".com", ".co.uk", ".com.br".
_COUNTRY_DOMAIN = re.compile(r"(?:com|org|net|[a-z]{2}|(?:co|com)\.[a-z]{2})\Z")


class Known(NamedTuple):
    """A known source: its medium and its name; `nested` if hosts are shown beneath it."""

    medium: str
    source: str
    nested: bool


@dataclass(frozen=True)
class Catalogue:
    """Everything that the data file says, indexed for look-up."""

    hosts: Mapping[str, Known]
    names: Mapping[str, Known]
    apps: Mapping[str, Known]
    aliases: Mapping[str, Known]
    click_ids: Mapping[str, Known]
    spam: frozenset[str]

    def find_host(self, host: str) -> Known | None:
        """Return the source of a referring host in lower case: by its longest entry, and else by
        its name under a country's domain.
        """
        rest = host
        while rest:
            known = self.hosts.get(rest)
            if known is not None:
                return known
            rest = rest.partition(".")[2]
        bare = host.removeprefix("www.").removeprefix("m.")
        name = bare
        while name := name.rpartition(".")[0]:
            known = self.names.get(name)
            if known is not None and _COUNTRY_DOMAIN.match(bare[len(name) + 1 :]):
                return known
        return None

    def is_spam(self, host: str) -> bool:
        """Whether a referring host, or a domain above it, is listed as spam."""
        while host:
            if host in self.spam:
                return True
            host = host.partition(".")[2]
        return False


def load_catalogue() -> Catalogue:
    """Read the data file that is installed beside this module."""
    text = resources.files(__package__).joinpath("sources.toml").read_text("utf-8")
    data: dict[str, Any] = tomllib.loads(text)
    hosts: dict[str, Known] = {}
    names: dict[str, Known] = {}
    apps: dict[str, Known] = {}
    aliases: dict[str, Known] = {}
    for medium in ("search", "ai", "email", "social"):
        for entry in data[medium]:
            known = Known(medium, entry.get("name", entry["hosts"][0]), "name" in entry)
            for host in entry["hosts"]:
                if host.endswith(".*"):
                    names[host.removesuffix(".*")] = known
                else:
                    hosts[host] = known
            apps.update(dict.fromkeys(entry.get("apps", ()), known))
            aliases.update(dict.fromkeys(entry.get("aliases", ()), known))
    click_ids = {
        name: Known(entry["medium"], entry["source"], nested=True)
        for name, entry in data["click_ids"].items()
    }
    return Catalogue(hosts, names, apps, aliases, click_ids, frozenset(data["spam"]["hosts"]))


CATALOGUE = load_catalogue()
