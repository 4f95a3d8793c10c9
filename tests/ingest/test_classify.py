"""Where visitors come from, by the table of cases in `cases/sources.toml`."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.ingest.columns import columns_of_documents
from footfall.ingest.enrich.classify import classify
from footfall.ingest.enrich.geo import NoGeo
from footfall.ingest.enrich.sources import CATALOGUE
from footfall.ingest.enrich.url import NO_CAMPAIGN, page_address
from footfall.ingest.model import Exclusion
from footfall.ingest.web_events import WEB_EVENT_FIELDS, web_event_batch
from tests.ingest.values import NOW_US, SALTS, SITE

TABLE = tomllib.loads((Path(__file__).parent / "cases" / "sources.toml").read_text("utf-8"))
EXCLUDED = {"": Exclusion.NONE, "bot": Exclusion.BOT, "spam": Exclusion.REFERRER_SPAM}
MEDIA = ("search", "ai", "email", "social", "paid", "referral")


def catalogue_file() -> dict[str, Any]:
    text = resources.files("footfall.ingest.enrich").joinpath("sources.toml").read_text("utf-8")
    return tomllib.loads(text)


def origin(referrer: str) -> tuple[str, str, str]:
    found = classify(referrer, NO_CAMPAIGN, SITE.host, SITE.host)
    return found.medium, found.source, found.detail


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{section}-{number}")
        for section, cases in TABLE["cases"].items()
        for number, case in enumerate(cases, 1)
    ],
)
def test_cases(case: list[str]) -> None:
    referrer, url, agent, medium, source, detail, excluded = case
    event = {
        "url": url if url.startswith("http") else f"https://{SITE.host}{url}",
        "referrer": referrer,
        "user_agent": TABLE["agents"][agent],
    }
    batch, rejected = web_event_batch(
        SITE,
        columns_of_documents([event], WEB_EVENT_FIELDS),
        idempotency_key=None,
        browser=None,
        salts=SALTS,
        geo=NoGeo(),
        now_us=NOW_US,
    )
    assert not rejected
    said = [batch.columns[name][0] for name in ("medium", "source", "source_detail", "excluded")]
    assert said == [medium, source, detail, EXCLUDED[excluded]], case


def test_the_table_covers_the_catalogue() -> None:
    cases = [case for section in TABLE["cases"].values() for case in section]
    assert len(cases) >= 150
    assert {case[2] for case in cases} == set(TABLE["agents"])
    assert {case[3] for case in cases} >= set(MEDIA)
    assert len({tuple(case[:3]) for case in cases}) == len(cases), "no case is there twice"


def test_referring_hosts() -> None:
    found = classify("https://www.Other.test/x", NO_CAMPAIGN, SITE.host, SITE.host)
    assert found.referrer_host == "www.other.test"
    assert classify("", NO_CAMPAIGN, SITE.host, SITE.host).referrer_host == ""


def test_every_entry_of_the_catalogue_is_found() -> None:
    data = catalogue_file()
    listed = []
    for medium in MEDIA:
        for entry in data[medium]:
            name = entry.get("name") or entry["hosts"][0]
            for host in entry.get("hosts", ()):
                for country in (".com", ".ch", ".co.uk") if host.endswith(".*") else ("",):
                    full = host.removesuffix(".*") + country
                    if full not in CATALOGUE.hosts or not country:
                        assert origin(f"https://{full}/")[:2] == (medium, name), full
            for label in entry.get("labels", ()):
                assert origin(f"https://{label}.some.test/")[:2] == (medium, name)
            for app in entry.get("apps", ()):
                assert origin(f"android-app://{app}/")[:2] == (medium, name), app
            for agent in entry.get("agents", ()):
                known = CATALOGUE.find_agent(f"Mozilla/5.0 (any) {agent}1.0")
                assert known is not None
                assert known[:2] == (medium, name), agent
            listed += [
                (kind, key)
                for kind in ("hosts", "labels", "apps", "agents", "aliases")
                for key in entry.get(kind, ())
            ]
            assert entry.keys() <= {"name", "hosts", "labels", "apps", "agents", "aliases"}
            assert (medium == "social") != ("name" in entry)
    assert len(listed) == len(set(listed)), "each is listed once"
    assert all(key == key.lower() for kind, key in listed if kind != "agents")


def test_spam_is_no_source_and_click_ids_are_named() -> None:
    data = catalogue_file()
    spam = data["spam"]["hosts"]
    assert len(spam) == len(set(spam))
    for host in spam:
        assert re.fullmatch(r"[a-z0-9*.-]+\.[a-z]+", host), host
        assert not host.startswith("www.")
        plain = host.replace("*", "7")
        assert classify(f"https://x.{plain}/", NO_CAMPAIGN, SITE.host, SITE.host).spam, host
        assert CATALOGUE.find_host(plain) is None
    assert not any(CATALOGUE.is_spam(host) for host in CATALOGUE.hosts)
    for name, entry in data["click_ids"].items():
        assert name == name.lower()
        assert entry["medium"] in {"", "paid", "social", "email"}
        assert bool(entry["medium"]) == bool(entry["source"])
        address = page_address(f"https://example.com/?{name.upper()}=1")
        assert address is not None
        assert address.path == "/"
        assert address.campaign.click_id == (name if entry["medium"] else "")


@given(
    st.text() | st.text("htps:/.goleac", max_size=40).map("https://".__add__),
    st.sampled_from([None, CATALOGUE.agents["Instagram "]]),
)
def test_any_referrer_has_an_origin(text: str, app: Any) -> None:
    for referrer in (text, "android-app://" + text, "ios-app://" + text + "x" * 9_000):
        found = classify(referrer, NO_CAMPAIGN, SITE.host, SITE.host, app)
        assert (found.medium, found.source) != ("", "") or SITE.host in referrer.lower()
        assert len(found.source) <= 253
        assert len(found.referrer_host) <= 253
