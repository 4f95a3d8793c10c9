"""What is kept of counts, and what goes."""

from __future__ import annotations

from dataclasses import dataclass

from footfall.analytics.queries.kept import KeptFolds


@dataclass
class Sized:
    size: int

    def size_bytes(self) -> int:
        return self.size


def test_what_was_asked_for_last_stays() -> None:
    kept = KeptFolds(bytes_max=100)
    folds = [Sized(25) for _ in range(6)]
    for number, fold in enumerate(folds[:4]):
        kept.put(number, fold)
    assert kept.get(0) is folds[0]
    kept.put(4, folds[4])
    kept.put(4, folds[5])
    assert [number for number in range(5) if kept.get(number)] == [0, 2, 3, 4]
    assert kept.get(4) is folds[4]


def test_what_is_too_large_is_not_kept() -> None:
    kept = KeptFolds(bytes_max=100)
    kept.put("a", Sized(26))
    assert kept.get("a") is None
