"""A database that becomes another one under an open store is noticed, and forks have their own."""

import os
import shutil
import signal
import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import event, select

from supervisor.runs.errors import RecordsAway, RecordsOutdated
from supervisor.runs.models import PluginRun
from supervisor.runs.outbox import NewRun
from supervisor.runs.requests import PluginRequest
from supervisor.runs.store import RunStore
from tests.records.conftest import MOST_BYTES


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def opened(file):
    """A store in a file, with a run."""
    with RunStore(f"sqlite:///{file}") as store:
        ask(store)
        yield store


def ask(store):
    return store.add(NewRun.of(PluginRequest("hello", 7), None, MOST_BYTES)).what


def runs_in(file):
    """How many runs somebody else sees."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT count(*) FROM plugin_runs").fetchone()[0]


@pytest.mark.parametrize("ends", [("", "-wal", "-shm"), ("",)], ids=["all", "without its logs"])
def test_after_a_file_was_deleted_runs_go_into_one_that_others_see(opened, file, ends):
    for end in ends:
        file.with_name(file.name + end).unlink()

    assert ask(opened) == "added"
    assert runs_in(file) == 1
    assert opened.counts() == {"pending": 1, "outbox": 1}


def test_a_backup_that_takes_the_place_of_a_file_is_used_and_upgraded(opened, file, tmp_path):
    opened.close()
    backup = tmp_path / "backup.db"
    shutil.copy(file, backup)
    with closing(sqlite3.connect(backup)) as connection, connection:
        connection.execute("DROP TABLE crewpool_schedules")
        connection.execute("UPDATE crewpool_version SET version_num = '0001'")
    ask(opened)
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink()
    backup.replace(file)

    assert opened.counts() == {"pending": 1, "outbox": 1}
    assert ask(opened) == "added"
    assert runs_in(file) == 2
    with opened.database.reading() as session:
        session.connection().exec_driver_sql("SELECT * FROM crewpool_schedules")


def test_what_was_written_to_a_file_that_went_away_meanwhile_is_not_called_done(opened, file):
    replaced = pytest.raises(RecordsAway, match="was replaced")
    with replaced as raised, opened.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE plugin_runs SET attempts = 9")
        file.unlink()

    assert raised.value.is_retryable


def test_a_file_whose_tables_are_gone_is_away_once(opened, file):
    with closing(sqlite3.connect(file)) as connection, connection:
        for table in ("plugin_runs", "crewpool_leases", "crewpool_schedules", "crewpool_version"):
            connection.execute(f"DROP TABLE {table}")

    with pytest.raises(RecordsAway, match="no such table"):
        opened.counts()
    assert opened.counts() == {"outbox": 0}


@pytest.mark.parametrize(
    "older",
    [
        "DROP TABLE plugin_runs, crewpool_leases, crewpool_schedules, crewpool_version",
        """ALTER TABLE plugin_runs DROP COLUMN due_at;
        UPDATE crewpool_version SET version_num = '0000'""",
    ],
    ids=["no tables", "no column"],
)
def test_a_server_that_was_restored_to_other_tables_is_told_to_be_outdated(postgres, older):
    url = postgres.new_database()
    with RunStore(url) as store:
        store.upgrade()
        ask(store)
        with postgres.connected(url) as connection:
            connection.execute(older)
        for _ in range(2):
            with pytest.raises(RecordsOutdated):
                ask(store)
            with pytest.raises(RecordsOutdated):
                store.list()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_the_first_connection_has_its_own(url):
    inside, may_go_on = threading.Event(), threading.Event()
    with RunStore(url) as store:

        @event.listens_for(store.database._engine, "connect")
        def _wait(*_):
            inside.set()
            may_go_on.wait(60)

        thread = threading.Thread(target=store.counts)
        thread.start()
        assert inside.wait(10)
        if (child := os.fork()) == 0:
            signal.alarm(60)
            try:
                os._exit(0 if store.counts() == {"outbox": 0} else 2)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        may_go_on.set()
        thread.join()

        assert status == 0
        assert store.counts() == {"outbox": 0}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_fork_in_the_middle_of_a_transaction_writes_for_itself(url):
    """SQLite would believe for ever that somebody in the child has the file locked."""
    inside = threading.Event()

    def write(store):
        with store.database.writing() as session:
            assert not session.scalar(select(PluginRun.id))
            inside.set()
            threading.Event().wait(0.2)  # the fork begins meanwhile

    with RunStore(url) as store:
        store.counts()
        thread = threading.Thread(target=write, args=(store,))
        thread.start()
        assert inside.wait(10)
        if (child := os.fork()) == 0:
            signal.alarm(8)
            try:
                ask(store)
                os._exit(0)
            finally:
                os._exit(1)
        thread.join()

        assert os.waitpid(child, 0)[1] == 0
        assert store.counts() == {"outbox": 1, "pending": 1}
