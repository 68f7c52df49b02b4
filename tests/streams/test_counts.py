"""What is in hand is counted: never twice, and never for ever. Limits rest on these counts."""

import asyncio
from dataclasses import replace

import pytest

from supervisor.streams import sweeps
from supervisor.streams.endings import Bury
from supervisor.streams.queue import Lease
from tests.streams.conftest import LETTER, START, again, done, failed, taken
from tests.support.redis_world import GROUP, REQUESTS, RESUMED

ENDINGS = {
    "finish": lambda queue, lease: queue.finish(lease, done(), {}),
    "hand back": lambda queue, lease: queue.hand_back(lease, again(), {}),
    "delay": lambda queue, lease: queue.hand_back(lease, again(delay_s=60), {}),
    "bury": lambda queue, lease: queue.bury(lease, failed(), {}),
    "bury without a run id": lambda queue, lease: queue.bury(lease, Bury(LETTER, None), {}),
    "bury with another run id": lambda queue, lease: queue.bury(lease, failed("another"), {}),
}
NONE = ({}, {})


def counts(world):
    """Who is held, and how many that makes for each plugin."""
    return world.holding(), world.running()


@pytest.fixture(params=ENDINGS)
def end(request, queue):
    """One way to end an entry."""
    return lambda lease: ENDINGS[request.param](queue, lease)


async def test_what_is_taken_is_held_and_counted(world, take):
    lease = await take("r-1")

    (facts,) = world.holding().values()
    assert facts.pop("at_ms") > 1e12
    assert facts == {
        "stream": REQUESTS,
        "id": lease.id,
        "consumer": "host.s0",
        "plugin": "echoes",
    }
    assert world.running() == {"echoes": 1}


async def test_each_end_lets_go(world, take, end):
    await end(await take("r-1"))

    assert counts(world) == NONE


async def test_an_end_that_is_repeated_makes_no_room_twice(world, take, end):
    lease = await take("r-1")
    await take("r-2", "host.s1")
    for _ in range(3):
        await end(lease)

    assert list(world.holding()) == ["r-2"]
    assert world.running() == {"echoes": 1}


async def test_an_end_of_two_at_once_makes_no_room_twice(world, take, end):
    lease = await take("r-1")
    await take("r-2", "host.s1")

    await asyncio.gather(*(end(lease) for _ in range(5)))

    assert world.running() == {"echoes": 1}


async def test_who_lost_the_entry_lets_go_of_nothing(world, take, end):
    lease = await take("r-1")
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [lease.id])

    await end(lease)

    assert list(world.holding()) == ["r-1"]
    assert world.running() == {"echoes": 1}


async def test_what_a_sweeper_claimed_stays_held_until_it_is_ended(queue, world, take, end):
    lease = await take("r-1")

    page = await sweeps.reclaim(queue, "host.sweep", 0, START)
    held = counts(world)
    await end(Lease.of(page.entries[0], "host.sweep"))

    assert list(held[0]) == ["r-1"]
    assert held[1] == {"echoes": 1}
    assert counts(world) == NONE
    assert await queue.finish(lease, done(), {}) in ("lost", "finished")
    assert counts(world) == NONE


async def test_an_end_without_the_fence_lets_go(queue, world, take):
    lease = await take("r-1")
    world.client.xdel(REQUESTS, lease.id)

    await queue.finish(replace(lease, is_fenced=False), done(), {})

    assert counts(world) == NONE


async def test_taking_again_what_one_has_counts_once(queue, world, take):
    await take("r-1")
    for _ in range(3):
        await queue.take("host.s0")

    assert world.running() == {"echoes": 1}


async def test_what_another_program_read_is_held_once_it_is_adopted(queue, world, read):
    read("r-1")

    await queue.take("host.s0")

    assert list(world.holding()) == ["r-1"]
    assert world.running() == {"echoes": 1}


async def test_a_second_entry_of_a_run_takes_the_place_of_one_that_is_gone(queue, world, take):
    for n in range(3):
        lease = await take("r-1", f"host.s{n}", plugin=f"plugin-{n}")
        world.client.xack(REQUESTS, GROUP, lease.id)

    assert world.running() == {"plugin-2": 1}
    assert world.holding()["r-1"]["id"] == lease.id


async def test_what_is_resumed_is_held_under_its_new_entry(queue, world):
    world.set_plugin_state("echoes", state="paused")
    world.publish("r-1")
    await queue.take("host.s0")
    assert counts(world) == NONE
    world.client.delete("crewpool:plugins")

    entry = await taken(queue)

    assert world.holding()["r-1"]["stream"] == entry.stream == RESUMED
    assert world.running() == {"echoes": 1}
    await queue.finish(Lease.of(entry, "host.s0"), done(), {})
    assert counts(world) == NONE


async def test_what_was_trimmed_and_swept_is_let_go_when_it_is_answered(queue, world, take):
    lease = await take("r-1")
    world.client.xdel(REQUESTS, lease.id)

    page = await sweeps.reclaim(queue, "host.sweep", 0, START)

    (lost,) = page.trimmed
    assert (lost.run_id, lost.plugin, lost.consumer) == ("r-1", "echoes", "host.s0")
    gone = Lease(lost.stream, lost.id, "host.sweep", is_fenced=False)
    await queue.finish(gone, replace(done(), cause="lost"), {})
    assert counts(world) == NONE


async def test_what_a_stranger_acknowledged_is_found_again(queue, world, take):
    lease = await take("r-1")
    world.client.xack(REQUESTS, GROUP, lease.id)

    _, lost = await sweeps.tidy(queue)

    assert lost == [sweeps.Lost(REQUESTS, lease.id, "r-1", "echoes", "host.s0")]
    assert list(world.holding()) == ["r-1"], "until somebody has answered it"


async def test_what_has_no_run_id_is_simply_let_go(queue, world):
    world.publish(raw="{")
    entry = await taken(queue)
    assert len(world.holding()) == 1
    world.client.xack(REQUESTS, GROUP, entry.id)

    assert (await sweeps.tidy(queue))[1] == []

    assert counts(world) == NONE


async def test_of_thousands_in_hand_each_is_looked_at_some_time(queue, world, take):
    lease = await take("r-1")
    held = {f"k-{n}": world.client.hget("crewpool:holding", "r-1") for n in range(3000)}
    world.client.hset("crewpool:holding", mapping=held)
    await take("r-2", "host.s1")
    (_, second) = world.entries()
    world.client.xack(REQUESTS, GROUP, second[0])

    # A thousand a call, whichever: to miss one sixty times takes a chance of 1 in 10^10.
    tidied = [await sweeps.tidy(queue) for _ in range(60)]

    assert {run.run_id for _, lost in tidied for run in lost} == {"r-2"}
    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]


async def test_many_who_take_and_end_at_once_leave_nothing_behind(queue, world):
    for n in range(100):
        world.publish(f"r-{n}", plugin=f"plugin-{n % 3}")
    ends = [
        lambda lease, run: queue.finish(lease, done(run), {}),
        lambda lease, run: queue.bury(lease, failed(run), {}),
        lambda lease, run: queue.hand_back(lease, again(run), {}),
    ]

    async def work(slot):
        for turn in range(60):
            got = (await queue.take(f"host.s{slot}")).got
            if not hasattr(got, "fields"):
                return
            run = got.fields["payload"].split('"')[3]
            await ends[(slot + turn) % 3](Lease.of(got, f"host.s{slot}"), run)

    await asyncio.gather(*(work(slot) for slot in range(8)))

    assert counts(world) == NONE
    assert world.pending() == []
