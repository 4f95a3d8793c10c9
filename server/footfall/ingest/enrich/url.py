"""Addresses of pages: host, path, campaign tags and click ids."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import unquote_plus

from footfall.ingest.enrich.sources import CATALOGUE

#: Longer addresses are not remembered, so that a cache's memory is bounded by its entries.
_CACHED_MAX = 512

_ABSOLUTE = re.compile(
    r"https?://([^/?#\\]+)((?:/[^?#]*)?)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE | re.DOTALL
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r":[0-9]*\Z")
_NOT_IN_HOST = re.compile(r"[\s\x00-\x1f\x7f%<>^`{|}\"'()*,;!$&+=@:]")
_IPV6 = re.compile(r"\[[0-9a-f:.]+\]\Z")


class Campaign(NamedTuple):
    """The `utm_*` tags of an address, "" where absent, and the name of the click id that
    says most: the first of an advertiser, else the first that names a source.
    """

    source: str = ""
    medium: str = ""
    name: str = ""
    term: str = ""
    content: str = ""
    click_id: str = ""


NO_CAMPAIGN = Campaign()

#: Tag → its member of Campaign; `utm_id` and others are taken out too, but not kept.
_TAGS = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
}
_TAG_MAX = 256


class PageAddress(NamedTuple):
    """Where a page is: `host` in lower case without a port, `path` with what remains of the query;
    and how the visitor was sent there.
    """

    host: str
    path: str
    campaign: Campaign


def page_address(url: str) -> PageAddress | None:
    """Return the parts of an absolute http or https address, or None if it is not one.

    The fragment, `utm_*` tags, click ids and trailing slashes are dropped; the order of the other
    parameters and all percent-encoding stay. Spaces, which clients should have encoded, are.
    """
    return _cached_address(url) if len(url) <= _CACHED_MAX else _parse(url)


def page_id(site_id: str, host: str, path: str) -> int:
    """Return the page's id: a signed 64-bit integer, the same on every server for ever."""
    if len(path) <= _CACHED_MAX:
        return _cached_page_id(site_id, host, path)
    return _page_id(site_id, host, path)


def host_of(url: str) -> str:
    """Return the host of an absolute http or https address in lower case, "" if it is not one."""
    match = _ABSOLUTE.fullmatch(url.strip())
    return _host(match[1]) if match else ""


def without_www(host: str) -> str:
    return host.removeprefix("www.")


def same_site(host: str, site_host: str) -> bool:
    """Whether `host` is the site's: equal but for "www.", or a subdomain of it."""
    host, site_host = without_www(host), without_www(site_host)
    return host == site_host or host.endswith("." + site_host)


def _parse(url: str) -> PageAddress | None:
    match = _ABSOLUTE.fullmatch(url.strip().replace(" ", "%20"))
    if match is None:
        return None
    host = _host(match[1])
    path = match[2].rstrip("/") or "/"
    if not host or _CONTROL.search(path):
        return None
    query = match[3]
    if not query:
        return PageAddress(host, path, NO_CAMPAIGN)
    if _CONTROL.search(query):
        return None
    kept, campaign = _split_query(query)
    return PageAddress(host, f"{path}?{kept}" if kept else path, campaign)


def _host(authority: str) -> str:
    """Return the host of an authority, "" if it is malformed."""
    host = _PORT.sub("", authority.rpartition("@")[2]).lower()
    if host.startswith("["):
        return host if _IPV6.match(host) else ""
    host = host.removesuffix(".")
    return "" if len(host) > 253 or _NOT_IN_HOST.search(host) else host


def _split_query(query: str) -> tuple[str, Campaign]:
    """Return what remains of a query, and what was taken out; the first tag of a name stands."""
    kept: list[str] = []
    tags = dict.fromkeys(_TAGS.values(), "")
    click_id, paid = "", False
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = name.lower()
        if name.startswith("utm_"):
            member = _TAGS.get(name)
            if member is not None and not tags[member]:
                tags[member] = _tag(value)
        elif (known := CATALOGUE.click_ids.get(name)) is not None:
            # An advertiser's id often comes after one that only cleans, or beside fbclid.
            if value and known.medium and (not click_id or (known.medium == "paid" and not paid)):
                click_id, paid = name, known.medium == "paid"
        else:
            kept.append(part)
    return "&".join(kept), Campaign(**tags, click_id=click_id)


def _tag(value: str) -> str:
    """Return a tag's value, decoded and bounded."""
    return unquote_plus(value, errors="replace").replace("\0", "\ufffd").strip()[:_TAG_MAX]


def _page_id(site_id: str, host: str, path: str) -> int:
    digest = blake2b(f"{site_id}\0{host}\0{path}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


_cached_address = lru_cache(maxsize=32_768)(_parse)
_cached_page_id = lru_cache(maxsize=65_536)(_page_id)
