"""forget.lua: consumers go when nothing is pending under them, and never otherwise."""

import asyncio

from supervisor.streams import sweeps
from tests.streams.conftest import taken
from tests.support.redis_world import ALL_STREAMS, GROUP, REQUESTS


async def test_named_consumers_go(queue, world):
    for stream in ALL_STREAMS:
        world.client.xgroup_createconsumer(stream, GROUP, "host.s0")
        world.client.xgroup_createconsumer(stream, GROUP, "host.s1")

    assert await sweeps.forget(queue, ["host.s0"]) == len(ALL_STREAMS)

    assert [list(world.consumers(stream)) for stream in ALL_STREAMS] == [["host.s1"]] * 5


async def test_a_consumer_with_something_pending_stays(queue, world, take):
    lease = await take("r-1")

    await sweeps.forget(queue, ["host.s0"])

    assert world.consumers() == {"host.s0": 1}
    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]


async def test_it_never_deletes_under_a_reader_that_takes_at_the_same_time(queue, world):
    for n in range(200):
        world.publish(f"r-{n}")

    async def take_all():
        return [await queue.take(f"host.s{n}") for n in range(200)]

    async def forget_all():
        for _ in range(200):
            await sweeps.forget_dead(queue, (), 0)

    await asyncio.gather(take_all(), forget_all())

    assert len(world.pending()) == 200


async def test_consumers_that_read_lately_stay(queue, world):
    world.client.xgroup_createconsumer(REQUESTS, GROUP, "host.s0")
    await queue.take("host.s0")

    assert await sweeps.forget_dead(queue, (), 15) == 0

    assert world.consumers() == {"host.s0": 0}


async def test_consumers_that_read_nothing_for_long_go(queue, world):
    world.client.xgroup_createconsumer(REQUESTS, GROUP, "dead.s0")

    assert await sweeps.forget_dead(queue, (), 0) == 1

    assert world.consumers() == {}


async def test_a_forgotten_consumer_comes_back_with_its_next_read(queue, world):
    world.client.xgroup_createconsumer(REQUESTS, GROUP, "host.s0")
    await sweeps.forget(queue, ["host.s0"])

    world.publish("r-1")
    entry = await taken(queue)

    assert world.pending() == [(REQUESTS, entry.id, "host.s0")]


async def test_names_that_are_not_there_do_no_harm(queue):
    assert await sweeps.forget(queue, ["nobody.s0", "nobody.s1"]) == 0
