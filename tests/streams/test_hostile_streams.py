"""Somebody spoils one stream, or what stands in one: the others go on, and no run is lost."""

import json

import pytest
from redis import ResponseError

from supervisor.streams import orders, sweeps
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import again, done, taken

LAST_ID = f"{2**64 - 1}-{2**64 - 1}"


def exhaust(world, stream):
    """Give a stream its last possible id: it takes no entry any more."""
    world.client.xadd(stream, {"payload": "x"}, id=LAST_ID)
    with pytest.raises(ResponseError):
        world.client.xadd(stream, {"payload": "x"})


def publication(run_id, **more):
    request = Request(run_id, "echoes", 1, {})
    return Publication(request, request_payload(request), **more)


def run_of(entry):
    return json.loads(entry.fields["payload"])["plugin_run_id"]


async def test_a_due_run_of_an_exhausted_stream_goes_by_another_and_stops_nobody(queue, world):
    await publish(queue, publication("due", priority="low", delay_s=0.001))
    world.publish("healthy")
    exhaust(world, "plugin:requests:low")

    runs = {run_of(await taken(queue, f"host.s{n}")) for n in range(2)}

    assert runs == {"due", "healthy"}


async def test_a_run_of_an_exhausted_stream_can_be_handed_back(queue, world, take):
    lease = await take("r-1", stream="plugin:requests:low")
    exhaust(world, "plugin:requests:low")

    assert await queue.hand_back(lease, again("r-1"), {}) == "handed_back"

    assert run_of(await taken(queue)) == "r-1"


async def test_where_no_stream_takes_anything_nothing_is_lost(queue, world, take):
    lease = await take("r-1")
    for stream in queue.keys.request_streams:
        exhaust(world, stream)

    with pytest.raises(ResponseError):
        await queue.hand_back(lease, again("r-1"), {})

    assert world.pending() == [("plugin:requests", lease.id, "host.s0")]


async def test_a_mark_of_an_earlier_life_cancels_no_new_one(queue, world):
    await publish(queue, publication("r-1"))
    await orders.cancel(queue, "r-1")
    await queue.take("host.s0")
    world.client.delete("crewpool:done:r-1")

    assert (await publish(queue, publication("r-1"))).what == "published"

    assert run_of(await taken(queue)) == "r-1"


async def test_a_run_id_may_begin_with_a_question_mark(queue, world, take):
    lease = await take("?x")
    world.client.xtrim("plugin:requests", maxlen=0)
    world.client.xack("plugin:requests", "crewai-workers", lease.id)

    _, lost = await sweeps.tidy(queue)

    assert [loss.run_id for loss in lost] == ["?x"]


async def test_the_unique_key_of_a_lost_run_is_freed(queue, world):
    await publish(queue, publication("u-1", unique_for_s=3600))
    digest = world.record("u-1")["unique"]

    assert await sweeps.unique_of(queue, "u-1") == digest
    lease = Lease("plugin:requests", "0-0", "s", is_fenced=False, unique=digest)

    await queue.finish(lease, done("u-1"), {})

    assert (await publish(queue, publication("u-2", unique_for_s=3600))).what == "published"
