"""Live state of sites in Redis: counted as events come, so that a read costs the same at any size.

Each site's keys lie in one hash slot and are moved by scripts, which keep every number equal to a
recount (see `scripts/presence.lua`). A site's state is whole or absent: its generation key says
which, and a rebuild takes it away from everyone else until it is done.

The server must not evict keys (`maxmemory-policy noeviction`): a site that lost one of its keys
would count wrongly.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import orjson

from footfall.analytics.model import LiveCounts, LivePage, SourceCount
from footfall.live.batch import DIRECT, LiveBatch, read_page_key
from footfall.live.connection import RedisConnection, Script, connect, unavailable

_APPLY = Script("presence", "apply")
_SNAPSHOT = Script("presence", "snapshot")
_BEGIN = Script("begin")
_FINISH = Script("finish")

#: Visitors that one call takes out at most: a few milliseconds of Redis's time.
_SWEEP_VISITORS_MAX = 250
_PAGES_MAX = 50
#: Days of sites whose last counts are kept, in case the next read finds them unchanged.
_KNOWN_MAX = 256

#: A local day has up to 25 hours, and the first of its events may be stamped a day ahead.
_DAY_TTL_MS = 50 * 3600 * 1000
#: How long a builder may be silent before another one may take over.
_LEASE_MS = 15_000


@dataclass(frozen=True, slots=True)
class Generation:
    """The life of a site's state from one rebuild to the next."""

    token: str
    #: The sequence number up to which the rebuild has seen the events, or None while it is at it.
    through_seq: int | None

    @classmethod
    def read(cls, text: bytes) -> Generation | None:
        """Return the generation that a script found; None if the site has no state."""
        kind, _, rest = text.decode().partition(":")
        token, _, through = rest.partition(":")
        if kind == "r":
            return cls(token, int(through))
        return cls(token, None) if kind == "b" else None

    @property
    def text(self) -> str:
        if self.through_seq is None:
            return f"b:{self.token}"
        return f"r:{self.token}:{self.through_seq}"


class MovedOnError(Exception):
    """The site's state is not of the caller's generation; `found` is the one there, if any."""

    def __init__(self, found: Generation | None) -> None:
        super().__init__("The site's live state is of another generation.")
        self.found = found


class Freshness(Protocol):
    """Knows whether this process has brought a site's state up to date."""

    async def ensure(self, site_id: str) -> None:
        """Return when the site's state is up to date; raise UnavailableError if that takes long."""

    def lost(self, site_id: str, found: Generation | None) -> None:
        """Take note that the site's state is gone, or another process's (`found`)."""


@lru_cache(maxsize=4096)
def _presence_keys(site_id: str) -> tuple[str, ...]:
    names = ("gen", "seen", "state", "pages", "epoch")
    counts = ("sources", "devices", "countries", "cities", "version")
    return tuple(f"ff:live1:{{{site_id}}}:{name}" for name in (*names, *counts))


def _lease_key(site_id: str) -> str:
    return f"ff:live1:{{{site_id}}}:lease"


@lru_cache(maxsize=4096)
def _day_keys(site_id: str, local_day: int) -> tuple[str, ...]:
    names = ("total", "views", "visitors", "texts")
    return tuple(f"ff:live1:{{{site_id}}}:{local_day}:{name}" for name in names)


