"""A made-up history of a site: what clients send, in the order in which they send it, and what is
true of it afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
DAY_US = 86_400 * SECOND_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
IPAD = IPHONE.replace("iPhone; CPU iPhone OS", "iPad; CPU OS")
INSTAGRAM = IPHONE.replace(
    "Version/17.5 Mobile/15E148 Safari/604.1", "Mobile/15E148 Instagram 334.0.4.32.98 (iPhone15,3)"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
DEVICES = {CHROME: "desktop", IPHONE: "mobile", IPAD: "tablet", INSTAGRAM: "mobile", "": "other"}

Origin = tuple[str, str, str]
DIRECT: Origin = ("(none)", "(direct)", "")
#: What brings a visitor: referrer, tags of the address, user agent, and what is to be said of it.
WAYS: tuple[tuple[str, str, str, Origin], ...] = (
    ("", "", CHROME, DIRECT),
    ("", "", "", DIRECT),
    ("https://www.google.com/", "", CHROME, ("search", "Google Search", "google.com")),
    ("https://www.google.ch/search?q=x", "", IPHONE, ("search", "Google Search", "google.ch")),
    ("https://www.google.com.au/", "", IPAD, ("search", "Google Search", "google.com.au")),
    ("https://www.bing.com/", "", CHROME, ("search", "Bing", "bing.com")),
    ("https://chatgpt.com/", "utm_source=chatgpt.com", CHROME, ("ai", "ChatGPT", "chatgpt.com")),
    ("https://l.facebook.com/", "fbclid=x", IPHONE, ("social", "facebook.com", "")),
    ("", "", INSTAGRAM, ("social", "instagram.com", "")),
    ("https://mail.google.com/", "", CHROME, ("email", "Gmail", "mail.google.com")),
    (
        "https://mail.google.com/",
        "utm_source=brief&utm_medium=newsletter&utm_campaign=daily",
        CHROME,
        ("newsletter", "brief", "daily"),
    ),
    (
        "",
        "utm_source=brief&utm_medium=newsletter&utm_campaign=weekly+%C3%A9t%C3%A9",
        IPHONE,
        ("newsletter", "brief", "weekly été"),
    ),
    ("", "gad_source=1&gclid=x", IPHONE, ("paid", "Google Ads", "")),
    ("https://news.example/a", "", CHROME, ("referral", "news.example", "")),
)
PLACES = (("CH", "Zürich"), ("CH", "Genève"), ("DE", "Köln"), ("DE", ""), ("JP", "東京"), ("", ""))

TITLES = ("Über alles", "日本語の見出し", "100% _wild_ <b>", "O'Reilly & Söhne", "Plain title", "")
AUTHORS = ("Zoë Müller", "Анна Ахматова", "", "José d'Árbol")


@dataclass(frozen=True, order=True)
class Page:
    path: str
    host: str
    title: str = field(compare=False)
    author: str = field(compare=False)
    pubdate: str = field(compare=False)
    image: str = field(compare=False)


@dataclass
class Fact:
    """A page view or heartbeat that counts."""

    at_us: int
    visitor: str
    page: Page
    view: bool
    described: bool = False
    engaged_us: int = 0
    #: None for a way within the site.
    origin: Origin | None = DIRECT
    device: str = "desktop"
    place: tuple[str, str] = ("", "")
    #: When it had arrived.
    arrived_us: int = 0


@dataclass
class Request:
    """A batch as it is sent, and what is to be answered."""

    events: list[Any] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    accepted: int = 0
    duplicates: int = 0
    rejected: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Item:
    """An event on its way: its document, and what it adds to the truth, if anything."""

    document: Any
    fact: Fact | None
    good: bool = True


def utc(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)


def midnight_us(zone: ZoneInfo, day: date) -> int:
    """Return when a local day begins; none of the zones here skips midnight."""
    began = datetime.combine(day, time(), zone).astimezone(UTC)
    return (began - EPOCH) // timedelta(microseconds=1)


def clock_changes(zone: ZoneInfo, first_us: int, last_us: int) -> list[int]:
    """Return the instants in between at which the zone's clock is put forward or back."""
    step = 15 * MINUTE_US
    times = range(first_us // step * step, last_us, step)
    offsets = [utc(at_us).astimezone(zone).utcoffset() for at_us in times]
    return [
        at_us
        for at_us, before, after in zip(times[1:], offsets, offsets[1:], strict=False)
        if before != after
    ]


class History:
    """What clients send to a site over some days until `now_us`.

    Page views come in visits with gaps of just under, just over and exactly 30 minutes, around
    midnights and around what the zone does to its clock; heartbeats, bots, referrer spam and custom
    events between them; some events twice, some late, some without an id, some bad, some ahead
    of their time.
    """

    def __init__(self, host: str, timezone: str, days: int, views: int, now_us: int) -> None:
        self.host = host
        self.zone = ZoneInfo(timezone)
        self.now_us = now_us
        self.first_us = now_us - days * DAY_US
        self._dice = random.Random(host + timezone)
        self._serial = 0
        self.pages = list(self._make_pages())
        self._weights = [1 / (rank + 2) for rank in range(len(self.pages))]
        self.changes = clock_changes(self.zone, self.first_us, now_us)
        past = self._out_of_order([*self._past(views)])
        live = [*self._live()]
        again = filter(_named, self._dice.sample(past, 50) + live[::7])
        self.requests = [*self._pack([*past, *live, *again])]

    def _make_pages(self) -> Iterator[Page]:
        dice = self._dice
        yield Page("/", self.host, "Home page", "", "", "https://img.example/home.jpg")
        paths = [f"/news/{number}" for number in range(60)]
        paths += ["/straße/ä", "/caf%C3%A9", "/read.php?id=7", "/read.php?id=8&x=%2F"]
        for path in paths:
            for host in (self.host, f"blog.{self.host}")[: 1 + (dice.random() < 0.2)]:
                # Titles with a number have pages of equal counts told apart by their path alone.
                yield Page(
                    path,
                    host,
                    dice.choice(TITLES),
                    dice.choice(AUTHORS),
                    dice.choice(("", "2026-01-02", "2026-01-02T03:04:05+05:45")),
                    dice.choice(("", f"https://img.example{path}.jpg")),
                )

    def _view(
        self, at_us: int, visitor: str, page: Page, told: Mapping[str, Any] = {}, **fact: Any
    ) -> Item:
        document = self._document(at_us, visitor, page, **told)
        described = "title" in document
        return Item(document, Fact(at_us, visitor, page, True, described, **fact))

    def _document(self, at_us: int, visitor: str, page: Page, **more: Any) -> dict[str, Any]:
        """Return a page view as one of many clients would put it."""
        dice = self._dice
        self._serial += 1
        document: dict[str, Any] = {
            "timestamp": self._timestamp(at_us),
            "url": self._address(page, more.pop("tags", "")),
            "visitor_id": visitor,
            "user_agent": CHROME,
        }
        if dice.random() < 0.9:
            document["event_id"] = f"é-{self._serial}"
        if more.pop("described", dice.random() < 0.8):
            document |= {"title": page.title, "author": page.author}
            document |= {"pubdate": page.pubdate, "og_image": page.image}
        return document | more

    def _timestamp(self, at_us: int) -> float | int | str:
        form = self._dice.randrange(4)
        if form == 0:
            return utc(at_us).astimezone(self.zone).isoformat(timespec="microseconds")
        if form == 1:
            return utc(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return at_us // SECOND_US if at_us % SECOND_US == 0 else at_us / SECOND_US

    def _address(self, page: Page, tags: str) -> str:
        dice = self._dice
        url = f"{dice.choice(('https', 'https', 'http'))}://{page.host}{page.path}"
        if "?" not in url and dice.random() < 0.3:
            url += "/"
        if not tags and dice.random() < 0.2:
            tags = dice.choice(("utm_content=x", "srsltid=1", "UTM_TERM=a%20b"))
        if tags:
            url += ("&" if "?" in url else "?") + tags
        return url + dice.choice(("", "", "#top", "#/a?b"))

    def _past(self, views: int) -> Iterator[Item]:
        """Yield events of which the last is old enough for nobody to be active."""
        latest = self.now_us - 20 * MINUTE_US
        today = utc(self.now_us).astimezone(self.zone).date()
        # A bot and a custom event come before everything, and begin no history.
        first = self._document(self.first_us - 2 * DAY_US, "v0", self.pages[0])
        yield Item(first | {"user_agent": GOOGLEBOT, "title": "Bot"}, None)
        yield Item(first | {"type": "custom", "name": "signup", "event_id": "custom"}, None)
        yield self._view(self.first_us, "v0", self.pages[0])
        made = 1
        while made < views:
            dice = self._dice
            near = dice.random()
            at_us = dice.randrange(self.first_us + DAY_US, latest)
            if near < 0.1:
                day = today - timedelta(days=dice.randrange((latest - self.first_us) // DAY_US))
                at_us = midnight_us(self.zone, day) + dice.randrange(-40, 10) * MINUTE_US
            elif near < 0.15 and self.changes:
                at_us = dice.choice(self.changes) + dice.randrange(-90, 90) * MINUTE_US
            elif near < 0.2:
                at_us -= at_us % (15 * MINUTE_US) - dice.choice((-1, 0, 1))
            elif near < 0.4:
                at_us = dice.randrange(self.now_us - 2 * DAY_US, latest)
            visitor = f"v{dice.randrange(views // 12)}"
            for _ in range(dice.choice((1, 1, 2, 3, 5, 9))):
                if not self.first_us < at_us < latest:
                    break
                made += 1
                yield from self._seen(at_us, visitor)
                at_us += dice.choice(
                    (
                        dice.randrange(5 * MINUTE_US),
                        dice.randrange(29 * MINUTE_US, 31 * MINUTE_US),
                        30 * MINUTE_US - 1,
                        30 * MINUTE_US,
                        30 * MINUTE_US + 1,
                        0,
                    )
                )

    def _seen(self, at_us: int, visitor: str) -> Iterator[Item]:
        """Yield a page view of the past, and what may come with it."""
        dice = self._dice
        page = dice.choices(self.pages, self._weights)[0]
        yield self._view(at_us, visitor, page)
        chance = dice.random()
        if chance < 0.3:
            engaged = dice.choice((0, 0.5, 15, 7.25, 12.345678, dice.randrange(1, 90)))
            at_us += dice.randrange(20 * SECOND_US)
            yield Item(
                self._document(at_us, visitor, page, type="heartbeat", engaged_seconds=engaged),
                Fact(at_us, visitor, page, False, engaged_us=round(engaged * SECOND_US)),
            )
        elif chance < 0.34:
            spam = {"referrer": "https://www.semalt.com/", "title": "Spam"}
            told = dice.choice((spam, {"user_agent": GOOGLEBOT, "title": "Bot"}))
            yield Item(self._document(at_us + 1, visitor, page, **told), None)
        elif chance < 0.36:
            yield Item(self._document(at_us, visitor, page, type="custom", name="click"), None)
        elif chance < 0.37:
            yield Item(self._document(at_us, visitor, page, country="Swiss"), None, good=False)

    def _live(self) -> Iterator[Item]:
        """Yield events of the last two minutes, of visitors who were not here before: the one that
        brings each comes first, the others in any order; and events ahead of their time.
        """
        dice = self._dice
        for number in range(110):
            referrer, tags, agent, origin = dice.choice(WAYS)
            place = dice.choice(PLACES)
            told = {"user_agent": agent, "country": place[0], "city": place[1], "described": True}
            fact = {"device": DEVICES[agent], "place": place}
            visitor = f"live-{number}"
            at_us = self.now_us - dice.randrange(60, 120) * SECOND_US
            page = dice.choice(self.pages)
            brought = {"referrer": referrer, "tags": tags}
            yield self._view(at_us, visitor, page, told | brought, origin=origin, **fact)
            later = []
            for _ in range(dice.randrange(4)):
                within = {"referrer": f"https://{page.host}{page.path}"}
                page = dice.choice(self.pages)
                at_us += dice.randrange(1, 15 * SECOND_US)
                later.append(self._view(at_us, visitor, page, told | within, origin=None, **fact))
                if dice.random() < 0.3:
                    at_us += SECOND_US
                    beat = self._document(
                        at_us, visitor, page, type="heartbeat", engaged_seconds=1, **told
                    )
                    seen = Fact(at_us, visitor, page, False, False, SECOND_US, None, **fact)
                    later.append(Item(beat, seen))
            yield from dice.sample(later, len(later))
        for number, ahead in enumerate((10 * MINUTE_US, DAY_US // 8, DAY_US - 5 * MINUTE_US)):
            told = {"described": True}
            yield self._view(self.now_us + ahead, f"ahead-{number}", self.pages[number], told)
        too_early = self._document(self.now_us + DAY_US + 10 * MINUTE_US, "v1", self.pages[0])
        yield Item(too_early, None, good=False)
        yield Item("no event", None, good=False)

    def _out_of_order(self, items: list[Item]) -> list[Item]:
        """Return the items by time, one in eight of them late, some of them twice."""
        dice = self._dice
        places: list[tuple[float, int, Item]] = []
        for number, item in enumerate(sorted(items, key=_time_of)):
            late = dice.randrange(2_000) if dice.random() < 0.125 else 0
            places.append((number + late, len(places), item))
            if dice.random() < 0.03 and _named(item):
                again = number + late + dice.choice((0.5, dice.randrange(3_000)))
                places.append((again, len(places), item))
        return [item for *_, item in sorted(places, key=lambda place: place[:2])]

    def _pack(self, items: list[Item]) -> Iterator[Request]:
        """Yield the items in requests of any size, with what is to be answered to each."""
        known: set[str] = set()
        at = 0
        while at < len(items):
            request = Request()
            size = self._dice.choice((1, 7, 100, 900, 2_500))
            for item in items[at : at + size]:
                event_id = item.document.get("event_id", "") if item.good else ""
                if not item.good:
                    request.rejected.append(len(request.events))
                elif event_id and event_id in known:
                    request.duplicates += 1
                else:
                    known.add(event_id)
                    request.accepted += 1
                    request.facts += [item.fact] if item.fact else []
                request.events.append(item.document)
            at += size
            # Nothing good in it would make it a bad request.
            if not (request.accepted or request.duplicates):
                request.events.append(
                    {"url": f"https://{self.host}/", "type": "custom", "name": "x"}
                )
                request.accepted = 1
            yield request


def _time_of(item: Item) -> float:
    stamp: float | int | str = item.document["timestamp"]
    return datetime.fromisoformat(stamp).timestamp() if isinstance(stamp, str) else stamp


def _named(item: Item) -> bool:
    """Whether it can be sent again and be known for what it is."""
    return item.good and "event_id" in item.document


def outcome(request: Request) -> Mapping[str, Any]:
    """Return what is to be answered, the rejected by their places alone."""
    return {
        "accepted": request.accepted,
        "duplicates": request.duplicates,
        "rejected": request.rejected,
    }
