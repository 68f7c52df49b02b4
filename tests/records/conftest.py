"""The records suite runs on SQLite and on a real PostgreSQL."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from supervisor.runs import relay
from supervisor.runs.dispatch import Dispatcher
from supervisor.runs.outbox import NewRun
from supervisor.runs.requests import PluginRequest
from supervisor.runs.sealing import Sealer, make_key
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from tests.support.postgres import PostgresServer

DATABASES = ("sqlite", "postgresql")
MOST_BYTES = 1_048_576
SECRET = "sk-secret-of-a-user"


@contextmanager
def dispatcher_of(records_url, redis_url, **settings):
    facts = {"records_url": records_url, "redis_url": redis_url, **settings}
    with Dispatcher.of(Settings(**facts)) as made:
        yield made


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def go_on(self, seconds):
        self.now += timedelta(seconds=seconds)


def pytest_generate_tests(metafunc):
    """Run each test that needs a database on all of them, or on those that its module names."""
    if "database" in metafunc.fixturenames:
        kinds = getattr(metafunc.module, "ON", DATABASES)
        metafunc.parametrize("database", kinds)


@pytest.fixture(autouse=True)
def _relays_look_often(monkeypatch):
    monkeypatch.setattr(relay, "POLL_S", 0.05)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL for the whole session."""
    server = PostgresServer.or_skip().start()
    yield server
    server.end()


@pytest.fixture
def empty_url(request, database, tmp_path):
    """The URL of a database without any table."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture(scope="session")
def _tables(postgres):
    """One PostgreSQL database with the tables, for all tests that do not change these."""
    url = postgres.new_database()
    with RunStore(url) as store:
        store.upgrade()
    return url


@pytest.fixture
def url(request, database, tmp_path):
    """The URL of a database with the tables and nothing in them."""
    if database == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    url = request.getfixturevalue("_tables")
    with request.getfixturevalue("postgres").connected(url) as connection:
        connection.execute(
            "TRUNCATE plugin_runs, crewpool_leases, crewpool_schedules RESTART IDENTITY"
        )
    return url


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(url, clock):
    with RunStore(url, clock) as store:
        yield store


@pytest.fixture
def sealer(tmp_path):
    return Sealer.of(tmp_path / "outbox.key")


@pytest.fixture
def add(store, sealer):
    """Record a run; return what became of it."""

    def add(plugin="hello", user_id=7, settings=None, **more):
        request = PluginRequest(plugin, user_id, settings or {}, **more)
        return store.add(NewRun.of(request, sealer, MOST_BYTES))

    return add


@pytest.fixture
def added(add):
    """Record a run; return its id."""
    return lambda **facts: add(**facts).run.plugin_run_id


@pytest.fixture
def key(tmp_path, database):
    """The settings of the key: SQLite needs none."""
    if database == "sqlite":
        return {}
    make_key(tmp_path / "key")
    return {"outbox_key_file": tmp_path / "key"}


@pytest.fixture
def dispatcher(url, redis_server, key):
    with dispatcher_of(url, redis_server.url, **key) as made:
        yield made
