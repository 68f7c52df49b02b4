"""Somebody deleted one of our keys: what can be known is put right, and the rest is answered."""

import json

import pytest

from supervisor.streams import sweeps
from supervisor.streams.queue import Nothing
from tests.streams.conftest import again, taken

ONE = json.dumps({"echoes": {"c": 1}})


async def test_a_count_that_nobody_holds_blocks_its_plugin_until_the_next_tidy(queue, world, take):
    await take("r-1")
    world.client.delete("crewpool:holding")
    world.publish("r-2")
    assert isinstance((await queue.take("host.s1", ONE)).got, Nothing)
    assert world.client.hget("crewpool:running", "echoes") == "1"

    await sweeps.tidy(queue)

    assert world.client.hgetall("crewpool:running") == {}
    assert json.loads((await taken(queue, "host.s2", ONE)).fields["payload"])["plugin_run_id"]


@pytest.mark.parametrize("key", ["crewpool:delayed", "crewpool:parked", "crewpool:parked:plugins"])
async def test_what_waits_for_nothing_any_more_goes_on(queue, world, take, key):
    lease = await take("r-1")
    await queue.hand_back(lease, again("r-1", delay_s=600), {})
    await take("r-2", "host.s1")
    world.publish("r-3")
    await queue.take("host.s2", ONE)
    assert world.client.hlen("crewpool:waiting") == 2
    world.client.delete(key)

    await sweeps.tidy(queue)

    # Without limits, what is parked goes on as well.
    freed = ["r-3", "r-1"] if key == "crewpool:delayed" else ["r-3"]
    entries = [await taken(queue, f"other.s{n}") for n in range(len(freed))]
    assert [json.loads(e.fields["payload"])["plugin_run_id"] for e in entries] == freed


async def test_what_is_waited_for_and_gone_is_lost(queue, world, take):
    lease = await take("r-1")
    await queue.hand_back(lease, again("r-1", delay_s=600), {})
    world.client.delete("crewpool:waiting")

    _, lost = await sweeps.tidy(queue)

    assert [loss.run_id for loss in lost] == ["r-1"]
    assert world.client.zcard("crewpool:delayed") == 0