class LiveStateStore:
    """Reads and moves live state; `window_s` is the length of the live window.

    A visitor is active from a page view or heartbeat until `window_s` seconds after it. Reads are
    exact and of one moment. Without a `freshness`, reads go by the state's generation alone.
    """

    def __init__(self, redis: RedisConnection | str, window_s: int = 300) -> None:
        self.redis = connect(redis)
        self.window_ms = window_s * 1000
        self.freshness: Freshness | None = None
        #: The last counts that were read of a site's day, and their version; oldest first.
        self._known: dict[tuple[str, int], tuple[bytes, LiveCounts]] = {}

    async def snapshot(self, site_id: str, now_ms: int, local_day: int) -> LiveCounts:
        """Return the site's counts at `now_ms`, today's being those of `local_day`.

        Raises UnavailableError (REDIS_UNAVAILABLE) if they cannot be had or are not up to date.
        """
        for _ in range(2):
            if self.freshness is not None:
                await self.freshness.ensure(site_id)
            version, counts = self._known.get((site_id, local_day), (b"", None))
            reply = await self._read(site_id, now_ms, local_day, version)
            if reply[0] == 3 and counts is not None:
                return counts
            if reply[0] == 1:
                counts = _counts(reply)
                self._remember((site_id, local_day), reply[1], counts)
                return counts
            if self.freshness is None:
                break
            self.freshness.lost(site_id, Generation.read(reply[1]))
        raise unavailable()

    def _remember(self, site_day: tuple[str, int], version: bytes, counts: LiveCounts) -> None:
        self._known.pop(site_day, None)
        self._known[site_day] = version, counts
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]

    async def _read(self, site_id: str, now_ms: int, local_day: int, version: bytes) -> list[Any]:
        keys = (
            *_presence_keys(site_id),
            *_day_keys(site_id, local_day),
            _day_keys(site_id, local_day - 1)[3],
        )
        while True:
            args = (*self._head(now_ms), _PAGES_MAX, version)
            reply: list[Any] = await self.redis.run(_SNAPSHOT, keys, args)
            if reply[0] != 2:
                return reply

    def _head(self, now_ms: int) -> tuple[str | int, ...]:
        """Return the arguments of `presence.lua`, the last of them the next epoch's text."""
        return (now_ms, self.window_ms, _SWEEP_VISITORS_MAX, secrets.token_hex(8))

    async def ping(self) -> None:
        """Raise UnavailableError unless Redis answers."""
        await self.redis.ping()

    async def apply(
        self, site_id: str, generation: Generation, batch: LiveBatch, now_ms: int
    ) -> None:
        """Move the site's state by the batch, all of it or nothing.

        Raises MovedOnError, with nothing changed, if the state is of another generation. After
        UnavailableError it is unknown whether the batch was applied.
        """
        keys = [*_presence_keys(site_id), _lease_key(site_id)]
        args: list[str | bytes | int] = [
            *self._head(now_ms),
            generation.text,
            DIRECT,
            _DAY_TTL_MS,
            _LEASE_MS if generation.through_seq is None else 0,
            batch.encode_presence(),
        ]
        for local_day, counts in batch.days.items():
            keys += _day_keys(site_id, local_day)
            args.append(counts.encode())
        reply = await self.redis.run(_APPLY, keys, args, bulk=True)
        if reply[0] != 1:
            raise MovedOnError(Generation.read(reply[1]))

    async def erase(self, site_id: str) -> None:
        """Delete all that there is of a site."""
        for site_day in [site_day for site_day in self._known if site_day[0] == site_id]:
            del self._known[site_day]
        await self.redis.erase(f"ff:live1:{{{site_id}}}:*")

    async def generation(self, site_id: str) -> Generation | None:
        """Return the generation of the site's state, or None if it has no state."""
        text = await self.redis.command("GET", _presence_keys(site_id)[0])
        return Generation.read(text or b"")

    async def begin(self, site_id: str, token: str, local_days: Sequence[int]) -> Generation | None:
        """Empty the site's state for a rebuild under this token, the counters of the days too.

        Returns None while another builder is at work. The lease lasts while batches are applied.
        """
        generation, *presence = _presence_keys(site_id)
        days = itertools.chain.from_iterable(_day_keys(site_id, day) for day in local_days)
        keys = [generation, _lease_key(site_id), *presence, *days]
        done = await self.redis.run(_BEGIN, keys, (token, _LEASE_MS, _DAY_TTL_MS), bulk=True)
        return Generation(token, None) if done else None

    async def finish(
        self, site_id: str, generation: Generation, through_seq: int
    ) -> Generation | None:
        """Make the rebuilt state readable; None if another builder has taken over since."""
        keys = (_presence_keys(site_id)[0], _lease_key(site_id))
        done = await self.redis.run(
            _FINISH, keys, (generation.token, through_seq, _DAY_TTL_MS), bulk=True
        )
        return Generation(generation.token, through_seq) if done else None


def _tally(text: bytes) -> dict[str, int]:
    values, counts = orjson.loads(text)
    return dict(zip(values, counts, strict=True))


def _sources(text: bytes) -> tuple[SourceCount, ...]:
    flat = orjson.loads(text)
    return tuple([_source(*key, count) for key, count in zip(flat[::2], flat[1::2], strict=True)])


@lru_cache(maxsize=16_384)
def _source(medium: str, source: str, detail: str, count: int) -> SourceCount:
    # The same few counts come back again and again, on many pages and in every read.
    return SourceCount(medium, source, detail, count)


@lru_cache(maxsize=2048)
def _page(
    page: bytes, minus_active: bytes, views: bytes, title: bytes, image: bytes, sources: bytes
) -> LivePage:
    # Most pages are as they were in the read before, and then the same object for all who make
    # something of it.
    host, path = read_page_key(page)
    return LivePage(
        host=host,
        path=path,
        title=title.decode(),
        og_image=image.decode(),
        active=-int(float(minus_active)),
        pageviews_today=int(views),
        sources=_sources(sources),
    )


def _counts(reply: list[Any]) -> LiveCounts:
    _, _, active, views, visitors, devices, countries, cities, sources, pages = reply
    return LiveCounts(
        active=active,
        pageviews_today=int(views),
        visitors_today=visitors,
        devices=_tally(devices),
        countries=_tally(countries),
        cities=_tally(cities),
        sources=_sources(sources),
        pages=tuple([_page(*page) for page in pages]),
    )
