"""Add the allowance of custom SQL."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "plans",
        sa.Column("custom_sql_per_minute", sa.Integer, nullable=False, server_default="30"),
    )
