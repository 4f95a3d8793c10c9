"""Browser and device, place, and visitor of an event."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.errors import InvalidInputError, UnavailableError
from footfall.ingest.enrich.geo import MmdbGeo, country_code
from footfall.ingest.enrich.useragent import user_agent
from footfall.ingest.enrich.visitors import day_salts, derive_visitor_ids
from tests.ingest import mmdb
from tests.ingest.values import DAY_US, NOW_US, SALTS, TODAY, FixedSalts

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X)"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("text", "browser", "system", "device"),
    [
        ("", "", "", "other"),
        (f"{MAC} {WEBKIT} Chrome/124.0.0.0 Safari/537.36", "Chrome", "Mac OS X", "desktop"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/124.0.0.0 Safari/537.36 "
            "Edg/124.0",
            "Edge",
            "Windows",
            "desktop",
        ),
        (
            "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Tablet PC 2.0)",
            "IE",
            "Windows",
            "desktop",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
            "Firefox",
            "Ubuntu",
            "desktop",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/124.0.0.0 Safari/537.36",
            "Chrome",
            "Chrome OS",
            "desktop",
        ),
        (
            f"{IPHONE} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 "
            "Safari/604.1",
            "Mobile Safari",
            "iOS",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/124.0.0.0 Mobile "
            "Safari/537.36",
            "Chrome Mobile",
            "Android",
            "mobile",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 13; SM-X900) {WEBKIT} Chrome/124.0.0.0 Safari/537.36",
            "Chrome",
            "Android",
            "tablet",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) Version/12.1 Mobile/15E148 Safari/604.1",
            "Mobile Safari",
            "iOS",
            "tablet",
        ),
        (
            f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {WEBKIT} 76.0.3809.146/6.0 TV Safari/537.36",
            "Safari",
            "Tizen",
            "other",
        ),
        ("curl/8.5.0", "curl", "", "other"),
        ("whatever this is", "", "", "other"),
    ],
)
def test_user_agents(text: str, browser: str, system: str, device: str) -> None:
    found = user_agent(text)
    assert (found.os, found.device) == (system, device)
    if browser != "curl":
        assert found.browser == browser


@pytest.mark.parametrize(
    "text",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.1; "
        "+https://openai.com/gptbot)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/124.0.0.0 Safari/537.36",
        "curl/8.5.0",
    ],
)
def test_bots(text: str) -> None:
    assert user_agent(text).bot
    assert user_agent(text).device == "other"


def test_people_are_no_bots() -> None:
    assert not user_agent("").bot
    assert not user_agent(f"{MAC} {WEBKIT} Chrome/124.0.0.0 Safari/537.36").bot


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=1024))
def test_any_user_agent_is_read(text: str) -> None:
    found = user_agent(text)
    assert found.device in {"mobile", "desktop", "tablet", "other"}


def test_places_of_an_mmdb_file(tmp_path: Path) -> None:
    path = tmp_path / "places.mmdb"
    mmdb.write(
        path,
        {
            "192.0.2.0/24": {
                "country": {"iso_code": "CH"},
                "city": {"names": {"de": "Zürich", "en": "Zurich"}},
            },
            "198.51.100.7/32": {"country": {"iso_code": "DE"}},
            "203.0.113.0/25": {"country_code": "us", "city": "Boston"},
            "203.0.113.128/25": {"country": 7, "city": {"names": "odd"}},
        },
    )
    geo = MmdbGeo(path)
    assert geo.locate("192.0.2.200") == ("CH", "Zurich")
    assert geo.locate("198.51.100.7") == ("DE", "")
    assert geo.locate("203.0.113.1") == ("US", "Boston")
    for unknown in ("203.0.113.200", "198.51.100.8", "10.0.0.1", "", "host.example", "::1", "\0"):
        assert geo.locate(unknown) == ("", ""), unknown
    geo.close()


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "places.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="FOOTFALL_GEO_DATABASE"):
        MmdbGeo(path)


def test_country_codes() -> None:
    assert [country_code(text) for text in ("ch", " DE ", "XX", "T1", "", "USA", "éà", "1a")] == [
        "CH", "DE", "", "", "", "", "", "",
    ]  # fmt: skip


def derived(time_us: int, ip: str = "192.0.2.1", agent: str = "UA", site: str = "site") -> str:
    return derive_visitor_ids(SALTS, site, [time_us], [ip], [agent])[0]


def test_a_visitor_is_one_on_a_day_and_nobody_can_tell_who() -> None:
    salt = SALTS.by_day[TODAY]
    text = f"site\0{TODAY}\x00192.0.2.1\0UA".encode()
    assert derived(NOW_US) == blake2b(text, key=salt, digest_size=16).hexdigest()
    start = TODAY * DAY_US
    assert derived(start) == derived(start + DAY_US - 1)
    different = {
        derived(NOW_US),
        derived(start - 1),
        derived(start + DAY_US),
        derived(start - 2 * DAY_US),
        derived(start - 3 * DAY_US),
        derived(NOW_US, ip="192.0.2.2"),
        derived(NOW_US, agent="UA2"),
        derived(NOW_US, site="site2"),
    }
    assert len(different) == 8
    assert all(len(visitor) == 32 for visitor in different)


async def test_the_salts_of_a_day_are_those_beside_it() -> None:
    source = FixedSalts()
    found = await day_salts(source, NOW_US)
    assert found.by_day == {d: d.to_bytes(32, "big") for d in (TODAY - 1, TODAY, TODAY + 1)}
    assert await day_salts(source, TODAY * DAY_US) == found
    assert await day_salts(source, (TODAY + 1) * DAY_US - 1) == found
    following = await day_salts(source, (TODAY + 1) * DAY_US)
    assert set(following.by_day) == {TODAY, TODAY + 1, TODAY + 2}


async def test_salts_that_cannot_be_had() -> None:
    source = FixedSalts()
    source.down = True
    with pytest.raises(UnavailableError):
        await day_salts(source, NOW_US)
    source.down = False
    assert (await day_salts(source, NOW_US)).today == TODAY
