"""Access logs of web servers: lines in the common and combined formats, as events.

Reads what Apache and nginx write by default, with further fields behind (as nginx's quoted
X-Forwarded-For). A last field that is a number is the duration: whole, it is Apache's %D in
microseconds; with a decimal point, nginx's $request_time in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from footfall.ingest.page_rule import is_asset

_QUOTED = rb'"((?:[^"\\]++|\\.)*+)"?'
# The quote that ends a line may be missing: writers are cut off, and what is there is good.
_LINE = re.compile(
    # Apache's vhost_combined puts host and port of the site in front.
    rb"(?:[^\s:]+:\d+ )?(?P<host>\S+) \S+ (?P<user>\S+(?: \S+)*?) "
    rb"\[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    + _QUOTED.replace(rb"((", rb"(?P<request>(")
    + rb" (?P<status>\d{3}) (?:\d+|-)"
    + rb"(?: "
    + _QUOTED.replace(rb"((", rb"(?P<referrer>(")
    + rb"(?: "
    + _QUOTED.replace(rb"((", rb"(?P<agent>(")
    + rb")?)?(?P<rest>(?: .*)?)",
    re.DOTALL,
)
_REQUEST = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+) (.+?)(?: HTTP/\d(?:\.\d)?)?", re.DOTALL)
_DURATION = re.compile(rb"(?:.* )?(?:(\d{1,15})|(\d{1,9})\.(\d{1,9}))", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"v": b"\v", b"f": b"\f"}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}

#: Longer lines are malformed.
LINE_BYTES_MAX = 64 * 1024
#: Lines between two identical ones, beyond which the second counts as the first one again: twice
#: as many digests are held. Identical lines have the same second, so they stand close together.
_NEARBY_LINES = 100_000


class Skip(StrEnum):
    """Why a line is no page view."""

    MALFORMED = "malformed"
    METHOD = "method"
    ERROR = "error"
    REDIRECT = "redirect"
    NOT_MODIFIED = "not_modified"
    INFORMATIONAL = "informational"
    ASSET = "asset"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A well-formed line; texts are unescaped, and "" where the log has "-"."""

    #: Address or name of the client.
    host: str
    user: str
    time_s: int
    #: "" with the whole request as target if the request is not well formed.
    method: str
    target: str
    status: int
    referrer: str
    user_agent: str
    #: 0 if the log does not have it.
    duration_us: int


def parse_line(line: bytes) -> LogLine | None:
    """Return what a line says, or None if it is in neither format."""
    if len(line) > LINE_BYTES_MAX:
        return None
    match = _LINE.fullmatch(line.rstrip(b"\r\n"))
    if match is None:
        return None
    try:
        time_s = _time_s(match["time"])
    except (ValueError, KeyError):
        return None
    request = _text(match["request"])
    parts = _REQUEST.fullmatch(request)
    method, target = (parts[1], parts[2]) if parts is not None else ("", request)
    return LogLine(
        host=_text(match["host"]),
        user=_text(match["user"]),
        time_s=time_s,
        method=method,
        target=target,
        status=int(match["status"]),
        referrer=_text(match["referrer"]),
        user_agent=_text(match["agent"]),
        duration_us=_duration_us(match["rest"]),
    )


def why_no_page_view(line: LogLine) -> Skip | None:
    """Return None for a successful GET of a page, else why the line is no page view."""
    if line.status >= 400:
        return Skip.ERROR
    if line.method != "GET":
        return Skip.METHOD
    if line.status == 304:
        return Skip.NOT_MODIFIED
    if line.status >= 300:
        return Skip.REDIRECT
    if line.status < 200:
        return Skip.INFORMATIONAL
    return Skip.ASSET if is_asset(path_of(line.target)) else None


def path_of(target: str) -> str:
    """Return path and query of a request's target, which a proxy's client sends as a whole URL."""
    if target.startswith("/"):
        return target
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in {"http", "https"}:
        return "/" + rest.partition("/")[2]
    return "/" + target


