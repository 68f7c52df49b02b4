"""take.lua: what must not start is passed over: cancelled runs, and those in hand already."""

import pytest

from supervisor.streams.queue import Lease, Nothing, Passed
from tests.streams.conftest import again, done, taken, taken_runs
from tests.support.redis_world import GROUP, REQUESTS, STREAMS


def cancel(world, run_id):
    """Mark a run as cancel.lua does when it was found waiting."""
    world.client.zadd("crewpool:cancelled", {run_id: 1})


async def test_a_cancelled_entry_is_acknowledged_and_the_next_is_taken(queue, world):
    world.publish("r-1")
    world.publish("r-2")
    cancel(world, "r-1")

    answer = await queue.take("host.s0")

    ((first, _), (second, _)) = world.entries()
    assert answer.got.id == second
    assert answer.passed == (Passed("cancelled", "r-1", "echoes", first),)
    assert world.pending() == [(REQUESTS, second, "host.s0")]


async def test_of_cancelled_entries_only_there_is_nothing(queue, world):
    for n in range(5):
        world.publish(f"r-{n}", stream=STREAMS[n % 4])
        cancel(world, f"r-{n}")

    answer = await queue.take("host.s0")

    assert isinstance(answer.got, Nothing)
    assert [passed.kind for passed in answer.passed] == ["cancelled"] * 5
    world.assert_nothing_pending()


async def test_a_cancelled_run_is_not_handed_back(queue, world, take):
    lease = await take("r-1")
    cancel(world, "r-1")

    assert await queue.hand_back(lease, again(), {}) == "cancelled"

    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]
    assert await queue.finish(lease, done(cause="cancelled"), {}) == "finished"


async def test_a_duplicate_of_a_run_in_hand_is_dropped(queue, world, take):
    await take("r-1")
    world.publish("r-1", stream=STREAMS[0])

    answer = await queue.take("host.s1")

    assert isinstance(answer.got, Nothing)
    assert [(p.kind, p.run_id) for p in answer.passed] == [("duplicate", "r-1")]
    assert len(world.pending()) == 1
    assert world.running() == {"echoes": 1}


async def test_after_the_first_was_handed_back_one_of_them_runs(queue, world, take):
    lease = await take("r-1")
    world.publish("r-1")
    await queue.hand_back(lease, again(), {})

    # The duplicate stands before the copy that was handed back.
    entry = await taken(queue, "host.s1")
    answer = await queue.take("host.s2")

    assert entry.attempt == 1
    assert [p.kind for p in answer.passed] == ["duplicate"]
    assert await queue.finish(Lease.of(entry, "host.s1"), done(), {}) == "finished"
    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_a_duplicate_of_a_delayed_run_is_dropped(queue, world, take):
    await queue.hand_back(await take("r-1"), again(delay_s=60), {})
    world.publish("r-1")

    answer = await queue.take("host.s0")

    assert [p.kind for p in answer.passed] == ["duplicate"]
    assert list(world.delayed()) == ["r-1"]


async def test_a_duplicate_of_a_parked_run_is_dropped(queue, world):
    world.set_plugin_state("echoes", state="paused")
    world.publish("r-1")
    world.publish("r-1")

    answer = await queue.take("host.s0")

    assert [p.kind for p in answer.passed] == ["parked", "duplicate"]
    assert world.parked() == {"echoes": 1}


@pytest.mark.parametrize("how", ["xack", "xdel", "group"])
async def test_a_duplicate_of_what_is_not_pending_any_more_runs(queue, world, take, how):
    """A note that a run is in hand is no reason to drop it: somebody else acknowledged it."""
    lease = await take("r-1", stream=STREAMS[1])
    if how == "xack":
        world.client.xack(STREAMS[1], GROUP, lease.id)
    elif how == "xdel":
        world.client.xdel(STREAMS[1], lease.id)
        world.client.xautoclaim(STREAMS[1], GROUP, "sweep", 0)
    else:
        world.client.xgroup_destroy(STREAMS[1], GROUP)
        world.client.xgroup_create(STREAMS[1], GROUP, id="$")
    world.publish("r-1")

    assert await taken_runs(queue, 1) == ["r-1"]
    assert world.running() == {"echoes": 1}


async def test_an_entry_that_its_group_delivers_again_is_no_duplicate_of_itself(queue, world, take):
    lease = await take("r-1")
    world.client.xgroup_destroy(REQUESTS, GROUP)

    entry = await taken(queue, "other.s0")

    assert entry.id == lease.id
    assert world.holding()["r-1"]["consumer"] == "other.s0"
    assert world.running() == {"echoes": 1}


async def test_entries_without_a_run_id_are_no_duplicates(queue, world):
    for _ in range(3):
        world.publish(raw=world.payload(7))

    entries = [await taken(queue, f"host.s{n}") for n in range(3)]

    assert len({entry.id for entry in entries}) == 3


async def test_a_run_that_has_its_result_is_not_started_again(queue, world, take):
    await queue.finish(await take("r-1"), done(), {})
    world.publish("r-1")

    answer = await queue.take("host.s0")

    assert isinstance(answer.got, Nothing)
    assert [(p.kind, p.run_id) for p in answer.passed] == [("duplicate", "r-1")]
    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()
