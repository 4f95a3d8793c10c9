"""Access logs: formats, the page rule, and ids that make an import idempotent."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.ingest.page_rule import is_asset
from footfall.ingest.weblog import (
    LINE_BYTES_MAX,
    EventIds,
    LogLine,
    Skip,
    api_request,
    lines_of,
    page_view,
    parse_line,
    why_no_page_view,
)
from tests.ingest.logs import make_log

COMMON = b'192.0.2.1 - ann [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 203'
COMBINED = COMMON + b' "http://ref.example/" "UA/1 (x)"'
LINE = LogLine(
    host="192.0.2.1",
    user="ann",
    time_s=int(datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC).timestamp()),
    method="GET",
    target="/a?b=c",
    status=200,
    referrer="http://ref.example/",
    user_agent="UA/1 (x)",
    duration_us=0,
)
BARE = replace(LINE, referrer="", user_agent="")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (COMMON, BARE),
        (COMBINED, LINE),
        (COMBINED + b"\r\n", LINE),
        (COMMON + b" 1234", replace(BARE, duration_us=1234)),
        (COMBINED + b" 1234", replace(LINE, duration_us=1234)),
        (COMBINED + b" 0.005", replace(LINE, duration_us=5000)),
        (COMBINED + b" 12.3456789", replace(LINE, duration_us=12_345_678)),
        (COMBINED + b' "-"', LINE),
        (COMBINED + b' "203.0.113.1, 10.0.0.1" 77', replace(LINE, duration_us=77)),
        (COMBINED + b" 77 x", LINE),
        (b"www.example.com:443 " + COMBINED, LINE),
        (COMBINED.replace(b"192.0.2.1", b"2001:db8::1"), replace(LINE, host="2001:db8::1")),
        (COMBINED.replace(b" ann ", b" Ann Lee "), replace(LINE, user="Ann Lee")),
        (COMBINED.replace(b" ann ", b" - "), replace(LINE, user="")),
        (COMMON.replace(b" 203", b" -"), BARE),
        (COMMON + b' "-" "-"', BARE),
        # The last field may be cut off.
        (COMBINED[:-1], LINE),
        (COMBINED[:-4], replace(LINE, user_agent="UA/1 ")),
        (COMBINED.replace(b"+0000", b"+0230"), replace(LINE, time_s=LINE.time_s - 9000)),
        (COMBINED.replace(b"+0000", b"-0800"), replace(LINE, time_s=LINE.time_s + 28_800)),
        # Escapes, as Apache and nginx write them.
        (
            COMBINED.replace(b"UA/1", rb"\"U\\A\" \x22\xc3\xa9\t"),
            replace(LINE, user_agent='"U\\A" "é\t (x)'),
        ),
        (COMBINED.replace(b"UA/1", b"\xff\xc3\xa9"), replace(LINE, user_agent="\ufffdé (x)")),
        # Requests that are none.
        (COMBINED.replace(b"GET /a?b=c HTTP/1.1", b"-"), replace(LINE, method="", target="")),
        (
            COMBINED.replace(b"GET /a?b=c HTTP/1.1", rb"\x16\x03\x01"),
            replace(LINE, method="", target="\x16\x03\x01"),
        ),
        (COMBINED.replace(b" HTTP/1.1", b""), LINE),
        (COMBINED.replace(b"/a?b=c", b"/a b"), replace(LINE, target="/a b")),
        (COMBINED.replace(b"HTTP/1.1", b"HTTP/2"), LINE),
    ],
)
def test_lines(text: bytes, expected: LogLine) -> None:
    assert parse_line(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not a line of any log",
        COMMON[:-4],
        COMMON.replace(b"May", b"Mai"),
        COMMON.replace(b"17/May", b"31/Feb"),
        COMMON.replace(b":10:05:03", b":24:00:00"),
        COMMON.replace(b":10:05:03", b":10:60:03"),
        COMMON.replace(b"+0000", b"+9900"),
        COMMON.replace(b"200", b"2000"),
        COMMON.replace(b"[", b""),
        COMBINED + b"x" * LINE_BYTES_MAX,
        b"{}",
    ],
)
def test_malformed_lines(text: bytes) -> None:
    assert parse_line(text) is None


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_any_bytes_are_a_line_or_not(noise: bytes, start: int, end: int) -> None:
    for text in (noise, COMBINED[:start] + noise + COMBINED[end:]):
        line = parse_line(text)
        if line is not None:
            line.user_agent.encode()
            why_no_page_view(line)


@pytest.mark.parametrize("piece", [b"a ", b'"', b"\\", b"- ", b'\\"', b'" "', b"[", b"1:1 "])
def test_hostile_lines_end(piece: bytes) -> None:
    for head in (b"", COMMON[:10], COMMON[:20], COMMON + b' "'):
        text = head + piece * (LINE_BYTES_MAX // len(piece) - len(head))
        parse_line(text)


@pytest.mark.parametrize(
    ("target", "asset"),
    [
        ("/", False),
        ("/a", False),
        ("/a.b/c", False),
        ("/a.html", False),
        ("/a.php?x=y.png", False),
        ("/release-1.2", False),
        ("/a.", False),
        ("/.png", True),
        ("/a.png", True),
        ("/a.PNG?v=1", True),
        ("/a.tar.gz", True),
        ("/dir.css/a.js", True),
        ("/robots.txt", True),
        ("/feed.xml", True),
        ("", False),
    ],
)
def test_assets(target: str, asset: bool) -> None:
    assert is_asset(target) is asset


def test_events_of_a_line() -> None:
    assert page_view(LINE, "id", "example.com") == {
        "event_id": "id",
        "timestamp": float(LINE.time_s),
        "url": "https://example.com/a?b=c",
        "referrer": "http://ref.example/",
        "user_agent": "UA/1 (x)",
        "ip": "192.0.2.1",
    }
    absolute = replace(LINE, target="HTTP://other.test/x?y")
    assert page_view(absolute, "", "example.com")["url"] == "https://example.com/x?y"
    assert page_view(replace(LINE, target="x"), "", "e.com")["url"] == "https://e.com/x"
    assert api_request(replace(LINE, duration_us=5), "id") == {
        "event_id": "id",
        "timestamp": float(LINE.time_s),
        "consumer_id": "ann",
        "method": "GET",
        "url": "/a?b=c",
        "function": "",
        "response_us": 5,
        "status_code": 200,
    }


def test_every_line_of_a_log_has_one_verdict() -> None:
    log = make_log(1, 3000, malformed=50)
    verdicts: Counter[str] = Counter()
    for text in log.lines:
        line = parse_line(text)
        reason = Skip.MALFORMED if line is None else why_no_page_view(line)
        verdicts["page" if reason is None else reason.value] += 1
    assert verdicts == log.skipped + Counter(page=log.pages)


def next_id(ids: EventIds, target: bytes) -> str:
    """Return the id of a line that asks for a target."""
    text = COMMON.replace(b"/a?b=c", b"/" + target.strip()) + target[len(target.strip()) :]
    line = parse_line(text)
    assert line is not None
    return ids.next(line, text)


def test_ids_are_the_same_whenever_a_log_is_read() -> None:
    lines = [b"a", b"b", b"a", b"a\r", b"c", b"b"]
    ids, again, grown = EventIds(), EventIds(), EventIds()
    first = [next_id(ids, line) for line in lines]
    assert len(set(first)) == len(lines), "identical lines are different events"
    assert [next_id(again, line) for line in lines] == first
    assert [next_id(grown, line) for line in [*lines, b"a"]][:6] == first
    assert all(len(event_id) <= 128 for event_id in first)
    assert len({next_id(EventIds(), line) for line in (b"a", b"b", b"c")}) == 3


def test_no_address_is_found_by_trying_all() -> None:
    """Whoever has a stored id and all that is stored beside it is left with one in 256 of them."""
    tail = COMBINED.partition(b" ")[2] + b' "198.51.100.77"'
    ids = set()
    for number in range(20_000):
        text = b"192.0.%d.%d " % divmod(number, 256) + tail
        line = parse_line(text)
        assert line is not None
        ids.add(EventIds().next(line, text))
    assert len(ids) == 256


def test_ids_need_bounded_memory() -> None:
    ids = EventIds(nearby_lines=10)
    dice = random.Random(2)
    # Identical lines within the last ten different ones are always told apart.
    recent: list[bytes] = []
    seen: set[str] = set()
    for number in range(1000):
        line = dice.choice(recent) if recent and dice.random() < 0.5 else b"%d" % number
        recent = [*(old for old in recent if old != line), line][-10:]
        event_id = next_id(ids, line)
        assert event_id not in seen
        seen.add(event_id)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_lines_do_not_depend_on_blocks(content: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(content)]
    blocks = [content[a:b] for a, b in pairwise(edges)]
    expected = content.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert list(lines_of(blocks)) == expected


def test_an_endless_line_does_not_fill_the_memory() -> None:
    blocks = [b"a\n", *[b"x" * 1000] * 10_000, b"\nb"]
    first, middle, last = lines_of(blocks)
    assert (first, last) == (b"a", b"b")
    assert LINE_BYTES_MAX < len(middle) < 2 * LINE_BYTES_MAX
    assert parse_line(middle) is None
