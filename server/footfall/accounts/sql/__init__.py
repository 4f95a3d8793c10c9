"""The accounts store on SQLite and PostgreSQL."""

from __future__ import annotations

from footfall.accounts.ports import AccountStore
from footfall.accounts.sql.engine import domain_errors, make_engine
from footfall.accounts.sql.migrate import migrate
from footfall.accounts.sql.store import SqlAccountStore


def open_account_store(url: str) -> AccountStore:
    """Open the store at `sqlite:///PATH` (made if need be) or `postgresql+psycopg://…`, and bring
    its schema up to date.

    Any number of processes may open one store at once. Raises InvalidInputError for a URL that
    cannot be used, and UnavailableError if the store does not answer or a newer version of Footfall
    has changed its schema.
    """
    engine = make_engine(url)
    try:
        with domain_errors():
            migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlAccountStore(engine)
