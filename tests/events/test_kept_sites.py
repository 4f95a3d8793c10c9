"""What is kept of sites: the ones asked for last, within the room, and by one user at a time."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from footfall.events.duckdb.kept_sites import KeptSites


class Site:
    """Something that takes as much room as it is told to."""

    def __init__(self, site_id: str) -> None:
        self.site_id = site_id
        self.size = 0
        self.users = 0


@pytest.fixture
def sites() -> KeptSites[Site]:
    return KeptSites(Site, 10)


def take(sites: KeptSites[Site], site_id: str, size: int) -> Site:
    with sites.using([site_id]) as used:
        used[site_id].size = size
        return used[site_id]


def test_those_asked_for_longest_ago_make_room(sites: KeptSites[Site]) -> None:
    first = {site_id: take(sites, site_id, 3) for site_id in "abc"}
    assert take(sites, "a", 3) is first["a"]
    take(sites, "d", 3)
    assert [site.site_id for site in sites] == ["c", "a", "d"]
    # What grew counts when it has been used, also by somebody who failed.
    with suppress(ZeroDivisionError), sites.using("ac") as used:
        used["c"].size = 9
        _ = 1 / 0
    take(sites, "a", 3)
    assert [site.site_id for site in sites] == ["a"]
    take(sites, "a", 11)
    assert not list(sites)


def test_what_is_forgotten_begins_anew(sites: KeptSites[Site]) -> None:
    first = take(sites, "a", 3)
    with sites.using("a") as used:
        sites.forget("a")
        # Whoever uses it goes on; the next one gets another.
        assert used["a"] is first
        with sites.using("a") as others:
            assert others["a"] is not first
    sites.forget("nobody")
    assert len(list(sites)) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_site_has_one_user_at_a_time(seed: int) -> None:
    """Users of several sites, which they name in any order, never wait for each other for ever."""
    sites = KeptSites(Site, 10)
    counts: Counter[str] = Counter()

    def use(number: int) -> list[str]:
        pick = random.Random(seed * 1000 + number)
        names = pick.choices("abcd", k=pick.randint(1, 4))
        with sites.using(names) as used:
            assert set(used) == set(names)
            for site in used.values():
                site.users += 1
                counts[site.site_id] += 1
                assert site.users == 1
            for site in used.values():
                site.size = pick.randint(0, 2)
                site.users -= 1
        return sorted(set(names))

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(use, range(500), timeout=60))
    assert counts == Counter(name for names in done for name in names)
