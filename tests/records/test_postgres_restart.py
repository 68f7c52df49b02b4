"""A PostgreSQL that goes away costs calls, and no run."""

import pytest

from supervisor.runs.errors import RecordsAway
from supervisor.runs.store import RunStore
from supervisor.streams.wire import Result
from tests.support.postgres import PostgresServer

ON = ("postgresql",)


@pytest.fixture
def server():
    """A PostgreSQL of this test's own, with the tables."""
    server = PostgresServer.or_skip().start()
    with RunStore(server.url()) as store:
        store.upgrade()
    yield server
    server.end()


@pytest.fixture
def url(server, database):
    return server.url()


def test_after_a_restart_no_call_fails_for_a_connection_of_before(server, store, added):
    run_id = added()
    server.stop()
    for _ in range(2):
        with pytest.raises(RecordsAway, match="refused"):
            store.get(run_id)
    server.start()

    assert store.get(run_id).status == "pending"
    assert store.apply_result(Result(run_id, "completed", "{}")) == "applied"


def test_a_restart_in_the_middle_of_a_transaction_takes_it_back(server, store, added):
    run_id = added()
    with pytest.raises(RecordsAway), store.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE plugin_runs SET attempts = 9")
        server.stop()
        session.connection().exec_driver_sql("SELECT 1")
    server.start()

    assert store.get(run_id).attempts == 0
