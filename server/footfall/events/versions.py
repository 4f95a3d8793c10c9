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
        #: The last change that may have taken something of any site back: a commit that failed.
        self.generation = 0
        self._sites: dict[str, int] = {}
        self._pages: dict[str, int] = {}

    def touch(self, sites: Iterable[str], sites_of_pages: Iterable[str] = ()) -> None:
        """Note that something new can be read of the sites, and of the texts of sites' pages."""
        change = next(self._changes)
        for site_id in sites:
            self._sites[site_id] = change
        for site_id in sites_of_pages:
            self._sites[site_id] = self._pages[site_id] = change

    def touch_all(self) -> None:
        """Note that any site may read differently now: after a commit that failed."""
        self.generation = next(self._changes)

    def of(self, site_id: str) -> str:
        """Return the site's version."""
        return f"{self._boot}-{max(self.generation, self._sites.get(site_id, 0))}"

    def of_pages(self, site_id: str) -> str:
        """Return a version of the texts of a site's pages alone."""
        return f"{self._boot}-{max(self.generation, self._pages.get(site_id, 0))}"
