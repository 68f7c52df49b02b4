"""A PostgreSQL that goes away, or falls silent, costs calls, and no run."""

import json
import threading
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from supervisor.runs import consumer, postgres
from supervisor.runs.answers import RunFilter
from supervisor.runs.consumer import start_result_consumer
from supervisor.runs.dispatch import Options
from supervisor.runs.errors import RecordsAway
from supervisor.runs.requests import PluginRequest
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from supervisor.streams.wire import Result
from tests.records.conftest import dispatcher_of
from tests.support.postgres import PostgresServer
from tests.support.redis_world import RESULTS
from tests.support.waiting import stays_true, wait_until

ON = ("postgresql",)
REQUESTS, DEAD, GROUP = "plugin:requests", "plugin:results:dlq", "go-workers"


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL of this module's own, with the tables. It keeps what it said it has."""
    server = PostgresServer.or_skip(synchronous_commit="on").start()
    with RunStore(server.url()) as store:
        store.upgrade()
    yield server
    server.end()


@pytest.fixture
def url(server, database):
    with server.connected() as connection:
        connection.execute("TRUNCATE plugin_runs RESTART IDENTITY")
    return server.url()


@pytest.fixture
def quick(monkeypatch):
    """Give up, and try again, in moments."""
    monkeypatch.setattr(postgres, "ANSWER_S", 1.0)
    monkeypatch.setattr(postgres, "CONNECT_S", 2)  # libpq knows no less
    monkeypatch.setattr(consumer, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(consumer, "LONGEST_PAUSE_S", 0.5)


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


# ---- a server that says nothing


@pytest.mark.usefixtures("quick")
def test_no_call_waits_for_ever_for_a_server_that_is_frozen(server, store, added):
    run_id = added()
    with server.paused():
        began = time.monotonic()
        with pytest.raises(RecordsAway):
            store.get(run_id)
        assert time.monotonic() - began < 20  # without bounds that are quick, 30

    assert store.apply_result(Result(run_id, "completed", "{}")) == "applied"


@pytest.mark.usefixtures("quick")
def test_a_transaction_whose_server_freezes_is_given_up_and_taken_back(server, store, added):
    run_id = added()
    with (
        pytest.raises(RecordsAway, match="no answer within 1 s"),
        store.database.writing() as session,
    ):
        connection = session.connection()
        connection.exec_driver_sql("UPDATE plugin_runs SET attempts = 9")
        with server.paused():
            connection.exec_driver_sql("SELECT 1")

    assert store.get(run_id).attempts == 0


def test_a_server_that_waits_for_a_lock_gives_up_by_itself(server, url, store, added):
    run_id = added()
    with RunStore(f"{url}?options=-cstatement_timeout%3D1000") as hurried:
        with server.connected() as holder, holder.transaction():
            holder.execute("LOCK TABLE plugin_runs")
            with pytest.raises(RecordsAway, match="statement timeout"):
                hurried.get(run_id)
            waiting = holder.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            assert waiting.fetchone() == (0,)
        assert hurried.get(run_id).status == "pending"


def test_each_connection_is_bounded_unless_somebody_else_did(url, store):
    def bounds(opened):
        with opened.database.reading() as session:
            names = "statement_timeout", "idle_in_transaction_session_timeout"
            connection = session.connection()
            return [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]

    assert bounds(store) == ["25s", "1min"]
    with RunStore(f"{url}?options=-cstatement_timeout%3D7s") as own:
        assert bounds(own) == ["7s", "1min"]


@pytest.mark.usefixtures("quick")
def test_an_upgrade_waits_for_another_one_for_as_long_as_it_takes(server, store, monkeypatch):
    monkeypatch.setattr(postgres, "ANSWER_S", 0.5)
    upgrade = threading.Thread(target=store.upgrade)
    with server.connected() as holder, holder.transaction():
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(b"crewpool")])
        upgrade.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: holder.execute(waiting).fetchone() == (1,))
        stays_true(upgrade.is_alive, 0.8, "it waits")
    upgrade.join(10)

    assert not upgrade.is_alive()


# ---- under load


@contextmanager
def load(dispatcher, world, runs):
    """Ask for runs until told to stop, and write the result of each at once."""
    stop = threading.Event()

    def ask_for(request):
        while True:
            try:
                return dispatcher.dispatch(request, Options(retries=0))
            except RecordsAway:
                # As an application does; the same request, since nobody knows.
                if stop.wait(0.05):
                    return None

    def play():
        while not stop.is_set():
            request = PluginRequest("echoes", 7, {"number": len(runs)})
            if ask_for(request):
                run_id, number = request.plugin_run_id, len(runs)
                body = {"plugin_run_id": run_id, "status": "completed", "error": ""}
                body |= {"output": json.dumps({"number": number})}
                world.client.xadd(RESULTS, {"payload": json.dumps(body)})
                runs[run_id] = {"number": number}

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.usefixtures("quick")
def test_nothing_is_lost_while_the_database_restarts_and_freezes(server, url, world, redis_server):
    runs = {}

    def goes_on(store):
        """Whether more is asked for, and more has ended."""
        asked, ended = len(runs), store.counts().get("completed", 0)
        wait_until(lambda: len(runs) > asked + 20, 40, "runs are asked for")
        wait_until(lambda: store.counts().get("completed", 0) > ended + 20, 40, "runs end")

    with dispatcher_of(url, redis_server.url) as dispatcher, RunStore(url) as store:
        stop = start_result_consumer(redis_server.url, store, Settings())
        try:
            with load(dispatcher, world, runs):
                goes_on(store)
                server.kill()
                with pytest.raises(RecordsAway):
                    store.counts()
                server.start()
                goes_on(store)
                with server.paused(), pytest.raises(RecordsAway):
                    store.counts()
                goes_on(store)
            wait_until(lambda: store.counts().get("completed") == len(runs), 40, "all have ended")
        finally:
            stop()
        found = {run.plugin_run_id: run.output for run in pages_of(store)}
        wait_until(lambda: not store.counts().get("outbox"), 40, "nothing waits to be published")

    assert found == runs
    asked_for = [json.loads(f["payload"]) for _, f in world.client.xrange(REQUESTS)]
    assert sorted(body["plugin_run_id"] for body in asked_for) == sorted(runs)
    assert world.client.xpending(RESULTS, GROUP)["pending"] == 0
    assert world.client.exists(DEAD) == 0


def pages_of(store):
    cursor = None
    while True:
        page = store.list(RunFilter(), 1000, cursor)
        yield from page.runs
        if (cursor := page.cursor) is None:
            return


def test_a_server_that_became_a_standby_is_left_for_who_has_its_name_now(store, added):
    """A managed PostgreSQL that fails over moves its name, and its old primary answers on."""
    run_id = added()
    with store.database.reading() as session:
        session.execute(text("SET default_transaction_read_only = on"))
        session.commit()
    with pytest.raises(RecordsAway, match="read-only"):
        store.apply_result(Result(run_id, "completed", "{}"))

    assert store.apply_result(Result(run_id, "completed", "{}")) == "applied"
