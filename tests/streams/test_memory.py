"""maxmemory: a script is refused whole, before its first write, and done later."""

import pytest
from redis.exceptions import RedisError

from tests.streams.conftest import again, done, failed
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
