"""Add orders to remove events, and how long a site keeps its events."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a table and a column."""
    op.create_table(
        "removals",
        sa.Column("id", sa.Text, primary_key=True),
        # No foreign key: the site of an order may be gone.
        sa.Column("site_id", sa.Text, nullable=False),
        sa.Column("visitor_id", sa.Text),
        sa.Column("ordered_ms", sa.BigInteger, nullable=False),
        sa.Column("done_ms", sa.BigInteger),
    )
    op.add_column("sites", sa.Column("retention_days", sa.Integer))
