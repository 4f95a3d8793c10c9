"""Where a visitor came from: medium, source and detail of a page view."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from footfall.ingest.enrich.sources import CATALOGUE, Known
from footfall.ingest.enrich.url import Campaign, host_of, same_site, without_www
from footfall.ingest.model import INTERNAL_MEDIUM

#: What a tagged link leaves unsaid.
NOT_SET = "(not set)"
#: An app's id is what browsers say of the app that opened them, as in android-app://ID/.
_APP = re.compile(r"(?:android|ios)-app://([a-zA-Z0-9._-]{1,253})(?:[/?#].*)?", re.DOTALL)
_CACHED_MAX = 512


class Origin(NamedTuple):
    """The source of a page view.

    Direct is ("(none)", "(direct)", ""), a link within the site ("", "", ""). `detail` is what is
    shown beneath the source: a referring host without "www.", or a campaign's name.
    `referrer_host` is "" unless the referrer is an absolute address or an app.
    """

    medium: str
    source: str
    detail: str
    referrer_host: str
    spam: bool


def classify(
    referrer: str, campaign: Campaign, page_host: str, site_host: str, app: Known | None = None
) -> Origin:
    """Return the origin of a page view; `app` is the app in whose own browser it was seen.

    Who tags a link knows best, so utm tags decide, then the advertisers' click ids, then a referrer
    that is known. Where there is none, the app does, since people mostly read in it what they
    were sent there; then the click ids that any link may carry. One that a newsletter's sender put
    there also says more than an unknown referrer.
    """
    if len(referrer) <= _CACHED_MAX:
        return _cached_origin(referrer, campaign, page_host, site_host, app)
    return _origin(referrer, campaign, page_host, site_host, app)


def _origin(
    referrer: str, campaign: Campaign, page_host: str, site_host: str, app: Known | None
) -> Origin:
    host, known, internal = _referrer(referrer, page_host, site_host)
    spam = bool(host) and CATALOGUE.is_spam(host)
    shown_host = "" if internal else without_www(host)
    clicked = CATALOGUE.click_ids.get(campaign.click_id)

    if campaign.source or campaign.medium:
        named = _tagged(campaign, clicked, shown_host)
    elif clicked is not None and clicked.medium == "paid":
        named = "paid", clicked.source, campaign.name or shown_host
    elif known is not None:
        named = known.medium, known.source, shown_host if known.nested else ""
    elif internal:
        named = INTERNAL_MEDIUM, "", ""
    elif app is not None and not host:
        named = app.medium, app.source, ""
    elif clicked is not None and (clicked.medium == "email" or not host):
        named = clicked.medium, clicked.source, campaign.name
    elif host:
        named = "referral", shown_host, ""
    else:
        named = "(none)", "(direct)", ""
    return Origin(*named, referrer_host=host, spam=spam)


def _tagged(campaign: Campaign, clicked: Known | None, shown_host: str) -> tuple[str, str, str]:
    """Return medium, source and detail of a link with a utm_source or a utm_medium."""
    if not campaign.medium:
        alias = CATALOGUE.aliases.get(campaign.source.lower())
        if alias is not None:
            return alias.medium, alias.source, campaign.name or shown_host
    medium = campaign.medium or (clicked.medium if clicked is not None else "")
    return medium or NOT_SET, campaign.source or NOT_SET, campaign.name


def _referrer(referrer: str, page_host: str, site_host: str) -> tuple[str, Known | None, bool]:
    """Return a referrer's host or app, what is known of it, and whether it is the site itself."""
    if not referrer:
        return "", None, False
    if match := _APP.fullmatch(referrer.strip()):
        app = match[1].lower()
        return app, CATALOGUE.apps.get(app), False
    host = host_of(referrer)
    if not host:
        return "", None, False
    if same_site(host, page_host) or same_site(host, site_host):
        return host, None, True
    return host, CATALOGUE.find_host(host), False


_cached_origin = lru_cache(maxsize=32_768)(_origin)
