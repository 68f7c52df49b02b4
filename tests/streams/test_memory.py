"""maxmemory: a script is refused whole, before its first write, and done later."""

from dataclasses import replace

import pytest
from redis.exceptions import RedisError

from supervisor.streams import sweeps
from supervisor.streams.inspect import Refused
from supervisor.streams.orders import cancel
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease, Queue
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import KEYS, LIMITS, START, again, done, failed, taken
from tests.support.redis_world import REQUESTS

REFUSED = r"OOM|maxmemory"
DONE = done()


@pytest.fixture
def no_memory(server):
    """Make the server full; undone by `server.empty()` too."""

    def fill():
        server.client.config_set("maxmemory", 1)

    yield fill
    server.client.config_set("maxmemory", 0)


async def test_a_result_for_which_there_is_no_room_leaves_the_entry_pending(
    queue, world, take, no_memory
):
    lease = await take("r-1")
    no_memory()

    with pytest.raises(RedisError, match=REFUSED):
        await queue.finish(lease, DONE, {"state": "completed"})

    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]
    assert world.results() == []
    assert world.record("r-1") == {}


async def test_it_is_published_once_there_is_room_again(queue, world, take, no_memory, server):
    lease = await take("r-1")
    no_memory()
    with pytest.raises(RedisError, match=REFUSED):
        await queue.finish(lease, DONE, {})
    server.client.config_set("maxmemory", 0)

    assert await queue.finish(lease, DONE, {}) == "finished"

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


@pytest.mark.parametrize("ending", ["hand_back", "bury"])
async def test_no_ending_is_done_by_halves(queue, world, take, no_memory, ending):
    lease = await take("r-1")
    endings = {
        "hand_back": lambda: queue.hand_back(lease, again(), {"state": "pending"}),
        "bury": lambda: queue.bury(lease, failed(), {"state": "failed"}),
    }
    before = world.everything()
    no_memory()

    with pytest.raises(RedisError, match=REFUSED):
        await endings[ending]()

    assert world.everything() == before
    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]


async def test_leases_are_kept_while_memory_is_short(queue, take, no_memory):
    """Else a full server would make every run look abandoned."""
    lease = await take("r-1")
    no_memory()

    assert await queue.renew([lease]) == ["renewed"]


@pytest.mark.parametrize("script", ["take", "reclaim", "publish", "delay", "cancel", "pause"])
async def test_what_needs_room_is_refused_and_changes_nothing(
    queue, world, take, no_memory, script
):
    await take("r-1")
    world.publish("r-2")
    request = Request("r-3", "echoes", 1, {})
    plain = Publication(request, request_payload(request))
    commands = {
        "take": lambda: queue.take("host.s1"),
        "reclaim": lambda: sweeps.reclaim(queue, "host.sweep", 0, START),
        "publish": lambda: publish(queue, plain),
        "delay": lambda: publish(queue, replace(plain, delay_s=60)),
        "cancel": lambda: cancel(queue, "r-1"),
        "pause": lambda: queue.call("plugin_state", (), ["echoes", "pause", "me", "drill"]),
    }
    before, pending = sorted(world.everything().splitlines()), world.pending()
    no_memory()

    with pytest.raises((RedisError, Refused), match=REFUSED):
        await commands[script]()

    assert sorted(world.everything().splitlines()) == before
    assert world.pending() == pending


async def test_tidying_makes_room_while_memory_is_short(url, world, no_memory):
    queue = Queue(url, KEYS, replace(LIMITS, retention_s=0))
    await queue.ensure_groups()
    for n in range(5):
        world.publish(f"r-{n}")
        await queue.finish(Lease.of(await taken(queue), "host.s0"), done(f"r-{n}"), {})
    no_memory()

    trimmed, _ = await sweeps.tidy(queue)
    forgotten = await sweeps.forget(queue, ["host.s0"])
    await queue.close()

    assert trimmed == 4
    assert forgotten > 0
