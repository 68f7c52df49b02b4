"""The streams suite runs on both servers and with both versions of the protocol."""

import json

import pytest

from supervisor.streams.endings import Bury, DeadLetter, Finish, HandBack
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Lease, Limits, Queue
from supervisor.streams.wire import Entry, Result
from tests.support.redis_world import ALL_STREAMS, REQUESTS, RedisWorld

KEYS = Keys(
    "plugin:requests", "plugin:results", "plugin:requests:dlq", "crewai-workers", "go-workers"
)
LIMITS = Limits(max_payload_bytes=65536, record_ttl_s=600, done_ttl_s=900)
LETTER = DeadLetter('{"safe":true}', {"reason": "drill", "class": "invalid"})
# Each server and each protocol once; modules about the scripts that decide take all of them.
BACKENDS = ("redis-resp2", "valkey-resp3")
ALL_BACKENDS = ("redis-resp2", "redis-resp3", "valkey-resp2", "valkey-resp3")
START = ["0-0"] * len(ALL_STREAMS)


def done(run_id="r-1", **more):
    """Return the ending of a run that completed."""
    return Finish(Result(run_id, "completed", "{}"), **more)


def again(run_id="r-1", attempt=2, **more):
    """Return the ending of a run that shall start again."""
    return HandBack(run_id, attempt, "drill", **more)


def failed(run_id="r-1", cause="invalid"):
    """Return the ending of a run that failed for good."""
    return Bury(LETTER, Result(run_id, "failed", error="no such plugin"), cause)


async def taken(queue, consumer="host.s0", limits="{}"):
    """Take, and return the entry that there must be."""
    got = (await queue.take(consumer, limits)).got
    assert isinstance(got, Entry), got
    return got


async def taken_runs(queue, count, limits="{}"):
    """Take so many runs, each for a consumer of its own; return their ids in order."""
    entries = [await taken(queue, f"host.s{n}", limits) for n in range(count)]
    return [json.loads(entry.fields["payload"])["plugin_run_id"] for entry in entries]


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
        return Lease.of(await taken(queue, consumer), consumer)

    return take


@pytest.fixture
def read(queue, world):
    """Publish a run and read it as another program of the group would; return its lease.

    The only way to have one run in hand twice: take.lua drops a duplicate.
    """

    def read(run_id, consumer="host.s0", stream=REQUESTS, **more):
        world.publish(run_id, stream=stream, **more)
        (entry_id,) = world.read(consumer, stream)
        return Lease(stream, entry_id, consumer)

    return read
