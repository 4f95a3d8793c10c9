"""Telling whether a site's history may have changed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from itertools import count


class HistoryVersions:
    """A text a site that changes with what is counted of it, or known of its pages.

    Only the writer's thread changes versions, and only when what they stand for can be read: who
    takes a version and then reads gets data that is at least as new. After a restart all are new.
    """

    def __init__(self) -> None:
        self._boot = secrets.token_hex(8)
        self._changes = count(1)
        self._all = 0
        self._sites: dict[str, int] = {}

    def touch(self, sites: Iterable[str]) -> None:
        """Note that something new can be read of the sites."""
        change = next(self._changes)
        for site_id in sites:
            self._sites[site_id] = change

    def touch_all(self) -> None:
        """Note that any site may read differently now: after a commit that failed."""
        self._all = next(self._changes)

    def of(self, site_id: str) -> str:
        """Return the site's version."""
        return f"{self._boot}-{max(self._all, self._sites.get(site_id, 0))}"
