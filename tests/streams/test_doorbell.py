"""The doorbell: a blocked read without the group, heard on every priority stream."""

import asyncio
import time

import pytest

from supervisor.streams.queue import Nothing
from tests.streams.conftest import taken
from tests.support.redis_world import GROUP, STREAMS
from tests.support.waiting import eventually


def is_blocked(server):
    return server.client.info("clients")["blocked_clients"] == 1


@pytest.mark.parametrize("stream", STREAMS)
async def test_an_entry_on_each_stream_wakes_at_once(queue, world, server, stream):
    nothing = (await queue.take("host.s0")).got
    assert isinstance(nothing, Nothing)
    waiting = asyncio.ensure_future(queue.wait_for_entry(nothing.after))
    await eventually(lambda: is_blocked(server))

    began = time.monotonic()
    world.publish(stream=stream)

    assert await waiting is True
    assert time.monotonic() - began < 1


async def test_an_entry_that_came_in_between_is_not_missed(queue, world):
    nothing = (await queue.take("host.s0")).got
    world.publish()

    assert await asyncio.wait_for(queue.wait_for_entry(nothing.after), 2) is True


async def test_ringing_delivers_nothing(queue, world):
    nothing = (await queue.take("host.s0")).got
    world.publish()

    await queue.wait_for_entry(nothing.after)

    assert world.pending() == []
    assert all(
        group["entries-read"] in (0, None) for group in world.client.xinfo_groups(STREAMS[2])
    )


async def test_what_was_delivered_already_does_not_ring(queue, world, server):
    world.publish()
    await queue.take("host.s0")
    nothing = (await queue.take("host.s1")).got

    waiting = asyncio.ensure_future(queue.wait_for_entry(nothing.after))
    await eventually(lambda: is_blocked(server))
    world.publish()

    assert await waiting is True


async def test_who_is_cancelled_while_waiting_can_go_on(queue, world, server):
    nothing = (await queue.take("host.s0")).got
    waiting = asyncio.ensure_future(queue.wait_for_entry(nothing.after))
    await eventually(lambda: is_blocked(server))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    world.publish()

    assert await asyncio.wait_for(queue.wait_for_entry(nothing.after), 2) is True


async def test_the_doorbell_works_after_the_group_is_gone(queue, world, server):
    nothing = (await queue.take("host.s0")).got
    waiting = asyncio.ensure_future(queue.wait_for_entry(nothing.after))
    await eventually(lambda: is_blocked(server))
    world.client.xgroup_destroy(STREAMS[2], GROUP)

    world.publish("r-1")

    assert await waiting is True
    assert '"r-1"' in (await taken(queue)).fields["payload"]
