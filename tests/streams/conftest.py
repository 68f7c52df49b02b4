"""The streams suite runs on both servers and with both versions of the protocol."""

import pytest

from supervisor.streams.endings import DeadLetter
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Lease, Limits, Queue
from tests.support.redis_world import RedisWorld

KEYS = Keys(
    "plugin:requests", "plugin:results", "plugin:requests:dlq", "crewai-workers", "go-workers"
)
LIMITS = Limits(max_payload_bytes=65536, record_ttl_s=600, done_ttl_s=900)
LETTER = DeadLetter('{"safe":true}', {"reason": "drill", "class": "invalid"})
BACKENDS = ("redis-resp2", "redis-resp3", "valkey-resp2", "valkey-resp3")


def pytest_generate_tests(metafunc):
    """Run each test on all servers and protocols, or on those that its module names.

    Tests marked slow run on the first pair only.
    """
    if "backend" in metafunc.fixturenames:
        backends = getattr(metafunc.module, "BACKENDS", BACKENDS)
        is_slow = metafunc.definition.get_closest_marker("slow") is not None
        metafunc.parametrize("backend", backends[:1] if is_slow else backends, scope="session")


@pytest.fixture
def server(servers, backend):
    """An empty server of the kind under test."""
    server = servers(backend.split("-")[0])
    server.empty()
    return server


@pytest.fixture
def world(server):
    return RedisWorld(server.client)


@pytest.fixture
def url(server, backend):
    return f"{server.url}?protocol={backend[-1]}"


@pytest.fixture
async def queue(url):
    """A queue as a supervisor has it, with its groups made."""
    queue = Queue(url, KEYS, LIMITS)
    await queue.ensure_groups()
    yield queue
    await queue.close()


@pytest.fixture
def take(queue, world):
    """Publish a run and take it; return its lease."""

    async def take(run_id, consumer="host.s0", **more):
        world.publish(run_id, **more)
        entry = await queue.take(consumer)
        return Lease(entry.stream, entry.id, consumer)

    return take
