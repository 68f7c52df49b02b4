"""Connects to the database of run records: SQLite or PostgreSQL, by its URL.

Called by store.py and schema.py. Every way in which a database is not there becomes one error.
"""

import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.exc import TimeoutError as PoolExhausted

from supervisor.runs.columns import fit_json
from supervisor.runs.errors import RecordsAway, RecordsMisconfigured

# How long a write waits for another one before SQLite says that it is locked.
BUSY_S = 10.0
READING = {"crewpool_reading": True}
# What is lost with the power, and harms nobody: a transaction that waits for no disk. One that
# comes later and does wait brings this one to the disk before itself.
FLEETING = {"crewpool_fleeting": True}
# What users asked for and crews made stands in the parameters of statements, and errors in logs.
DISCREET: dict[str, Any] = {"hide_parameters": True}
# What PostgreSQL calls a write where none is taken.
READ_ONLY = "25006"
# Device and inode of a file; nothing where none is.
Place = tuple[int, ...]


def engine_of(url: str | URL) -> Engine:
    """Return an engine that connects at its first use. Raises RecordsMisconfigured."""
    parsed = _parsed(url)
    try:
        is_file = parsed.get_backend_name() == "sqlite"
        return _sqlite(parsed) if is_file else _postgresql(parsed)
    except (ArgumentError, TypeError, ValueError) as error:
        raise RecordsMisconfigured(str(url), str(error)) from None


def is_sqlite(engine: Engine) -> bool:
    """Whether it is a file of our own, which we also keep up to date."""
    return engine.dialect.name == "sqlite"


def place_of(engine: Engine) -> Place:
    """Return which file is at its address now. A server is always the same."""
    return _place_of(Path(str(engine.url.database))) if is_sqlite(engine) else (0,)


def where(engine: Engine) -> str:
    """Return the address of the database as it may be shown."""
    bare = engine.url.set(query={})
    return bare.set(drivername=engine.dialect.name).render_as_string(hide_password=True)


@contextmanager
def answering(engine: Engine) -> Iterator[None]:
    """Turn every way in which a database is not there, or is busy, into RecordsAway.

    RecordsMisconfigured is for what is no database at all, or a broken one.
    """
    try:
        yield
    except (OperationalError, InterfaceError, PendingRollbackError, PoolExhausted) as error:
        raise _away(engine, error) from None
    except DBAPIError as error:
        if type(error) is DatabaseError:  # its children are about statements
            raise RecordsMisconfigured(where(engine), _told(engine, error)) from None
        # A server that was told to stop says so in many ways.
        if not error.connection_invalidated:
            raise
        raise _away(engine, error) from None


def _away(engine: Engine, error: Exception) -> RecordsAway:
    return RecordsAway(where(engine), _told(engine, error))


def _told(engine: Engine, error: Exception) -> str:
    cause = str(getattr(error, "orig", None) or error).strip()
    password = engine.url.password
    if password:
        cause = cause.replace(str(password), "***")
    return " ".join(cause.split())[:300]


def _parsed(of: str | URL) -> URL:
    url = str(of)
    try:
        parsed = make_url(of)
    except (ArgumentError, ValueError):
        raise RecordsMisconfigured(url, "it cannot be read as a URL") from None
    kind = parsed.drivername.partition("+")[0]
    if kind in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind != "sqlite":
        raise RecordsMisconfigured(url, "it must begin with sqlite:/// or postgresql://")
    if not parsed.database or parsed.database == ":memory:":
        raise RecordsMisconfigured(url, "records in memory would end with the process: name a file")
    return parsed.set(drivername="sqlite+pysqlite")


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database)).absolute()
    engine = create_engine(
        url.set(database=str(path)),
        json_serializer=fit_json,
        connect_args={"timeout": BUSY_S},
        **DISCREET,
    )

    @event.listens_for(engine, "do_connect")
    def _make(_: Any, record: Any, *__: Any) -> None:
        if not path.exists():
            try:
                with _alone_in(path.parent):
                    _forget_logs(path)
                    _make_file(path)
            except (OSError, sqlite3.Error) as error:
                raise RecordsAway(where(engine), str(error)) from None
        # Before it is opened: another file that comes in between is noticed by the next look.
        record.info["place"] = _place_of(path)

    @event.listens_for(engine, "checkout")
    def _look(_: Any, record: Any, __: Any) -> None:
        if record.info.get("place") != _place_of(path):
            # Deleted, or replaced by a backup: what is written to the one that we have open is
            # lost. The pool connects anew.
            raise DisconnectionError("another file is at its place")

    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    # We say ourselves where transactions begin.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Any) -> None:
    # A transaction that reads first and writes then fails at once when somebody else
    # writes in between, without waiting: so one that will write says so at its beginning.
    options = connection.get_execution_options()
    if options.get("crewpool_reading"):
        connection.exec_driver_sql("BEGIN")
        return
    # A run that was accepted is not lost with the power either.
    is_fleeting = options.get("crewpool_fleeting")
    connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if is_fleeting else 'FULL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _place_of(path: Path) -> Place:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep others from making a file there meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some file systems of other machines have no such lock, and no place for a database.
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        # Somebody who was forked meanwhile holds it, too, and would keep it.
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)


def _forget_logs(path: Path) -> None:
    """Remove what a file that was deleted left beside it: SQLite would play it into the next."""
    if not path.exists():
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)


def _make_file(path: Path) -> None:
    """Make an empty database beside its place and put it there, unless another was quicker.

    Nobody sees it before it has a write-ahead log: SQLite does not wait for others when it
    changes to one, so of several that begin at once one would fail. And nobody holds a lock on
    it yet: a process that closes a file loses all its locks on it, those of SQLite too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # What users asked for stands in it, nobody else's business: such files are made with 0600.
    made, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(made)
    try:
        with closing(sqlite3.connect(name)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _postgresql(url: URL) -> Engine:
    # Who keeps records in a file does not wait for the driver's import.
    from supervisor.runs.postgres import BoundedConnection  # noqa: PLC0415

    # After a restart of the server no call fails for a connection of before.
    engine = create_engine(
        url, json_serializer=fit_json, pool_pre_ping=True, pool_timeout=30, **DISCREET
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_: Any, __: Any, words: Any, options: Any) -> Any:
        return BoundedConnection.opened(*words, **options)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        if connection.get_execution_options().get("crewpool_fleeting"):
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")

    @event.listens_for(engine, "handle_error")
    def _leave(context: Any) -> None:
        # A primary that became a standby answers on, and keeps its connections: its name may
        # lead to another one by now.
        if getattr(context.original_exception, "sqlstate", "") == READ_ONLY:
            context.is_disconnect = True

    return engine
