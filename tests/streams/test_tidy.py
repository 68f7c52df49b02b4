"""tidy.lua: trimmed is what every group has read and acknowledged, and what is old enough."""

import time
from dataclasses import replace

import pytest

from supervisor.streams import sweeps
from supervisor.streams.queue import Lease, Queue
from tests.streams.conftest import KEYS, LIMITS, done, failed, taken
from tests.support.redis_world import (
    ALL_STREAMS,
    DEAD_LETTERS,
    GROUP,
    REQUESTS,
    RESULTS,
    RESUMED,
    STREAMS,
)


@pytest.fixture
async def queue(url):
    """A queue that keeps nothing any longer than it must."""
    queue = Queue(url, KEYS, replace(LIMITS, retention_s=0, dead_letters_ttl_s=60))
    await queue.ensure_groups()
    yield queue
    await queue.close()


@pytest.fixture
async def ended(queue, world):
    """Ten runs that are over, by their entry ids."""
    for n in range(10):
        world.publish(f"r-{n}")
    for n in range(10):
        await queue.finish(Lease.of(await taken(queue), "host.s0"), done(f"r-{n}"), {})
    return [entry_id for entry_id, _ in world.entries()]


def ids(world, stream=REQUESTS):
    return [entry_id for entry_id, _ in world.entries(stream)]


async def test_what_is_delivered_and_acknowledged_goes_but_for_the_last(queue, world, ended):
    trimmed, lost = await sweeps.tidy(queue)

    # The last one delivered is where the group stands.
    assert ids(world) == ended[-1:]
    assert (trimmed, lost) == (9, [])


async def test_tidying_again_changes_nothing(queue, world, ended):
    await sweeps.tidy(queue)
    before = sorted(world.everything().splitlines())

    assert await sweeps.tidy(queue) == (0, [])

    assert sorted(world.everything().splitlines()) == before


async def test_what_nobody_has_taken_stays(queue, world, ended):
    waiting = [world.publish(f"w-{n}") for n in range(5)]

    await sweeps.tidy(queue)

    assert len(ids(world)) == 1 + len(waiting)


async def test_what_is_pending_stays_and_all_after_it(queue, world, ended):
    world.publish("slow")
    slow = await taken(queue, "host.s1")
    world.publish("fast")
    await queue.finish(Lease.of(await taken(queue), "host.s0"), done("fast"), {})

    await sweeps.tidy(queue)

    assert len(ids(world)) == 2
    assert ids(world)[0] == slow.id


async def test_an_old_pending_entry_of_another_consumer_holds_all(queue, world):
    world.publish("old")
    world.read("foreign.s0")
    for n in range(5):
        world.publish(f"r-{n}")
        await queue.finish(Lease.of(await taken(queue), "host.s0"), done(f"r-{n}"), {})

    assert (await sweeps.tidy(queue))[0] == 0


async def test_a_second_group_that_lags_holds_what_it_has_not_read(queue, world, ended):
    world.client.xgroup_create(REQUESTS, "audit", id=ended[3])

    await sweeps.tidy(queue)
    held = ids(world)
    world.client.xgroup_setid(REQUESTS, "audit", ended[7])
    await sweeps.tidy(queue)

    assert held == ended[3:]
    assert ids(world) == ended[7:]


async def test_a_second_group_holds_what_it_has_not_acknowledged(queue, world, ended):
    world.client.xgroup_create(REQUESTS, "audit", id="0")
    world.client.xreadgroup("audit", "a", {REQUESTS: ">"})
    world.client.xack(REQUESTS, "audit", *ended[:4])

    await sweeps.tidy(queue)

    assert ids(world) == ended[4:]


async def test_what_is_younger_than_the_retention_stays(queue, world, ended, url):
    keeping = Queue(url, KEYS, replace(LIMITS, retention_s=3600))

    trimmed, _ = await sweeps.tidy(keeping)
    await keeping.close()

    assert trimmed == 0
    assert ids(world) == ended


