"""Keeps the tables at the version that this crewpool knows.

A SQLite file is ours, and is upgraded when it is opened. A PostgreSQL belongs to somebody who
decides when: `crewpool db upgrade`. Whoever finds it at another version is told so.
"""

import os
import threading
from contextlib import ExitStack
from importlib.resources import as_file, files
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from supervisor.runs.engine import READING, answering, is_sqlite, where
from supervisor.runs.errors import RecordsOutdated
from supervisor.runs.migrations import HEAD, VERSION_TABLE

# Any number that others do not lock: two upgrades at a time are one after the other.
_LOCK = 0x63726577706F6F6C


class _Alone:
    """Lets one thread of this process upgrade at a time: Alembic's context is that of all."""

    lock = threading.Lock()

    @classmethod
    def forget(cls) -> None:
        """Begin anew in a process that was forked: some thread of its parent may have had it."""
        cls.lock = threading.Lock()


os.register_at_fork(after_in_child=_Alone.forget)


def ensure(engine: Engine) -> None:
    """Return when the tables are those that we know.

    Raises RecordsOutdated and RecordsAway.
    """
    found = revision(engine)
    if found == HEAD:
        return
    if not is_sqlite(engine) or _is_ahead(found):
        raise RecordsOutdated(where(engine), found, HEAD, is_ahead=_is_ahead(found))
    upgrade(engine)


def revision(engine: Engine) -> str:
    """Return the version of the tables; "" where there are none. Raises RecordsAway."""
    with answering(engine), engine.execution_options(**READING).connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return ""
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  # a constant
        return str(found or "")


def upgrade(engine: Engine) -> tuple[str, str]:
    """Bring the tables to our version, all or nothing; return what it was and what it is.

    Raises RecordsOutdated when they are ahead of us, and RecordsAway.
    """
    with _Alone.lock:
        return _upgraded(engine)


def _upgraded(engine: Engine) -> tuple[str, str]:
    before = revision(engine)
    if _is_ahead(before):
        raise RecordsOutdated(where(engine), before, HEAD, is_ahead=True)
    # Imported late: most processes find the tables as they should be.
    from alembic import command  # noqa: PLC0415

    migrations = as_file(files("supervisor.runs") / "migrations")
    with answering(engine), migrations as folder, engine.begin() as connection, ExitStack() as held:
        if not is_sqlite(engine):
            from supervisor.runs.postgres import unbounded  # noqa: PLC0415  # as above

            # It may wait for another upgrade, or make an index on many rows.
            held.enter_context(unbounded(connection))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        command.upgrade(config_of(connection, str(folder)), HEAD)
    return before, HEAD


def config_of(connection: Connection, folder: str) -> Any:
    """Return what Alembic is told: no file, our folder, this connection."""
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _is_ahead(found: str) -> bool:
    # Revisions are four digits, and grow.
    return found > HEAD
