"""What is kept in memory of the sites that are asked for, as far as there is room for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Kept(Protocol):
    """Something about a site that takes memory."""

    @property
    def size(self) -> int:
        """About how much, in a unit that is the same for all sites."""


SiteT = TypeVar("SiteT", bound=Kept)


@dataclass(slots=True)
class _Place(Generic[SiteT]):
    site: SiteT
    #: Held by whoever uses it.
    lock: Lock = field(default_factory=Lock)
    #: What it took when it was used last.
    size: int = 0


class KeptSites(Generic[SiteT]):
    """The sites that were asked for last, one user of each at a time; from several threads."""

    def __init__(self, make: Callable[[str], SiteT], size_max: int) -> None:
        """Keep sites, made of their ids, that take at most `size_max` together."""
        self._make = make
        self._size_max = size_max
        self._lock = Lock()
        #: By id, the one asked for last at the end.
        self._places: OrderedDict[str, _Place[SiteT]] = OrderedDict()

    def __iter__(self) -> Iterator[SiteT]:
        with self._lock:
            return iter([place.site for place in self._places.values()])

    @contextmanager
    def using(self, site_ids: Iterable[str]) -> Iterator[dict[str, SiteT]]:
        """Give some sites by their ids, for a block, to nobody else meanwhile."""
        # In one order, so that no two users wait for each other.
        places = {site_id: self._place(site_id) for site_id in sorted(set(site_ids))}
        with ExitStack() as locked:
            for place in places.values():
                locked.enter_context(place.lock)
            try:
                yield {site_id: place.site for site_id, place in places.items()}
            finally:
                for place in places.values():
                    place.size = place.site.size
        self._make_room()

    def forget(self, site_id: str) -> None:
        """Begin anew with a site of which events have been removed."""
        with self._lock:
            self._places.pop(site_id, None)

    def _place(self, site_id: str) -> _Place[SiteT]:
        with self._lock:
            place = self._places.get(site_id)
            if place is None:
                place = self._places[site_id] = _Place(self._make(site_id))
            self._places.move_to_end(site_id)
            return place

    def _make_room(self) -> None:
        """Forget the sites that were asked for longest ago while they take too much."""
        with self._lock:
            size = sum(place.size for place in self._places.values())
            while size > self._size_max:
                _, gone = self._places.popitem(last=False)
                size -= gone.size
