"""When plugins are run over and over."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

_USER_ID = sa.Text().with_variant(sa.Numeric(20, 0), "postgresql")
_DOCUMENT = sa.JSON().with_variant(JSONB(), "postgresql")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "crewpool_schedules",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("plugin_name", sa.Text, nullable=False),
        sa.Column("user_id", _USER_ID, nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("input", _DOCUMENT, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("digest", sa.String(40), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("next_due_at", _TIME, nullable=False),
        sa.Column("last_due_at", _TIME),
        sa.Column("last_run_id", sa.Text, nullable=False),
        sa.Column("fired", sa.Integer, nullable=False),
        sa.Column("missed", sa.Integer, nullable=False),
        sa.Column("last_missed_at", _TIME),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_crewpool_schedules"),
        sa.UniqueConstraint("digest", name="uq_crewpool_schedules_digest"),
    )
    op.create_index("ix_crewpool_schedules_next_due_at", "crewpool_schedules", ["next_due_at"])


def downgrade() -> None:
    """Take the table away; the runs that were fired stay."""
    op.drop_table("crewpool_schedules")
