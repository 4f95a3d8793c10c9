"""Add what rotating a key and seeing its use need, and the allowance of workspaces."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("api_keys", sa.Column("previous_digest", sa.LargeBinary))
    op.add_column("api_keys", sa.Column("previous_until_ms", sa.BigInteger))
    op.add_column("api_keys", sa.Column("last_used_ms", sa.BigInteger))
    op.create_index("ix_api_keys_previous_digest", "api_keys", ["previous_digest"])
    op.add_column(
        "plans",
        sa.Column("workspace_requests_per_second", sa.Integer, nullable=False, server_default="5"),
    )
