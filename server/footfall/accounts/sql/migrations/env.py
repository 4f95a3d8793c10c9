"""How alembic runs the migrations: on the connection that `sql.migrate` hands over, inside its
transaction and lock.

A new migration is a file in `versions/` with the next number; the models change with it.
"""

from alembic import context

from footfall.accounts.sql.migrate import VERSION_TABLE
from footfall.accounts.sql.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
