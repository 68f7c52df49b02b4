"""What waits in the outbox, in two figures."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from supervisor.runs.models import PluginRun

if TYPE_CHECKING:
    from supervisor.runs.store import RunStore


@dataclass(frozen=True)
class Backlog:
    """How many runs wait to be published, and since when the oldest does; None without any."""

    runs: int
    oldest_at: datetime | None

    def oldest_s(self, now: datetime) -> float:
        """How long the oldest has waited; 0 without any."""
        return max(0.0, (now - self.oldest_at).total_seconds()) if self.oldest_at else 0.0


def backlog_of(store: "RunStore") -> Backlog:
    """Look into the outbox. Raises RecordsAway and RecordsOutdated."""
    waiting = PluginRun.payload.is_not(None)
    # The index on the outbox has the first of them at once, which is the oldest.
    oldest = select(PluginRun.created_at).where(waiting).order_by(PluginRun.id).limit(1)
    with store.database.reading() as session:
        runs = session.scalar(select(func.count()).select_from(PluginRun).where(waiting)) or 0
        return Backlog(runs, session.scalar(oldest) if runs else None)
