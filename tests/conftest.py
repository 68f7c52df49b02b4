"""Fixtures for all suites: servers, the application's view of them, and supervisors."""

import os
import signal
import sys

import pytest

from tests.support.redis_world import RedisWorld
from tests.support.servers import KINDS, RedisServer, ValkeyServer
from tests.support.yard import Yard

# Nothing of the machine that runs the tests may turn into a setting of ours.
for _name in [n for n in os.environ if n.startswith("CREWPOOL_")]:
    del os.environ[_name]
for _name in ("REDIS_URL", "PLUGIN_DIR", "CREW_TIMEOUT_SECONDS"):
    os.environ.pop(_name, None)

# Who runs the tests in the background may have told us to ignore Ctrl-C, and what we ignore
# our children ignore: no test of a signal would mean anything.
for _signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(
            _signum, signal.default_int_handler if _signum == signal.SIGINT else signal.SIG_DFL
        )


@pytest.fixture(autouse=True)
def _crewai_stays_out():
    """crewai in this process would start threads and take signals away from pytest."""
    yield
    assert "crewai" not in sys.modules, "this test made the pytest process import crewai"


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Return one running server of a kind, the same for the whole session."""
    running = {}

    def get(kind):
        if kind not in running:
            folder = tmp_path_factory.mktemp(kind)
            running[kind] = KINDS[kind].or_skip(folder).start()
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(scope="session")
def any_server(servers):
    """A server: Redis where there is one, else Valkey. Whoever uses it empties it."""
    return servers("redis" if RedisServer.program() else "valkey")


@pytest.fixture
def redis_server(any_server):
    """The same, empty."""
    any_server.empty()
    return any_server


@pytest.fixture
def own_server(tmp_path):
    """A server of this test's own, which may be stopped, frozen and started again."""
    kind = RedisServer if RedisServer.program() else ValkeyServer
    server = kind.or_skip(tmp_path / "server", appendonly=True).start()
    yield server
    server.stop()


@pytest.fixture
def world(redis_server):
    """What the application sees of the session's server."""
    return RedisWorld(redis_server.client)


@pytest.fixture
def start_supervisor(request, tmp_path):
    """Start supervisors; whatever happens, none of their processes outlives the test.

    start_supervisor(url, **environment) returns one that is ready. With `wait=False` it
    has only been started.
    """
    yard = Yard(tmp_path)

    def start(url=None, **options):
        return yard.start(url or request.getfixturevalue("redis_server").url, **options)

    yield start
    yard.clear()


@pytest.fixture
def supervisor(start_supervisor):
    """A supervisor with two workers on the session's server, ready."""
    return start_supervisor()
