"""The catalogue of known sources, read from `sources.toml` once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

#: What follows a name under any country's domain: ".ch", ".com", ".co.uk", ".com.br", and ".cat".
_COUNTRY_DOMAIN = re.compile(r"(?:com|cat|[a-z]{2}|(?:co|com)\.[a-z]{2})\Z")


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
    labels: Mapping[str, Known]
    apps: Mapping[str, Known]
    agents: Mapping[str, Known]
    aliases: Mapping[str, Known]
    click_ids: Mapping[str, Known]
    spam: frozenset[str]
    #: What matches any of `agents`.
    agent: re.Pattern[str]
    #: What matches the spam entries that stand for many hosts, and subdomains of those.
    spam_family: re.Pattern[str]

    def find_host(self, host: str) -> Known | None:
        """Return the source of a referring host in lower case: by its longest entry, by its name
        under a country's domain, or by its first label.
        """
        for domain in _domains(host):
            known = self.hosts.get(domain)
            if known is not None:
                return known
        bare = host.removeprefix("www.").removeprefix("m.")
        name = bare
        while name := name.rpartition(".")[0]:
            known = self.names.get(name)
            if known is not None and _COUNTRY_DOMAIN.match(bare[len(name) + 1 :]):
                return known
        label, _, domain = host.partition(".")
        return self.labels.get(label) if "." in domain else None

    def find_agent(self, user_agent: str) -> Known | None:
        """Return the app in whose browser a user agent runs, None if in none that is known."""
        match = self.agent.search(user_agent)
        return self.agents[match[0]] if match else None

    def is_spam(self, host: str) -> bool:
        """Whether a referring host, or a domain above it, is listed as spam."""
        return any(domain in self.spam for domain in _domains(host)) or bool(
            self.spam_family.fullmatch(host)
        )


def _domains(host: str) -> Iterator[str]:
    """Yield a host and the domains above it."""
    while host:
        yield host
        host = host.partition(".")[2]


def load_catalogue() -> Catalogue:
    """Read the data file that is installed beside this module."""
    text = resources.files(__package__).joinpath("sources.toml").read_text("utf-8")
    data: dict[str, Any] = tomllib.loads(text)
    found: dict[str, dict[str, Known]] = {
        "hosts": {},
        "names": {},
        "labels": {},
        "apps": {},
        "agents": {},
        "aliases": {},
    }
    for medium in ("search", "ai", "email", "social", "paid", "referral"):
        for entry in data[medium]:
            nested = medium not in ("social", "referral")
            known = Known(medium, entry.get("name") or entry["hosts"][0], nested)
            for host in entry.get("hosts", ()):
                if host.endswith(".*"):
                    found["names"][host.removesuffix(".*")] = known
                else:
                    found["hosts"][host] = known
            for kind in ("labels", "apps", "agents", "aliases"):
                found[kind].update(dict.fromkeys(entry.get(kind, ()), known))
    click_ids = {
        name: Known(entry["medium"], entry["source"], nested=True)
        for name, entry in data["click_ids"].items()
    }
    spam = data["spam"]["hosts"]
    families = [re.escape(host).replace(r"\*", "[a-z0-9-]*") for host in spam if "*" in host]
    return Catalogue(
        **found,
        click_ids=click_ids,
        spam=frozenset(host for host in spam if "*" not in host),
        agent=re.compile("|".join(map(re.escape, found["agents"]))),
        spam_family=re.compile(rf"(?:.*\.)?(?:{'|'.join(families)})"),
    )


CATALOGUE = load_catalogue()
