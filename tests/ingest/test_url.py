"""Page addresses."""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.ingest.enrich.url import Campaign, host_of, page_address, page_id, same_site


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://example.com", "example.com", "/"),
        ("https://example.com/", "example.com", "/"),
        ("https://example.com//", "example.com", "/"),
        ("HTTPS://Example.COM/Path/", "example.com", "/Path"),
        ("https://example.com./a", "example.com", "/a"),
        ("https://example.com:8443/a", "example.com", "/a"),
        ("https://user:pass@example.com:1/a", "example.com", "/a"),
        ("https://example.com/a/#top", "example.com", "/a"),
        ("https://example.com#top", "example.com", "/"),
        ("https://example.com?x=1", "example.com", "/?x=1"),
        ("https://example.com/a/?x=1", "example.com", "/a?x=1"),
        ("https://example.com/a?", "example.com", "/a"),
        ("https://example.com/a?b=/c/", "example.com", "/a?b=/c/"),
        ("https://example.com/a?z=1&utm_source=x&a=2&a=1", "example.com", "/a?z=1&a=2&a=1"),
        ("https://example.com/a?UTM_Source=x&utm_id=7&fbclid=1&gclid=2", "example.com", "/a"),
        ("https://example.com/a?utm=1&xgclid=2", "example.com", "/a?utm=1&xgclid=2"),
        ("https://example.com/%E4%B8%AD/%2F?q=%20", "example.com", "/%E4%B8%AD/%2F?q=%20"),
        ("https://example.com/a b", "example.com", "/a%20b"),
        ("  https://example.com/a \n", "example.com", "/a"),
        ("https://münchen.example/ä", "münchen.example", "/ä"),
        ("https://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example", "/"),
        ("http://[2001:DB8::1]:80/x", "[2001:db8::1]", "/x"),
        ("http://127.0.0.1:8080/x", "127.0.0.1", "/x"),
        ("http://localhost/x", "localhost", "/x"),
    ],
)
def test_parts(url: str, host: str, path: str) -> None:
    address = page_address(url)
    assert address is not None
    assert (address.host, address.path) == (host, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "example.com/a",
        "//example.com/a",
        "ftp://example.com/",
        "javascript:alert(1)",
        "https://",
        "https:///a",
        "https://:80/",
        "https://./",
        "https://exa mple.com/",
        "https://example.com:port/",
        "https://exam<ple.com/",
        "https://[::1/",
        "https://example.com\\a",
        "https://example.com/a\x00b",
        "https://example.com/a\nb",
        "https://example.com/?a=\x7f",
        "https://" + "a" * 254 + "/",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_page(url: str) -> None:
    assert page_address(url) is None
    assert host_of(url) == "" or "\x00" in url or "\n" in url or "\x7f" in url


def test_campaign() -> None:
    address = page_address(
        "https://example.com/?utm_source=News+Letter&utm_medium=e%2Dmail&utm_campaign=%C3%A9t%C3%A9"
        "&utm_term=a%26b&utm_content=&utm_content=late&utm_source=second&gclid=&msclkid=7&gclid=8"
    )
    assert address is not None
    assert address.campaign == Campaign("News Letter", "e-mail", "été", "a&b", "late", "msclkid")
    assert address.path == "/"


def test_tags_are_bounded() -> None:
    address = page_address("https://example.com/?utm_source=" + "x" * 1000 + "%00%ff")
    assert address is not None
    assert address.campaign.source == "x" * 256


def test_page_id_is_a_digest() -> None:
    digest = blake2b("site\0host\0/päth".encode()).digest()[:8]
    assert page_id("site", "host", "/päth") == int.from_bytes(digest, "big", signed=True)
    assert page_id("site", "host", "/" + "x" * 2000) != page_id("site", "host", "/" + "x" * 1999)
    ids = {page_id(site, host, path) for site in "ab" for host in "ab" for path in ("/", "/a")}
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("host", "site", "same"),
    [
        ("example.com", "example.com", True),
        ("www.example.com", "example.com", True),
        ("example.com", "www.example.com", True),
        ("blog.example.com", "example.com", True),
        ("blog.example.com", "www.example.com", True),
        ("badexample.com", "example.com", False),
        ("example.com.evil.test", "example.com", False),
        ("example.org", "example.com", False),
        ("com", "example.com", False),
        ("", "example.com", False),
    ],
)
def test_same_site(host: str, site: str, same: bool) -> None:
    assert same_site(host, site) is same


@given(st.text() | st.text("htps:/?#[]@.&=%a0\\ \t\n_utm", max_size=60).map("https://".__add__))
def test_any_text_is_an_address_or_not(text: str) -> None:
    address = page_address(text)
    if address is not None:
        assert address.host == address.host.lower()
        assert address.path.startswith("/")
        assert "#" not in address.path
        again = page_address(f"https://{address.host}{address.path}")
        assert again is not None, "what was taken is an address"
        assert again.host == address.host


LABEL = st.text("abcdefghijklmnop0123456789-", min_size=1, max_size=10)


@given(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.lists(LABEL, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.lists(st.tuples(LABEL, LABEL), max_size=4),
)
def test_plain_addresses_agree_with_the_standard_library(
    host: str, path: str, query: list[tuple[str, str]]
) -> None:
    text = "&".join(f"x{name}={value}" for name, value in query)
    url = f"http://{host}{path}" + (f"?{text}" if text else "")
    parts = urlsplit(url)
    address = page_address(url)
    assert address is not None
    assert address.host == parts.hostname
    assert address.path == (parts.path.rstrip("/") or "/") + (f"?{parts.query}" if text else "")
