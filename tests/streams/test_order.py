"""take.lua: strict priorities with ageing. A run counts as its arrival plus its level's worth."""

import time
from dataclasses import replace

import pytest

from supervisor.streams.queue import Queue
from tests.streams.conftest import KEYS, LIMITS, taken, taken_runs
from tests.support.redis_world import RESUMED, STREAMS

CRITICAL, HIGH, NORMAL, LOW = STREAMS
AGEING_S = 300


@pytest.fixture
def arrive(world):
    """Publish a run that arrived so many seconds ago; of one stream, the oldest first."""
    now_ms = int(time.time() * 1000)

    def arrive(run_id, stream, ago_s=0.0, plugin="echoes"):
        entry_id = f"{now_ms - int(ago_s * 1000)}-*"
        world.client.xadd(stream, {"payload": world.payload(run_id, plugin)}, id=entry_id)

    return arrive


@pytest.fixture
async def without_ageing(url):
    queue = Queue(url, KEYS, replace(LIMITS, ageing_s=0))
    await queue.ensure_groups()
    yield queue
    await queue.close()


async def test_the_more_urgent_goes_first_although_it_came_later(queue, arrive):
    arrive("low", LOW, 200)
    arrive("normal", NORMAL, 150)
    arrive("high", HIGH, 100)
    arrive("critical", CRITICAL)

    assert await taken_runs(queue, 4) == ["critical", "high", "normal", "low"]


async def test_one_level_is_worth_the_ageing_and_not_a_moment_more(queue, arrive):
    arrive("low-old", LOW, AGEING_S + 1)
    arrive("low-young", LOW, AGEING_S - 1)
    arrive("normal", NORMAL)

    assert await taken_runs(queue, 3) == ["low-old", "normal", "low-young"]


async def test_low_overtakes_a_stream_of_critical_ones_after_three_ageings(queue, arrive):
    arrive("low", LOW, 3 * AGEING_S + 10)
    for n in range(3):
        arrive(f"critical-{n}", CRITICAL, 3 - n)

    assert (await taken_runs(queue, 1)) == ["low"]


async def test_without_ageing_only_the_priority_counts(without_ageing, arrive):
    arrive("low", LOW, 10_000_000)
    arrive("high", HIGH, 5)
    arrive("critical", CRITICAL)

    assert await taken_runs(without_ageing, 3) == ["critical", "high", "low"]


async def test_of_one_moment_the_more_urgent_goes_first(queue, arrive):
    arrive("low", LOW, 0)
    arrive("normal", NORMAL, -AGEING_S)
    arrive("high", HIGH, -2 * AGEING_S)
    arrive("critical", CRITICAL, -3 * AGEING_S)

    assert await taken_runs(queue, 4) == ["critical", "high", "normal", "low"]


async def test_an_age_is_counted_from_the_arrival_also_of_a_parked_run(queue, arrive, world):
    arrive("parked", LOW, 2 * AGEING_S + 10, plugin="paused")
    world.set_plugin_state("paused", state="paused")
    assert (await queue.take("host.s0")).passed[0].kind == "parked"
    world.client.delete("crewpool:plugins")
    arrive("high", HIGH, 1)
    arrive("normal", NORMAL, 2)

    assert await taken_runs(queue, 3) == ["parked", "high", "normal"]


async def test_a_younger_parked_run_waits_for_the_more_urgent_one(queue, arrive, world):
    arrive("parked", LOW, 1, plugin="paused")
    world.set_plugin_state("paused", state="paused")
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins")
    arrive("normal", NORMAL)

    assert await taken_runs(queue, 2) == ["normal", "parked"]


async def test_a_resumed_run_keeps_its_priority(queue, arrive, world):
    arrive("parked", HIGH, plugin="paused")
    world.set_plugin_state("paused", state="paused")
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins")

    entry = await taken(queue)

    assert entry.stream == RESUMED
    assert STREAMS[entry.level] == HIGH
