"""Where visitors come from."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.ingest.enrich.classify import classify
from footfall.ingest.enrich.url import NO_CAMPAIGN, page_address

SITE = "example.com"


def origin(referrer: str, query: str = "", page_host: str = SITE) -> tuple[str, str, str]:
    address = page_address(f"https://{page_host}/{query}")
    assert address is not None
    found = classify(referrer, address.campaign, address.host, SITE)
    return found.medium, found.source, found.detail


CASES = [
    # Direct and internal.
    ("", "", ("(none)", "(direct)", "")),
    ("not an address", "", ("(none)", "(direct)", "")),
    ("about:blank", "", ("(none)", "(direct)", "")),
    ("https://example.com/a", "", ("", "", "")),
    ("https://www.example.com/a", "", ("", "", "")),
    ("http://shop.example.com:8080/a", "", ("", "", "")),
    ("https://example.com.evil.test/", "", ("referral", "example.com.evil.test", "")),
    # Search, by country domains and names.
    ("https://www.google.com/", "", ("search", "Google Search", "google.com")),
    ("https://google.ch/search?q=x", "", ("search", "Google Search", "google.ch")),
    ("https://www.google.co.uk/url?sa=t", "", ("search", "Google Search", "google.co.uk")),
    ("https://www.google.com.br/", "", ("search", "Google Search", "google.com.br")),
    ("HTTPS://WWW.GOOGLE.DE/", "", ("search", "Google Search", "google.de")),
    ("https://images.google.fr/", "", ("search", "Google Search", "images.google.fr")),
    (
        "android-app://com.google.android.googlequicksearchbox/",
        "",
        ("search", "Google Search", "com.google.android.googlequicksearchbox"),
    ),
    ("https://news.google.com/", "", ("search", "Google News", "news.google.com")),
    ("https://www.bing.com/", "", ("search", "Bing", "bing.com")),
    ("https://cn.bing.com/search", "", ("search", "Bing", "cn.bing.com")),
    ("https://duckduckgo.com/", "", ("search", "DuckDuckGo", "duckduckgo.com")),
    ("https://html.duckduckgo.com/", "", ("search", "DuckDuckGo", "html.duckduckgo.com")),
    ("https://search.yahoo.com/", "", ("search", "Yahoo Search", "search.yahoo.com")),
    ("https://fr.search.yahoo.com/", "", ("search", "Yahoo Search", "fr.search.yahoo.com")),
    ("https://yandex.ru/", "", ("search", "Yandex", "yandex.ru")),
    ("https://yandex.com.tr/", "", ("search", "Yandex", "yandex.com.tr")),
    ("https://m.baidu.com/s", "", ("search", "Baidu", "m.baidu.com")),
    ("https://www.ecosia.org/", "", ("search", "Ecosia", "ecosia.org")),
    ("https://search.brave.com/", "", ("search", "Brave Search", "search.brave.com")),
    # What looks like an engine and is none.
    ("https://docs.google.com/d/1", "", ("referral", "docs.google.com", "")),
    ("https://google.evil.test/", "", ("referral", "google.evil.test", "")),
    ("https://notgoogle.com/", "", ("referral", "notgoogle.com", "")),
    ("https://google.com.evil.test/", "", ("referral", "google.com.evil.test", "")),
    ("https://naver.com/", "", ("referral", "naver.com", "")),
    # AI assistants.
    ("https://chatgpt.com/", "", ("ai", "ChatGPT", "chatgpt.com")),
    ("https://chat.openai.com/", "", ("ai", "ChatGPT", "chat.openai.com")),
    ("https://www.perplexity.ai/search", "", ("ai", "Perplexity", "perplexity.ai")),
    ("https://gemini.google.com/app", "", ("ai", "Gemini", "gemini.google.com")),
    ("https://copilot.microsoft.com/", "", ("ai", "Copilot", "copilot.microsoft.com")),
    ("https://claude.ai/chat", "", ("ai", "Claude", "claude.ai")),
    ("", "?utm_source=chatgpt.com", ("ai", "ChatGPT", "")),
    ("https://chatgpt.com/", "?utm_source=chatgpt.com", ("ai", "ChatGPT", "chatgpt.com")),
    # Social networks, by their first domain.
    ("https://www.facebook.com/", "", ("social", "facebook.com", "")),
    ("https://l.facebook.com/l.php", "", ("social", "facebook.com", "")),
    ("https://t.co/abc", "", ("social", "x.com", "")),
    ("https://lnkd.in/x", "", ("social", "linkedin.com", "")),
    ("https://old.reddit.com/r/x", "", ("social", "reddit.com", "")),
    ("https://news.ycombinator.com/item", "", ("social", "news.ycombinator.com", "")),
    ("https://www.pinterest.ch/", "", ("social", "pinterest.com", "")),
    ("android-app://com.linkedin.android/", "", ("social", "linkedin.com", "")),
    # Mail.
    ("https://mail.google.com/mail/u/0", "", ("email", "Gmail", "mail.google.com")),
    ("https://outlook.live.com/", "", ("email", "Outlook", "outlook.live.com")),
    ("android-app://com.google.android.gm", "", ("email", "Gmail", "com.google.android.gm")),
    # Others.
    ("https://www.other.test/page", "", ("referral", "other.test", "")),
    ("https://blog.other.test/", "", ("referral", "blog.other.test", "")),
    ("android-app://org.other.app/", "", ("referral", "org.other.app", "")),
    ("http://192.0.2.1/", "", ("referral", "192.0.2.1", "")),
    # Tagged campaigns win over referrers.
    (
        "https://www.google.com/",
        "?utm_source=morning&utm_medium=newsletter&utm_campaign=daily",
        ("newsletter", "morning", "daily"),
    ),
    ("https://example.com/", "?utm_source=a&utm_medium=b", ("b", "a", "")),
    ("", "?utm_medium=email", ("email", "(not set)", "")),
    ("", "?utm_source=partner", ("(not set)", "partner", "")),
    ("", "?utm_campaign=alone", ("(none)", "(direct)", "")),
    ("", "?utm_source=g&utm_medium=cpc&gclid=1", ("cpc", "g", "")),
    ("", "?utm_source=g&utm_campaign=c&gclid=1", ("paid", "g", "c")),
    ("", "?utm_source=chatgpt.com&utm_medium=cpc", ("cpc", "chatgpt.com", "")),
    # Click ids.
    ("https://www.google.com/", "?gclid=abc", ("paid", "Google Ads", "google.com")),
    ("", "?gclid=abc", ("paid", "Google Ads", "")),
    ("https://example.com/", "?gclid=abc", ("paid", "Google Ads", "")),
    ("", "?msclkid=abc", ("paid", "Microsoft Ads", "")),
    ("", "?gclid=", ("(none)", "(direct)", "")),
    ("", "?GCLID=x", ("paid", "Google Ads", "")),
    ("", "?fbclid=abc", ("social", "facebook.com", "")),
    ("https://l.instagram.com/", "?fbclid=abc", ("social", "instagram.com", "")),
    ("https://www.google.com/", "?fbclid=abc", ("search", "Google Search", "google.com")),
    ("https://example.com/", "?fbclid=abc", ("", "", "")),
    ("", "?mc_eid=abc", ("email", "Mailchimp", "")),
    ("", "?srsltid=abc", ("(none)", "(direct)", "")),
]


@pytest.mark.parametrize(("referrer", "query", "expected"), CASES)
def test_cases(referrer: str, query: str, expected: tuple[str, str, str]) -> None:
    assert origin(referrer, query) == expected


def test_referring_host_and_spam() -> None:
    found = classify("https://www.Semalt.com/x", NO_CAMPAIGN, SITE, SITE)
    assert (found.referrer_host, found.spam) == ("www.semalt.com", True)
    assert classify("https://a.b.semalt.com/", NO_CAMPAIGN, SITE, SITE).spam
    assert not classify("https://notsemalt.com/", NO_CAMPAIGN, SITE, SITE).spam
    tagged = page_address("https://example.com/?utm_source=a&utm_medium=b")
    assert tagged is not None
    assert classify("https://semalt.com/", tagged.campaign, SITE, SITE).spam
    assert classify("", NO_CAMPAIGN, SITE, SITE).referrer_host == ""


def test_the_page_may_be_on_a_host_of_its_own() -> None:
    assert origin("https://other.test/a", page_host="other.test") == ("", "", "")
    assert origin("https://example.com/a", page_host="other.test") == ("", "", "")


def test_the_data_file_is_consistent() -> None:
    text = resources.files("footfall.ingest.enrich").joinpath("sources.toml").read_text("utf-8")
    data = tomllib.loads(text)
    hosts: list[str] = []
    for section in ("search", "ai", "email", "social"):
        for entry in data[section]:
            hosts += entry["hosts"]
            assert (section == "social") != ("name" in entry)
    spam = data["spam"]["hosts"]
    for names in (hosts, spam):
        assert len(names) == len(set(names)), "a host is listed once"
        assert all(name == name.lower() and not name.startswith("www.") for name in names)
    assert not set(hosts) & set(spam)
    for section in ("search", "ai", "email", "social"):
        for entry in data[section]:
            host = entry["hosts"][0].replace(".*", ".com")
            expected = entry.get("name", host)
            assert origin(f"https://www.{host}/")[:2] == (section, expected)
    media = {entry["medium"] for entry in data["click_ids"].values()}
    assert media <= {"", "paid", "social", "email"}


@given(st.text(), st.text("htps:/.goleac", max_size=40))
def test_any_referrer_has_an_origin(text: str, tail: str) -> None:
    for referrer in (text, "https://" + tail, "android-app://" + text):
        medium, source, _ = origin(referrer)
        assert (medium, source) != ("", "") or "example.com" in referrer