def page_view(line: LogLine, event_id: str, site_host: str) -> dict[str, Any]:
    """Return the line as a web event of a site; over-long texts of clients are cut."""
    return {
        "event_id": event_id,
        "timestamp": float(line.time_s),
        "url": f"https://{site_host}{path_of(line.target)}",
        "referrer": line.referrer[:8192],
        "user_agent": line.user_agent[:1024],
        "ip": line.host[:255],
    }


def api_request(line: LogLine, event_id: str) -> dict[str, Any]:
    """Return the line as an API request."""
    return {
        "event_id": event_id,
        "timestamp": float(line.time_s),
        "consumer_id": line.user[:256],
        "method": line.method[:32],
        "url": line.target[:8192],
        "function": "",
        "response_us": line.duration_us,
        "status_code": line.status,
    }


class EventIds:
    """Gives each line of a log an id: a digest of what it says, and how many identical ones stood
    before it. So a log has the same ids whenever it is read, and grown logs only add to them.
    Memory is bounded; one instance reads one log.

    Ids are stored, and nobody must find addresses by trying all there are. So of the client's
    address, and of all else that is not stored, the digest covers no more than eight bits: enough
    to tell lines of two servers' logs apart that differ in the address alone, nearly always.
    """

    def __init__(self, nearby_lines: int = _NEARBY_LINES) -> None:
        self._nearby_lines = nearby_lines
        self._recent: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def next(self, line: LogLine, text: bytes) -> str:
        """Return the id of the next line, which was read from the text."""
        says = (line.user, line.time_s, line.method, line.target, line.status, line.referrer)
        known = "\0".join(map(str, (*says, line.user_agent, line.duration_us)))
        eight_bits = blake2b(text.rstrip(b"\r\n"), digest_size=1).digest()
        digest = blake2b(known.encode() + eight_bits, digest_size=16).digest()
        before = self._recent.get(digest)
        if before is None:
            before = self._older.get(digest, 0)
            if len(self._recent) >= self._nearby_lines:
                self._older, self._recent = self._recent, {}
        self._recent[digest] = before + 1
        return f"{digest.hex()}.{before}"


def lines_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Return the lines of a byte stream, cut at line feeds. Of an over-long line, parts in the
    middle are left out, so that no input fills the memory; it is still long enough to be malformed.
    """
    rest = b""
    for block in blocks:
        *lines, tail = block.split(b"\n")
        if not lines:
            if len(rest) <= LINE_BYTES_MAX:
                rest += tail
            continue
        lines[0] = rest + lines[0]
        yield from lines
        rest = tail
    if rest:
        yield rest


def _text(field: bytes | None) -> str:
    if field is None or field == b"-":
        return ""
    if b"\\" in field:
        field = _ESCAPE.sub(_unescaped, field)
    return field.decode("utf-8", "replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes([int(match[1], 16)])
    return _ESCAPED.get(match[2], match[2])


def _time_s(text: bytes) -> int:
    """Return the seconds since the epoch of "17/May/2015:10:05:03 +0000"."""
    # Most lines have the second of the line before, or its hour.
    hour_s = _hour_s(text[:14], text[21:])
    minute, second = int(text[15:17]), int(text[18:20])
    if minute > 59 or second > 60:
        raise ValueError("no such time of day")
    return hour_s + 60 * minute + second


@lru_cache(maxsize=1024)
def _hour_s(hour: bytes, offset: bytes) -> int:
    """Return the seconds since the epoch of "17/May/2015:10" at "+0000"."""
    away = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    zone = timezone(-away if offset[:1] == b"-" else away) if away else UTC
    month = _MONTHS[hour[3:6].decode("ascii")]
    moment = datetime(int(hour[7:11]), month, int(hour[:2]), int(hour[12:14]), tzinfo=zone)
    return int(moment.timestamp())


def _duration_us(rest: bytes) -> int:
    match = _DURATION.fullmatch(rest) if rest else None
    if match is None:
        return 0
    if match[1] is not None:
        return int(match[1])
    return int(match[2]) * 1_000_000 + int((match[3] + b"000000")[:6])
