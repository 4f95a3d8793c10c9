"""Visitor ids without cookies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from footfall.durations import DAY_US
from footfall.ingest.ports import SaltSource


@dataclass(frozen=True)
class DaySalts:
    """The secret salts that are known on a UTC day: yesterday's, today's and tomorrow's."""

    today: int
    by_day: Mapping[int, bytes]

    def of(self, day: int) -> bytes:
        """Return a day's salt. Other days' are forgotten, so their events, as of an imported log,
        are keyed with today's: within an import, a visitor is one on each day.
        """
        return self.by_day.get(day) or self.by_day[self.today]


async def day_salts(source: SaltSource, now_us: int) -> DaySalts:
    """Return the salts of the day of `now_us`; raises UnavailableError if they cannot be had.

    To be held for one call and no longer: when a salt is forgotten is the source's business.
    """
    today = now_us // DAY_US
    days = (today - 1, today, today + 1)
    return DaySalts(today, {day: await source.fetch(day) for day in days})


def derive_visitor_ids(
    salts: DaySalts,
    site_id: str,
    times_us: Sequence[int],
    ips: Sequence[str],
    user_agents: Sequence[str],
) -> list[str]:
    """Return 32 hexadecimal digits for each event: a hash of site, UTC day, address and user agent
    under the day's salt. When a salt is forgotten, nobody can lead an id back to an address.
    """
    days = [time_us // DAY_US for time_us in times_us]
    keys = {day: salts.of(day) for day in set(days)}
    return [
        blake2b(
            f"{site_id}\0{day}\0{ip}\0{user_agent}".encode(), key=keys[day], digest_size=16
        ).hexdigest()
        for day, ip, user_agent in zip(days, ips, user_agents, strict=True)
    ]
