"""One database with the tables of this package, at the version that we know.

The ground under store.py and leases.py, and under whoever else keeps something beside the records.
"""

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Engine, Update, func, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from supervisor.runs import schema
from supervisor.runs.engine import (
    BUSY_S,
    FLEETING,
    READING,
    Place,
    answering,
    engine_of,
    is_sqlite,
    place_of,
    where,
)
from supervisor.runs.errors import RecordsAway

# Nothing that a statement changes is in a session at that moment.
_NOT_LOOKED_AT = {"synchronize_session": False}


class Database:
    """Transactions for any thread. Raises RecordsMisconfigured when it is made.

    Nothing is connected before the first transaction; that and each later one raises
    RecordsAway, and RecordsOutdated while the tables are of another version.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine_of(url)
        self._of_parents: list[Engine] = []
        self._turns, self._is_paused = threading.Lock(), False
        # Where the tables were found to be ours.
        self._known_at: Place = ()
        # Weakly: what is registered stays so for as long as the process lives.
        forget = weakref.WeakMethod(self._forget)
        pause, go_on = weakref.WeakMethod(self._pause), weakref.WeakMethod(self._go_on)
        os.register_at_fork(
            before=lambda: (here := pause()) and here(),
            after_in_parent=lambda: (here := go_on()) and here(),
            after_in_child=lambda: (here := forget()) and here(),
        )

    @property
    def where(self) -> str:
        """Its address as it may be shown."""
        return where(self._engine)

    @contextmanager
    def writing(self, *, is_fleeting: bool = False) -> Iterator[Session]:
        """Begin a transaction that is committed at the end of the block.

        One that `is_fleeting` does not wait for the disk, and may be lost with the power.
        """
        here = self._ensure()
        engine = self._engine.execution_options(**FLEETING) if is_fleeting else self._engine
        with (
            self._turn(),
            self._answering(),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
        if place_of(self._engine) != here:
            # Maybe it was written to the one that is gone.
            raise RecordsAway(self.where, "the file was replaced in the middle of a transaction")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Begin a transaction that waits for no writer and lets none wait."""
        self._ensure()
        engine = self._engine.execution_options(**READING)
        with self._answering(), Session(engine, expire_on_commit=False) as session:
            yield session

    def now(self, session: Session) -> datetime:
        """Return the time by the one clock that all who use it have: the server's.

        That of a file is the one of its machine.
        """
        if is_sqlite(self._engine):
            return datetime.now(UTC)
        found: datetime = session.execute(select(func.current_timestamp())).scalar_one()
        return found.astimezone(UTC)

    def change(self, statement: Update | Delete) -> bool:
        """Execute one statement; return whether it found a row."""
        with self.writing() as session:
            return changed(session, statement) > 0

    def upgrade(self) -> tuple[str, str]:
        """Bring the tables to our version; return what it was and what it is."""
        return schema.upgrade(self._engine)

    def close(self) -> None:
        """Close the connections. A later transaction opens them again."""
        self._known_at = ()
        self._engine.dispose()

    def _ensure(self) -> Place:
        """Return where the tables are, when they are ours."""
        here = place_of(self._engine)
        if not here or here != self._known_at:
            schema.ensure(self._engine)
            here = self._known_at = place_of(self._engine)
        return here

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one thread write at a time to a file.

        SQLite lets one, too, but whoever waits for it sleeps for longer and longer, while
        others overtake.
        """
        if not is_sqlite(self._engine):
            yield
            return
        turns = self._turns
        if not turns.acquire(timeout=BUSY_S):
            raise RecordsAway(self.where, f"another thread has been writing for {BUSY_S:g} s")
        try:
            yield
        finally:
            turns.release()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Do as the engine's, and look at the tables again when they are not as we know them."""
        try:
            with answering(self._engine):
                yield
        except RecordsAway:
            if is_sqlite(self._engine):
                self._known_at = ()
            raise
        except ProgrammingError:
            # A table or a column is missing: a backup was restored, maybe, which ensure says.
            self._known_at = ()
            self._ensure()
            raise

    def _pause(self) -> None:
        """Let no thread write to a file while the process is forked.

        SQLite keeps the locks of all connections to a file in the memory of the process: the
        child's would wait for one that nobody there lets go of.
        """
        self._is_paused = is_sqlite(self._engine) and self._turns.acquire(timeout=BUSY_S)

    def _go_on(self) -> None:
        if self._is_paused:
            self._turns.release()

    def _forget(self) -> None:
        """Use nothing of the parent's in a process that was forked (gunicorn with preload, say).

        Some thread of it may have been in the middle of connecting. What it had is kept: to
        close it would end the connections of both.
        """
        self._turns = threading.Lock()
        self._of_parents.append(self._engine)
        self._engine = engine_of(self._engine.url)


def changed(
    session: Session, statement: Update | Delete, parameters: Mapping[str, Any] | None = None
) -> int:
    """Execute a statement in a transaction; return how many rows it found."""
    result = session.execute(statement, parameters, execution_options=_NOT_LOOKED_AT)
    return cast("CursorResult[Any]", result).rowcount
