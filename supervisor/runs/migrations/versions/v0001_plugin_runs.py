"""The record of each run, with the outbox, and leases."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_USER_ID = sa.Text().with_variant(sa.Numeric(20, 0), "postgresql")
_DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "plugin_runs",
        sa.Column("id", _COUNTED, primary_key=True, autoincrement=True),
        sa.Column("plugin_run_id", sa.Text, nullable=False),
        sa.Column("user_id", _USER_ID, nullable=False),
        sa.Column("plugin_name", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("input", _DOCUMENT, nullable=False),
        sa.Column("output", _DOCUMENT),
        sa.Column("error_message", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("receipt", _DOCUMENT),
        *(sa.Column(name, _TIME, nullable=name != "created_at") for name in _TIMES),
        sa.Column("digest", sa.String(40), nullable=False),
        sa.Column("unique_key", sa.String(40)),
        sa.Column("unique_until", _TIME),
        sa.Column("payload", sa.Text),
        sa.Column("publish_failures", sa.Integer, nullable=False),
        sa.Column("last_publish_error", sa.Text, nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed')",
            name="ck_plugin_runs_status",
        ),
        sa.UniqueConstraint("plugin_run_id", name="uq_plugin_runs_plugin_run_id"),
        sa.UniqueConstraint("unique_key", name="uq_plugin_runs_unique_key"),
    )
    for column in ("status", "user_id", "plugin_name"):
        op.create_index(f"ix_plugin_runs_{column}", "plugin_runs", [column, "id"])
    waits = sa.text("payload IS NOT NULL")
    op.create_index(
        "ix_plugin_runs_outbox", "plugin_runs", ["id"], postgresql_where=waits, sqlite_where=waits
    )
    op.create_table(
        "crewpool_leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("until", _TIME, nullable=False),
    )


_TIMES = ("created_at", "due_at", "published_at", "started_at", "completed_at")


def downgrade() -> None:
    """Go nowhere: records are not thrown away by a command."""
    raise NotImplementedError("there is nothing before this version")
