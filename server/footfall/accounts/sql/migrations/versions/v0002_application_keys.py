"""Add keys of applications that hold for a time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "application_keys",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("application_id", sa.Text, sa.ForeignKey("applications.id"), nullable=False),
        sa.Column("access", sa.Text, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
    )
