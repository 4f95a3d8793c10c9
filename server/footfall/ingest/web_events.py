"""Web events: from raw columns to an enriched batch of good events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from footfall.accounts.model import Site
from footfall.ingest.dedup import dedup_keys
from footfall.ingest.enrich.classify import classify
from footfall.ingest.enrich.geo import country_code
from footfall.ingest.enrich.url import NO_CAMPAIGN, PageAddress, page_address, page_id, same_site
from footfall.ingest.enrich.useragent import user_agent
from footfall.ingest.enrich.visitors import DaySalts, derive_visitor_ids
from footfall.ingest.model import (
    BrowserContext,
    EventBatch,
    EventTable,
    Exclusion,
    Page,
    RawColumns,
    RejectedEvent,
    WebEventKind,
)
from footfall.ingest.ports import GeoSource
from footfall.ingest.validate import (
    choice_column,
    number_column,
    object_column,
    text_column,
    time_column,
)
from footfall.ingest.verdicts import HOST_MISMATCH, Verdicts, judge_sizes, open_verdicts, shown

#: The texts of an event as it is sent, and how many characters each may have.
_TEXTS: Mapping[str, int] = {
    "event_id": 128,
    "url": 8192,
    "title": 1024,
    "author": 256,
    "pubdate": 64,
    "og_image": 2048,
    "referrer": 8192,
    "visitor_id": 128,
    "user_agent": 1024,
    "ip": 255,
    "country": 2,
    "city": 128,
    "language": 35,
    "timezone": 64,
    "screen": 32,
    "name": 256,
}

#: The fields of an event as it is sent; `columns_of_documents` takes them.
WEB_EVENT_FIELDS: Sequence[str] = (*_TEXTS, "type", "timestamp", "properties", "engaged_seconds")

#: The fields that a browser's request says better than its body.
_OF_THE_REQUEST = frozenset({"visitor_id", "user_agent", "ip", "timestamp"})

_PAGEVIEW, _HEARTBEAT, _CUSTOM = (
    kind.value for kind in (WebEventKind.PAGEVIEW, WebEventKind.HEARTBEAT, WebEventKind.CUSTOM)
)
_COUNTED, _BOT, _REFERRER_SPAM = (
    exclusion.value for exclusion in (Exclusion.NONE, Exclusion.BOT, Exclusion.REFERRER_SPAM)
)
_KINDS: Mapping[str, int] = {
    "": _PAGEVIEW,
    "pageview": _PAGEVIEW,
    "heartbeat": _HEARTBEAT,
    "custom": _CUSTOM,
}
_ENGAGED_S_MAX = 86_400
_NO_TEXTS = ("", "", "", "")
_NO_ADDRESS = PageAddress("", "", NO_CAMPAIGN)
_COUNTRY = re.compile(r"[A-Za-z]{2}", re.ASCII)
_EPOCH_ORDINAL = datetime(1970, 1, 1, tzinfo=UTC).toordinal()


class _Judged(NamedTuple):
    """The good events of a batch, and their places in it."""

    columns: dict[str, list[Any]]
    places: Sequence[int]


def web_event_batch(
    site: Site,
    raw: RawColumns,
    *,
    idempotency_key: str | None,
    browser: BrowserContext | None,
    salts: DaySalts,
    geo: GeoSource,
    now_us: int,
) -> tuple[EventBatch, Sequence[RejectedEvent]]:
    """Return the good events, enriched, and the bad ones.

    `now_us` is when the request arrived. Raises InvalidEventsError if no event is good,
    TooLargeError if there are too many.
    """
    verdicts = open_verdicts(raw)
    if browser is not None:
        raw = {name: column for name, column in raw.items() if name not in _OF_THE_REQUEST}
    good, places = _judge(site, raw, browser, verdicts, now_us)
    if browser is not None:
        good["user_agent"] = [browser.user_agent[:1024]] * len(places)
        good["ip"] = [browser.ip] * len(places)

    addresses: list[PageAddress] = good["address"]
    page_ids = [page_id(site.id, address.host, address.path) for address in addresses]
    agents = list(map(user_agent, good["user_agent"]))
    origins = [
        classify(referrer, address.campaign, address.host, site.host, agent.app)
        for referrer, address, agent in zip(good["referrer"], addresses, agents, strict=True)
    ]
    excluded = [
        _BOT if agent.bot else _REFERRER_SPAM if origin.spam else _COUNTED
        for agent, origin in zip(agents, origins, strict=True)
    ]
    countries, cities = _places(good, browser, geo)
    campaigns = [address.campaign for address in addresses]
    columns: dict[str, list[Any]] = {
        "event_id": good["event_id"],
        "ts_us": good["ts_us"],
        "local_day": local_days(site.timezone, good["ts_us"]),
        "kind": good["kind"],
        "excluded": excluded,
        "visitor_id": _visitor_ids(salts, site.id, good),
        "page_id": page_ids,
        "medium": [origin.medium for origin in origins],
        "source": [origin.source for origin in origins],
        "source_detail": [origin.detail for origin in origins],
        "referrer_host": [origin.referrer_host for origin in origins],
        "referrer": good["referrer"],
        "utm_source": [campaign.source for campaign in campaigns],
        "utm_medium": [campaign.medium for campaign in campaigns],
        "utm_campaign": [campaign.name for campaign in campaigns],
        "utm_term": [campaign.term for campaign in campaigns],
        "utm_content": [campaign.content for campaign in campaigns],
        "browser": [agent.browser for agent in agents],
        "os": [agent.os for agent in agents],
        "device": [agent.device for agent in agents],
        "country": countries,
        "city": cities,
        "language": good["language"],
        "timezone": good["timezone"],
        "screen": good["screen"],
        "name": good["name"],
        "properties": good["properties"],
        "engaged_s": good["engaged_s"],
    }
    batch = EventBatch(
        table=EventTable.WEB_EVENTS,
        tenant_id=site.id,
        received_us=now_us,
        columns=columns,
        dedup_keys=dedup_keys(site.id, columns["event_id"], places, idempotency_key),
        pages=_pages(site.id, page_ids, excluded, good),
        text_size=verdicts.text_size,
    )
    return batch, verdicts.rejected()


def local_days(timezone: str, times_us: Sequence[int]) -> list[int]:
    """Return the local day of each time, in days since the epoch, by the rules of the zone."""
    # Zones change on whole minutes, so that all times of a minute have the same day.
    return [_local_day(timezone, time_us // 60_000_000) for time_us in times_us]


def _judge(
    site: Site,
    raw: RawColumns,
    browser: BrowserContext | None,
    verdicts: Verdicts,
    now_us: int,
) -> _Judged:
    columns: dict[str, list[Any]] = {
        name: text_column(raw, name, limit, verdicts, required=name == "url")
        for name, limit in _TEXTS.items()
    }
    columns["kind"] = choice_column(raw, "type", _KINDS, verdicts)
    columns["ts_us"] = time_column(raw, "timestamp", verdicts, now_us)
    columns["properties"] = object_column(raw, "properties", verdicts)
    columns["engaged_s"] = number_column(raw, "engaged_seconds", _ENGAGED_S_MAX, verdicts)
    columns["address"] = _addresses(columns["url"], verdicts)
    if browser is not None:
        _judge_hosts(site, columns["address"], verdicts)
    _judge_countries(columns["country"], verdicts)
    _settle_kinds(columns, verdicts)
    judge_sizes(raw, WEB_EVENT_FIELDS, verdicts)
    places: Sequence[int] = range(verdicts.count)
    if verdicts:
        places = verdicts.good_indices()
        columns = {name: [column[at] for at in places] for name, column in columns.items()}
    return _Judged(columns, places)


def _addresses(urls: Sequence[str], verdicts: Verdicts) -> list[PageAddress]:
    addresses = list(map(page_address, urls))
    for index, address in enumerate(addresses):
        if address is None:
            verdicts.reject(
                index,
                "url",
                f"`url` must be an absolute http or https address, but is {shown(urls[index])}.",
            )
    return [address or _NO_ADDRESS for address in addresses]


def _judge_hosts(site: Site, addresses: Sequence[PageAddress], verdicts: Verdicts) -> None:
    strangers = {address.host for address in addresses if not same_site(address.host, site.host)}
    for index, address in enumerate(addresses) if strangers else ():
        if address.host in strangers:
            verdicts.reject(
                index,
                "url",
                f"`url` must be a page of {site.host}, but its host is {shown(address.host)}.",
                HOST_MISMATCH,
            )


def _judge_countries(countries: list[str], verdicts: Verdicts) -> None:
    for index, country in enumerate(countries):
        if country:
            if _COUNTRY.fullmatch(country):
                countries[index] = country.upper()
            else:
                verdicts.reject(
                    index,
                    "country",
                    f"`country` must be a two-letter ISO 3166 code, but is {shown(country)}.",
                )


def _settle_kinds(columns: dict[str, list[Any]], verdicts: Verdicts) -> None:
    """Keep of each event what belongs to its kind: name and properties are a custom event's,
    engaged time is a heartbeat's.
    """
    kinds, names = columns["kind"], columns["name"]
    if set(kinds) == {_PAGEVIEW}:
        columns["name"] = columns["properties"] = [""] * verdicts.count
        columns["engaged_s"] = [0.0] * verdicts.count
        return
    properties, engaged = columns["properties"], columns["engaged_s"]
    for index, kind in enumerate(kinds):
        if kind == _CUSTOM:
            if not names[index]:
                verdicts.reject(index, "name", "`name` is required for a custom event.")
        else:
            names[index] = properties[index] = ""
        if kind != _HEARTBEAT:
            engaged[index] = 0.0


def _visitor_ids(salts: DaySalts, site_id: str, good: Mapping[str, list[Any]]) -> list[str]:
    """Return the visitor ids that clients gave, and derived ones where they gave none."""
    ids: list[str] = good["visitor_id"]
    if all(ids):
        return ids
    derived = derive_visitor_ids(salts, site_id, good["ts_us"], good["ip"], good["user_agent"])
    return [given or made for given, made in zip(ids, derived, strict=True)]


def _places(
    good: Mapping[str, list[Any]], browser: BrowserContext | None, geo: GeoSource
) -> tuple[list[str], list[str]]:
    """Return countries and cities: the event's own, else those of its address, else the country
    that a trusted proxy saw.
    """
    countries, cities = list(good["country"]), list(good["city"])
    seen_by_proxy = country_code(browser.country) if browser is not None else ""
    for index, ip in enumerate(good["ip"]):
        if countries[index] and cities[index]:
            continue
        country, city = geo.locate(ip)
        if not countries[index]:
            countries[index] = country or seen_by_proxy
        # A city by address is right only in the country that the event itself names.
        if not cities[index] and country == countries[index]:
            cities[index] = city
    return countries, cities


def _pages(
    site_id: str, page_ids: Sequence[int], excluded: Sequence[int], good: Mapping[str, list[Any]]
) -> dict[int, Page]:
    """Return the pages of all counted events, described by the latest page view of each."""
    pages: dict[int, Page] = {}
    last_seen: dict[int, tuple[str, ...]] = {}
    texts = zip(good["title"], good["author"], good["pubdate"], good["og_image"], strict=True)
    for identity, exclusion, kind, address, described in zip(
        page_ids, excluded, good["kind"], good["address"], texts, strict=True
    ):
        if exclusion:
            continue
        seen = described if kind == _PAGEVIEW else _NO_TEXTS
        if last_seen.get(identity) == seen:
            continue
        last_seen[identity] = seen
        known = pages.get(identity)
        if known is not None:
            seen = (
                seen[0] or known.title,
                seen[1] or known.author,
                seen[2] or known.pubdate,
                seen[3] or known.og_image,
            )
        pages[identity] = Page(site_id, address.host, address.path, *seen)
    return pages


@lru_cache(maxsize=65_536)
def _local_day(timezone: str, minute: int) -> int:
    moment = datetime.fromtimestamp(minute * 60, ZoneInfo(timezone))
    return moment.toordinal() - _EPOCH_ORDINAL
