"""The schema's history: numbered SQL files, one folder an engine, shipped in the wheel.

A file is named `NNNN_name.sql`, its statements end with a semicolon at the end of a line, and it
never changes once released.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from footfall.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    statements: tuple[str, ...]


def known_migrations(engine: str) -> list[Migration]:
    """Return the migrations of an engine (`duckdb` or `clickhouse`), by version."""
    found = []
    for file in (resources.files(__name__) / engine).iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, _statements(file.read_text("utf-8"))))
    return sorted(found, key=lambda migration: migration.version)


def pending_migrations(engine: str, applied: set[int]) -> list[Migration]:
    """Return what is yet to be applied to a store that has `applied`.

    Raises UnavailableError if the store has a migration that this version does not know: what a
    newer version has written, an older one must not touch.
    """
    known = known_migrations(engine)
    newest = max((migration.version for migration in known), default=0)
    if applied and max(applied) > newest:
        raise UnavailableError(
            f"The event store has schema {max(applied)}, but this version of Footfall knows "
            f"schemas up to {newest} only. Start the version that wrote it, or a newer one.",
            metadata={"schema": str(max(applied)), "schema_known": str(newest)},
        )
    return [migration for migration in known if migration.version not in applied]


def require_current(engine: str, applied: set[int]) -> None:
    """Raise UnavailableError unless a store with the `applied` migrations has this version's
    schema.
    """
    if pending := pending_migrations(engine, applied):
        raise UnavailableError(
            f"The event store has schema {max(applied, default=0)}, but this version of Footfall "
            f"has {pending[-1].version}. Start its server once, which brings the schema up to date."
        )


def _statements(text: str) -> tuple[str, ...]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = "\n".join(lines).split(";\n")
    return tuple(part.strip().rstrip(";") for part in parts if part.strip(" \n;"))
