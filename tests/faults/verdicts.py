"""What makes the fault suite one: how much of it runs, its seeds, and a line of verdict a case.

`make test` runs each case's quick form, always with the same seed; `make faults` runs the full
form with a new one. A case draws all its chances from its seed, which its verdict prints:
`pytest tests/faults --faults full --seed N -k NAME` runs it again.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

QUICK_SEED: Final = 1
_PROPERTY: Final = "fault case"


@dataclass
class Case:
    """One case of the suite, as its test sees it."""

    #: Whether to take the time that the promise asks for; else a few seconds.
    full: bool
    seed: int
    #: Where all of the case's chances come from.
    chance: random.Random = field(init=False)
    #: What the verdict's line says beside the name.
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def only_in_full(self, reason: str) -> None:
        """Skip the case's quick form."""
        if not self.full:
            pytest.skip(f"runs in full only: {reason}")

    def tell(self, text: str) -> None:
        """Add what was counted or measured to the verdict."""
        self.told.append(text)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--faults", choices=("quick", "full"), default="quick")
    group.addoption("--seed", type=int, help="The seed of every fault case.")


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """Return the case that a test is; it is listed among the verdicts."""
    full = request.config.getoption("faults") == "full"
    seed = request.config.getoption("seed")
    if seed is None:
        seed = secrets.randbelow(1_000_000) if full else QUICK_SEED
    made = Case(full, seed)
    # The report takes what stands there when the test ends.
    request.node.user_properties.append((_PROPERTY, {"seed": made.seed, "told": made.told}))
    return made


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the verdicts."""
    lines = []
    for word, color in (("passed", "green"), ("failed", "red"), ("error", "red")):
        for report in terminalreporter.stats.get(word, ()):
            # A file that cannot be collected has none.
            told = dict(getattr(report, "user_properties", ())).get(_PROPERTY)
            if told is not None and (report.when == "call" or word == "error"):
                name = report.nodeid.removeprefix("tests/faults/")
                text = "; ".join(told["told"])
                line = f"{word:6} {name}  seed {told['seed']}, {report.duration:.1f} s  {text}"
                lines.append((line, color))
    if lines:
        terminalreporter.section("verdicts")
    for line, color in lines:
        terminalreporter.write_line(line, **{color: True})