async def test_of_old_and_young_only_the_old_go(queue, world, url):
    old_ms = int(time.time() * 1000) - 3_700_000
    for n in range(4):
        world.client.xadd(REQUESTS, {"payload": "{}"}, id=f"{old_ms}-{n}")
    world.publish("young")
    world.client.xack(REQUESTS, GROUP, *world.read("host.s0", count=5))
    keeping = Queue(url, KEYS, replace(LIMITS, retention_s=3600))

    trimmed, _ = await sweeps.tidy(keeping)
    await keeping.close()

    assert trimmed == 4
    assert len(ids(world)) == 1


async def test_a_stream_without_a_group_is_left_alone(queue, world, ended):
    for group in (GROUP, "go-workers"):
        for stream in (*STREAMS, RESULTS):
            world.client.xgroup_destroy(stream, group)

    assert (await sweeps.tidy(queue))[0] == 0
    assert ids(world) == ended


async def test_a_stream_that_is_not_there_is_not_made(queue, world):
    world.client.delete(*ALL_STREAMS, RESULTS)

    assert await sweeps.tidy(queue) == (0, [])

    assert world.client.exists(*ALL_STREAMS, RESULTS) == 0


async def test_results_wait_for_their_reader(queue, world, ended):
    await sweeps.tidy(queue)
    before = world.client.xlen(RESULTS)
    read = world.read("go-1", RESULTS, 6, group="go-workers")
    await sweeps.tidy(queue)
    delivered = world.client.xlen(RESULTS)
    world.client.xack(RESULTS, "go-workers", *read)
    await sweeps.tidy(queue)

    assert (before, delivered) == (10, 10)
    assert ids(world, RESULTS)[0] == read[-1]


async def test_the_resumed_stream_is_trimmed_too(queue, world):
    for n in range(3):
        world.set_plugin_state("echoes", state="paused")
        world.publish(f"r-{n}")
        await queue.take("host.s0")
        world.client.delete("crewpool:plugins")
        await queue.finish(Lease.of(await taken(queue), "host.s0"), done(f"r-{n}"), {})

    await sweeps.tidy(queue)

    assert len(ids(world, RESUMED)) == 1


async def test_more_than_a_call_may_trim_goes_with_the_next_ones(queue, world):
    with world.client.pipeline(transaction=False) as together:
        for _ in range(25_000):
            together.xadd(REQUESTS, {"payload": "{}"})
        together.execute()
    world.client.xgroup_setid(REQUESTS, GROUP, ids(world)[-1])

    trimmed = [(await sweeps.tidy(queue))[0] for _ in range(4)]

    assert max(trimmed) <= 10_100
    assert sum(trimmed) == 24_999


async def test_dead_letters_go_by_age(queue, world, take):
    old_ms = int(time.time() * 1000) - 61_000
    world.client.xadd(DEAD_LETTERS, {"reason": "old"}, id=f"{old_ms}-0")
    await queue.bury(await take("r-1"), failed(), {})

    await sweeps.tidy(queue)

    assert [letter["reason"] for letter in world.dead_letters()] == ["drill"]


async def test_dead_letters_are_bounded_by_number(url, world):
    queue = Queue(url, KEYS, replace(LIMITS, dead_letters_max=3))
    await queue.ensure_groups()
    for n in range(6):
        world.publish(f"r-{n}")
        await queue.bury(Lease.of(await taken(queue), "host.s0"), failed(f"r-{n}"), {})
    await queue.close()

    assert len(world.dead_letters()) == 3
    assert len(world.results()) == 6


async def test_marks_of_cancelled_runs_and_the_index_go_by_age(queue, world):
    marks_ms = max(LIMITS.done_ttl_s, LIMITS.record_ttl_s) * 1000
    now_ms = int(time.time() * 1000)
    old_ms = now_ms - marks_ms - 1000
    world.client.zadd("crewpool:cancelled", {"old": old_ms, "young": now_ms})
    world.client.zadd("crewpool:runs", {"old": old_ms / 1000, "young": now_ms / 1000})

    await sweeps.tidy(queue)

    assert world.client.zrange("crewpool:cancelled", 0, -1) == ["young"]
    assert world.client.zrange("crewpool:runs", 0, -1) == ["young"]
