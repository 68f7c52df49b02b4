"""The tables: the record of each run, with the outbox in it, schedules, and leases.

Read and written by store.py and schedules.py only; others get a PluginRun as it stood when it
was read.
Whoever changes a table writes a migration beside it, see migrations/.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, MetaData, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from supervisor.runs.columns import CleanText, Document, UserId, UtcTime

PENDING, PROCESSING, COMPLETED, FAILED = "pending", "processing", "completed", "failed"
STATUSES = (PENDING, PROCESSING, COMPLETED, FAILED)
OPEN = (PENDING, PROCESSING)
# When a schedule is due that is paused: a process of an older version fires it no more, either.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
# SQLite counts by itself only where the key is exactly an INTEGER.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The tables of crewpool. Names of constraints are told, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class PluginRun(Base):
    """One run of a plugin for a user, from the moment it was asked for to its end.

    `status` goes forward only: pending, processing, then completed or failed. `input` are the
    settings with the credentials masked, `output` is what the crew made, `receipt` what it used.

    The outbox is those runs that have a `payload`: what is to be published, sealed where it
    holds credentials, and gone with the publication. It is empty where the run was cancelled
    meanwhile, which Redis has to hear. `digest` says what is asked for, without
    the id; `unique_key` is the same while no other run may ask for it, until `unique_until`.
    `publish_failures` counts what kept it in the outbox.
    """

    __tablename__ = "plugin_runs"

    id: Mapped[int] = mapped_column(_COUNTED, primary_key=True, autoincrement=True)
    plugin_run_id: Mapped[str] = mapped_column(CleanText, unique=True)
    user_id: Mapped[int] = mapped_column(UserId)
    plugin_name: Mapped[str] = mapped_column(CleanText)
    status: Mapped[str] = mapped_column(String(16), default=PENDING)
    priority: Mapped[str] = mapped_column(String(16), default="normal")
    input: Mapped[Any] = mapped_column(Document)
    output: Mapped[Any] = mapped_column(Document, nullable=True)
    error_message: Mapped[str] = mapped_column(CleanText, default="")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    receipt: Mapped[Any] = mapped_column(Document, nullable=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    published_at: Mapped[datetime | None] = mapped_column(UtcTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    digest: Mapped[str] = mapped_column(String(40))
    unique_key: Mapped[str | None] = mapped_column(String(40), unique=True)
    unique_until: Mapped[datetime | None] = mapped_column(UtcTime)
    payload: Mapped[str | None] = mapped_column(CleanText)
    publish_failures: Mapped[int] = mapped_column(Integer, default=0)
    last_publish_error: Mapped[str] = mapped_column(CleanText, default="")

    __table_args__ = (
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        Index("ix_plugin_runs_status", "status", "id"),
        Index("ix_plugin_runs_user_id", "user_id", "id"),
        Index("ix_plugin_runs_plugin_name", "plugin_name", "id"),
        Index(
            "ix_plugin_runs_outbox",
            "id",
            postgresql_where=text("payload IS NOT NULL"),
            sqlite_where=text("payload IS NOT NULL"),
        ),
    )

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in (COMPLETED, FAILED)

    @property
    def is_waiting(self) -> bool:
        """Whether it waits in the outbox to be published."""
        return self.payload is not None and not self.is_final

    @property
    def is_cancel(self) -> bool:
        """Whether it was cancelled in the outbox, and Redis has to hear of it."""
        return self.payload is not None and self.is_final

    @property
    def duration_s(self) -> float | None:
        """How long it took from its first start to its end; None while that is not known."""
        if self.started_at is None or self.completed_at is None:
            return None
        return max(0.0, (self.completed_at - self.started_at).total_seconds())

    def as_data(self) -> dict[str, Any]:
        """Return all that may be shown, fit for JSON. What is sealed is not in it."""
        names = (
            *("plugin_run_id", "user_id", "plugin_name", "status", "priority", "input", "output"),
            *("error_message", "attempts", "receipt", "created_at", "due_at", "published_at"),
            *("started_at", "completed_at", "duration_s", "publish_failures", "last_publish_error"),
        )
        return _data_of(self, names)

    def __repr__(self) -> str:
        return f"PluginRun({self.plugin_run_id!r}, {self.plugin_name!r}, {self.status!r})"


def _data_of(row: Base, names: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


class Lease(Base):
    """Who does what only one of several processes shall do at a time, and until when."""

    __tablename__ = "crewpool_leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    until: Mapped[datetime] = mapped_column(UtcTime)


class Schedule(Base):
    """When to run a plugin for a user, over and over: a cron line in a time zone.

    `next_due_at` is the time that fires next: whoever moves it on has fired it. `input` are the
    settings with the credentials masked, `payload` all of them, sealed where there are any.
    `digest` is the same for what would fire the same at the same times.
    """

    __tablename__ = "crewpool_schedules"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    cron: Mapped[str] = mapped_column(CleanText)
    timezone: Mapped[str] = mapped_column(CleanText)
    plugin_name: Mapped[str] = mapped_column(CleanText)
    user_id: Mapped[int] = mapped_column(UserId)
    priority: Mapped[str] = mapped_column(String(16))
    input: Mapped[Any] = mapped_column(Document)
    payload: Mapped[str] = mapped_column(CleanText)
    digest: Mapped[str] = mapped_column(String(40), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    next_due_at: Mapped[datetime] = mapped_column(UtcTime, index=True)
    last_due_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_run_id: Mapped[str] = mapped_column(CleanText, default="")
    fired: Mapped[int] = mapped_column(Integer, default=0)
    missed: Mapped[int] = mapped_column(Integer, default=0)
    last_missed_at: Mapped[datetime | None] = mapped_column(UtcTime)
    last_error: Mapped[str] = mapped_column(CleanText, default="")

    @property
    def is_paused(self) -> bool:
        """Whether it fires no more until it is resumed."""
        return self.next_due_at == NEVER

    def as_data(self) -> dict[str, Any]:
        """Return all that may be shown, fit for JSON. What is sealed is not in it."""
        names = (
            *("id", "cron", "timezone", "plugin_name", "user_id", "priority", "input"),
            *("created_at", "next_due_at", "last_due_at", "last_run_id", "fired", "missed"),
            *("last_missed_at", "last_error", "is_paused"),
        )
        data = _data_of(self, names)
        return {**data, "next_due_at": None} if self.is_paused else data
