"""The schema's migrations: applied at start, one process at a time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from footfall.errors import UnavailableError

#: Named after this store, because a PostgreSQL database may be shared with other programs.
VERSION_TABLE = "footfall_accounts_schema"

_DIRECTORY = Path(__file__).parent / "migrations"
#: The key of PostgreSQL's advisory lock: "ffacc" in ASCII.
_ADVISORY_LOCK = 0x6666616363
_MIGRATION_TIMEOUT_MS = 60_000


def migrate(engine: Engine) -> None:
    """Bring the schema to this version's, waiting for another process that is doing so.

    All of it is one transaction: it is there whole or not at all. Raises UnavailableError if a
    newer version of Footfall has changed the schema.
    """
    writer = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    with writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL statement_timeout = {_MIGRATION_TIMEOUT_MS}"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        current, newest = _current_version(connection), _newest_version()
        if current > newest:
            raise UnavailableError(
                f"The accounts store has schema {current}, but this version of Footfall knows "
                f"schemas up to {newest} only. Start the version that wrote it, or a newer one.",
                metadata={"schema": str(current), "schema_known": str(newest)},
            )
        if current < newest:
            _upgrade(connection)


def _current_version(connection: Connection) -> int:
    """Return the number of the last migration that was applied, 0 for an empty database."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return 0
    return int(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() or 0)  # noqa: S608 - a constant


def _newest_version() -> int:
    """Return the highest number in the names of the migrations' files."""
    return max(int(path.name[1:5]) for path in _DIRECTORY.glob("versions/v[0-9]*.py"))


def _upgrade(connection: Connection) -> None:
    # Loading alembic takes longer than all else that a command does, and is seldom needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
