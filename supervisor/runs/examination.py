"""What can be wrong with run records, looked for by `crewpool doctor`. Nothing is changed.

The store would make a file, upgrade it and make a key; so this goes round it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from supervisor.runs.engine import READING, answering, engine_of, is_sqlite, where
from supervisor.runs.errors import OutboxKeyUnfit
from supervisor.runs.migrations import HEAD
from supervisor.runs.models import PluginRun, Schedule
from supervisor.runs.schema import revision
from supervisor.runs.sealing import Sealer
from supervisor.settings import Settings

# Somebody who reads a list of problems reads no thousand of them.
MOST = 1000


@dataclass(frozen=True)
class Examined:
    """What was found. `file` is that of SQLite, `version` of the tables is "" without any.

    `sealed` are runs in the outbox and schedules that no key opens, `broken` the errors of
    schedules by their ids; neither is looked for in tables of another version.
    """

    where: str
    file: Path | None
    version: str = ""
    waiting: int = 0
    oldest_at: datetime | None = None
    oldest_error: str = ""
    sealed: Sequence[str] = ()
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def is_current(self) -> bool:
        """Whether the tables are those that we know."""
        return self.version == HEAD

    @property
    def is_ahead(self) -> bool:
        """Whether they are those of a newer crewpool."""
        return self.version > HEAD


def examine(settings: Settings) -> Examined:
    """Look at the records that the settings name.

    Raises RecordsMisconfigured and RecordsAway.
    """
    engine = engine_of(settings.records_url.get_secret_value())
    try:
        file = Path(str(engine.url.database)) if is_sqlite(engine) else None
        here = where(engine)
        if file is not None and not file.exists():
            return Examined(here, file)
        found = Examined(here, file, revision(engine))
        return _looked_into(engine, found, key_file(settings, file)) if found.is_current else found
    finally:
        engine.dispose()


def key_file(settings: Settings, file: Path | None) -> Path | None:
    """Return where the key of the outbox lies, or will lie; None without any."""
    beside = file.with_name(f"{file.name}.key") if file else None
    return settings.outbox_key_file or beside


def _looked_into(engine: Engine, found: Examined, key: Path | None) -> Examined:
    waits = PluginRun.payload.is_not(None)
    oldest = select(PluginRun).where(waits).order_by(PluginRun.id).limit(1)
    closed = PluginRun.payload.not_like("{%") & (PluginRun.payload != "")
    runs = select(PluginRun.plugin_run_id, PluginRun.payload).where(waits, closed).limit(MOST)
    schedules = select(Schedule).limit(MOST)
    reading = engine.execution_options(**READING)
    with answering(engine), Session(reading) as session:
        first = session.scalar(oldest)
        sealed = {run: payload or "" for run, payload in session.execute(runs)}
        broken = {}
        for schedule in session.scalars(schedules):
            if schedule.last_error:
                broken[schedule.id] = schedule.last_error
            if not schedule.payload.startswith("{"):
                sealed[schedule.id] = schedule.payload
        return Examined(
            found.where,
            found.file,
            found.version,
            waiting=session.scalar(select(func.count()).select_from(PluginRun).where(waits)) or 0,
            oldest_at=first.created_at if first else None,
            oldest_error=first.last_publish_error if first else "",
            sealed=[name for name, text in sealed.items() if not _opens(key, text)],
            broken=broken,
        )


def _opens(key: Path | None, sealed: str) -> bool:
    try:
        return key is not None and bool(Sealer(key).opened(sealed))
    except OutboxKeyUnfit:
        return False
