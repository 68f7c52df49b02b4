"""One database with the tables of this package, at the version that we know.

The ground under store.py and leases.py, and under whoever else keeps something beside the records.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import Session

from supervisor.runs import schema
from supervisor.runs.engine import READING, answering, engine_of, where

# Nothing that a statement changes is in a session at that moment.
_NOT_LOOKED_AT = {"synchronize_session": False}


class Database:
    """Transactions for any thread. Raises RecordsMisconfigured when it is made.

    Nothing is connected before the first transaction; that and each later one raises
    RecordsAway, and RecordsOutdated while the tables are of another version.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine_of(url)
        self._is_ready = False
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """Its address as it may be shown."""
        return where(self._engine)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Begin a transaction that is committed at the end of the block."""
        self._ensure()
        with (
            answering(self._engine),
            Session(self._engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Begin a transaction that waits for no writer and lets none wait."""
        self._ensure()
        engine = self._engine.execution_options(**READING)
        with answering(engine), Session(engine, expire_on_commit=False) as session:
            yield session

    def change(self, statement: Update | Delete) -> bool:
        """Execute one statement; return whether it found a row."""
        with self.writing() as session:
            return changed(session, statement) > 0

    def upgrade(self) -> tuple[str, str]:
        """Bring the tables to our version; return what it was and what it is."""
        return schema.upgrade(self._engine)

    def close(self) -> None:
        """Close the connections. A later transaction opens them again."""
        self._engine.dispose()

    def _ensure(self) -> None:
        if not self._is_ready:
            with self._lock:
                schema.ensure(self._engine)
                self._is_ready = True


def changed(
    session: Session, statement: Update | Delete, parameters: Mapping[str, Any] | None = None
) -> int:
    """Execute a statement in a transaction; return how many rows it found."""
    result = session.execute(statement, parameters, execution_options=_NOT_LOOKED_AT)
    return cast("CursorResult[Any]", result).rowcount
