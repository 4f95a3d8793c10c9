"""Counts that are asked for again are not made again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any, Final, Protocol

#: How much memory kept counts may take, about.
BYTES_MAX: Final = 32 << 20


class Fold(Protocol):
    """Something that was counted."""

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""


class KeptFolds:
    """The folds that were asked for last, in this process; used from several threads.

    Their keys hold everything that they depend on, the version of the site's history among it, or
    the name of events that do not change: what is kept is never older than the question, and nobody
    else's.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = Lock()
        self._folds: OrderedDict[Hashable, tuple[Fold, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under the key; None if nothing is."""
        with self._lock:
            kept = self._folds.get(key)
            if kept is None:
                return None
            self._folds.move_to_end(key)
            return kept[0]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._folds.clear()
            self._bytes = 0

    def put(self, key: Hashable, fold: Fold) -> None:
        """Keep a fold that nothing is added to any more; what was not asked for longest goes."""
        size = fold.size_bytes()
        with self._lock:
            if size > self._bytes_max // 4 or key in self._folds:
                return
            self._folds[key] = fold, size
            self._bytes += size
            while self._bytes > self._bytes_max:
                _, (_, freed) = self._folds.popitem(last=False)
                self._bytes -= freed
