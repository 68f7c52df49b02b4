"""A run that alone may be on: its key is freed at every end, and at no other moment."""

import pytest

from supervisor.streams import sweeps
from supervisor.streams.keeper import Rhythm
from supervisor.streams.orders import cancel
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import START, again, done, failed, taken
from tests.streams.host import Host
from tests.support.redis_world import GROUP, REQUESTS

LONG = Rhythm(lease_s=60, renew_every_s=20, sweep_every_s=60)


async def submit(queue, run_id, **more):
    """Publish a run of which there may be one at a time; return what became of it."""
    request = Request(run_id, "echoes", 1, {"topics": ["a"]})
    publication = Publication(request, request_payload(request), unique_for_s=600, **more)
    return await publish(queue, publication)


async def is_free(queue):
    """Whether another one may be published."""
    return (await submit(queue, "r-next")).what == "published"


@pytest.fixture
async def lease(queue):
    """The lease of a unique run in hand."""
    await submit(queue, "r-1")
    return Lease.of(await taken(queue), "host.s0")


async def test_while_it_waits_runs_or_is_tried_again_no_other_gets_in(queue, world, lease):
    assert (await submit(queue, "r-2")).run_id == "r-1"
    await queue.hand_back(lease, again(), {})
    assert (await submit(queue, "r-2")).run_id == "r-1"
    again_lease = Lease.of(await taken(queue), "host.s0")
    await queue.hand_back(again_lease, again(attempt=3, delay_s=60), {})

    assert (await submit(queue, "r-2")).run_id == "r-1"
    world.let_delayed_begin()
    await queue.finish(Lease.of(await taken(queue), "host.s0"), done(), {})
    assert await is_free(queue)


@pytest.mark.parametrize("end", ["finish", "bury", "cancelled"])
async def test_it_is_freed_at_the_end(queue, lease, end):
    if end == "finish":
        await queue.finish(lease, done(), {})
    elif end == "bury":
        await queue.bury(lease, failed(), {})
    else:
        await queue.finish(lease, done(cause="cancelled"), {})

    assert await is_free(queue)


async def test_it_is_freed_when_the_run_is_cancelled_in_the_queue(queue, world):
    await submit(queue, "r-1")
    assert (await cancel(queue, "r-1")).was == "queued"

    assert await is_free(queue)


async def test_it_is_freed_when_the_run_is_cancelled_while_delayed(queue):
    await submit(queue, "r-1", delay_s=60)
    assert (await cancel(queue, "r-1")).was == "delayed"

    assert await is_free(queue)


async def test_it_is_freed_when_the_run_is_cancelled_while_parked(queue, world):
    world.set_plugin_state("echoes", state="paused")
    await submit(queue, "r-1")
    await queue.take("host.s0")
    assert (await cancel(queue, "r-1")).was == "parked"
    world.client.delete("crewpool:plugins")

    assert await is_free(queue)


async def test_a_parked_run_keeps_it_until_its_end(queue, world):
    world.set_plugin_state("echoes", state="paused")
    await submit(queue, "r-1")
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins")
    lease = Lease.of(await taken(queue), "host.s0")

    assert (await submit(queue, "r-2")).run_id == "r-1"
    await queue.bury(lease, failed(), {})
    assert await is_free(queue)


async def test_it_is_freed_when_a_sweeper_ends_the_run(queue, lease):
    page = await sweeps.reclaim(queue, "host.sweep", 0, START)
    await queue.bury(Lease.of(page.entries[0], "host.sweep"), failed(), {})

    assert await is_free(queue)


@pytest.mark.parametrize("how", ["cut off while it waited", "acknowledged by a stranger"])
async def test_it_is_freed_when_the_run_was_lost(queue, world, url, how):
    await submit(queue, "r-1")
    if how == "cut off while it waited":
        world.client.xtrim(REQUESTS, maxlen=0, approximate=False)
    else:
        entry = await taken(queue, "dead-0000.s0")
        world.client.xack(REQUESTS, GROUP, entry.id)
    async with Host(url, rhythm=LONG) as host:
        await host.keeper._tidy()

    assert world.result("r-1")["status"] == "failed"
    assert await is_free(queue)


async def test_an_end_of_a_lost_lease_frees_nothing(queue, world, lease):
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [lease.id])

    await queue.finish(lease, done(), {})

    assert (await submit(queue, "r-2")).what == "unique"


async def test_a_second_end_does_not_free_the_key_of_the_next_run(queue, lease):
    await queue.finish(lease, done(), {})
    await submit(queue, "r-2")

    await queue.finish(lease, done(), {})

    assert (await submit(queue, "r-3")).run_id == "r-2"
