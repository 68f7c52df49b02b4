"""What a write waits for: the disk, where it matters, and the other threads of its process."""

import threading

import pytest

from supervisor.runs import database as databases
from supervisor.runs.database import Database
from supervisor.runs.errors import RecordsAway

# The servers of these tests wait for no disk at all: whether we said so is what counts.
ASKS = {
    "sqlite": "SELECT synchronous = 2 FROM pragma_synchronous",
    "postgresql": "SELECT source <> 'session' FROM pg_settings WHERE name = 'synchronous_commit'",
}


@pytest.fixture
def waiting(monkeypatch, database):
    """Whether each transaction that is begun from now on waits for the disk."""
    said, writing = [], Database.writing

    def asked(self, **how):
        made = writing(self, **how)
        enter = made.__enter__

        def entered():
            session = enter()
            said.append(session.connection().exec_driver_sql(ASKS[database]).scalar())
            return session

        return _Entering(entered, made.__exit__)

    monkeypatch.setattr(Database, "writing", asked)
    return said


class _Entering:
    def __init__(self, enter, leave):
        self._enter, self._leave = enter, leave

    def __enter__(self):
        return self._enter()

    def __exit__(self, *error):
        return self._leave(*error)


def test_only_what_another_look_at_redis_makes_good_does_not_wait_for_the_disk(
    store, added, waiting
):
    run_id = added()
    store.mark_published([run_id])
    store.fail(run_id, "given up")

    assert [bool(told) for told in waiting] == [True, False, True]


def test_threads_write_to_a_file_one_after_the_other(store, added, database, monkeypatch):
    if database != "sqlite":
        pytest.skip("a server has many writers")
    monkeypatch.setattr(databases, "BUSY_S", 0.05)
    told, ids = [], [added(), added()]

    def failing(run_id):
        try:
            told.append(store.fail(run_id, "given up"))
        except RecordsAway as away:
            told.append(str(away))

    with store.database.writing():
        late = threading.Thread(target=failing, args=(ids[0],))
        late.start()
        late.join()
    failing(ids[1])

    assert "another thread has been writing for 0.05 s" in told[0]
    assert told[1] is True
