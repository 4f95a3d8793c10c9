"""Make the tables of the accounts store and its four plans."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

PLANS = (("free", 50, 300), ("hobby", 100, 600), ("pro", 200, 1200), ("scale", 500, 3000))


def upgrade() -> None:
    """Make everything."""
    plans = op.create_table(
        "plans",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("site_requests_per_minute", sa.Integer, nullable=False),
        sa.Column("application_reads_per_10s", sa.Integer, nullable=False),
        sa.Column("account_requests_per_10s", sa.Integer, nullable=False),
        sa.Column("account_requests_per_minute", sa.Integer, nullable=False),
    )
    op.bulk_insert(
        plans,
        [
            {
                "name": name,
                "site_requests_per_minute": 10,
                "application_reads_per_10s": 1000,
                "account_requests_per_10s": per_10s,
                "account_requests_per_minute": per_minute,
            }
            for name, per_10s, per_minute in PLANS
        ],
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, sa.ForeignKey("plans.name"), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("name", name="accounts_name_key"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("email", name="users_email_key"),
    )
    op.create_index("ix_users_account_id", "users", ["account_id"])
    op.create_table(
        "sites",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("public", sa.Boolean, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("account_id", "host", name="sites_account_id_host_key"),
    )
    op.create_table(
        "applications",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("write_digest", sa.LargeBinary, nullable=False),
        sa.Column("read_digest", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_applications_account_id", "applications", ["account_id"])
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("key_digest", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("key_digest", name="workspaces_key_digest_key"),
    )
    op.create_index("ix_workspaces_account_id", "workspaces", ["account_id"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("can_read", sa.Boolean, nullable=False),
        sa.Column("can_write", sa.Boolean, nullable=False),
        sa.Column("can_admin", sa.Boolean, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger),
        sa.Column("revoked_ms", sa.BigInteger),
        sa.UniqueConstraint("digest", name="api_keys_digest_key"),
    )
    op.create_index("ix_api_keys_account_id", "api_keys", ["account_id"])
    op.create_table(
        "api_key_sites",
        sa.Column("key_id", sa.Text, sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("site_id", sa.Text, sa.ForeignKey("sites.id"), primary_key=True),
    )
    op.create_index("ix_api_key_sites_site_id", "api_key_sites", ["site_id"])
    op.create_table(
        "salts",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
    )
