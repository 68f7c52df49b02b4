"""A plugin that crashes is paused alone; one probe decides whether it goes on."""

import time
from dataclasses import replace

import pytest

from supervisor.streams.queue import Lease, Nothing, Passed, Queue
from tests.streams.conftest import KEYS, LIMITS, again, done, failed, taken, taken_runs

CRASHES = 3
WINDOW_S = 300.0
COOLDOWN_S = 60.0


@pytest.fixture
async def queue(url):
    limits = replace(
        LIMITS,
        quarantine_crashes=CRASHES,
        quarantine_window_s=WINDOW_S,
        quarantine_cooldown_s=COOLDOWN_S,
    )
    queue = Queue(url, KEYS, limits)
    await queue.ensure_groups()
    yield queue
    await queue.close()


@pytest.fixture
def crash(queue, take):
    """Take a run and let it crash for good."""

    async def crash(run_id, cause="crash", plugin="echoes"):
        lease = await take(run_id, plugin=plugin)
        return await queue.bury(lease, failed(run_id, cause), {})

    return crash


@pytest.fixture
async def quarantined(crash, world):
    """The plugin echoes is in quarantine, and two runs of it wait."""
    for n in range(CRASHES):
        await crash(f"c-{n}")
    for n in range(2):
        world.publish(f"r-{n}")


@pytest.fixture
async def probe(queue, world, quarantined):
    """The lease of the one probe run."""
    cool_down(world)
    return Lease.of(await taken(queue, "host.s0"), "host.s0")


def cool_down(world):
    """Let the cool-down be over."""
    world.set_plugin_state("echoes", until_ms=int(time.time() * 1000) - 1)


def state_of(world):
    return world.plugin_state("echoes").get("state")


async def test_so_many_crashes_in_the_window_pause_the_plugin(queue, world, quarantined):
    got = (await queue.take("host.s0")).got

    assert isinstance(got, Nothing)
    assert COOLDOWN_S - 5 < got.wake_s <= COOLDOWN_S
    assert state_of(world) == "quarantined"
    assert world.parked() == {"echoes": 2}


async def test_the_others_go_on(queue, world, quarantined):
    world.publish("free", plugin="sleeps")

    assert await taken_runs(queue, 1) == ["free"]


async def test_one_crash_less_pauses_nothing(queue, world, crash):
    for n in range(CRASHES - 1):
        await crash(f"c-{n}")
    world.publish("r-1")

    assert await taken_runs(queue, 1) == ["r-1"]


async def test_crashes_before_the_window_do_not_count(queue, world, crash):
    for n in range(CRASHES - 1):
        await crash(f"c-{n}")
    before = int((time.time() - WINDOW_S - 1) * 1000)
    world.set_plugin_state("echoes", crashes=[before] * (CRASHES - 1))

    await crash("c-last")

    assert state_of(world) is None
    assert len(world.plugin_state("echoes")["crashes"]) == 1


@pytest.mark.parametrize("cause", ["exception", "timeout", "lost", "invalid", "rate_limited"])
async def test_other_ends_are_no_crashes(world, crash, cause):
    for n in range(CRASHES + 2):
        await crash(f"c-{n}", cause)

    assert state_of(world) is None


async def test_out_of_memory_is_a_crash(world, crash):
    for n in range(CRASHES):
        await crash(f"c-{n}", "oom")

    assert state_of(world) == "quarantined"


async def test_a_crash_that_is_tried_again_counts_too(queue, world, take):
    for n in range(CRASHES):
        await queue.hand_back(await take(f"c-{n}"), again(f"c-{n}", cause="crash", delay_s=60), {})

    assert state_of(world) == "quarantined"


async def test_a_crash_that_is_told_twice_counts_once(queue, world, take):
    lease = await take("c-0")
    for _ in range(CRASHES + 1):
        await queue.bury(lease, failed("c-0", "crash"), {})

    assert len(world.plugin_state("echoes")["crashes"]) == 1


async def test_crashes_of_several_plugins_are_counted_apart(world, crash):
    for n in range(CRASHES - 1):
        await crash(f"c-{n}")
        await crash(f"d-{n}", plugin="sleeps")

    assert state_of(world) is world.plugin_state("sleeps").get("state") is None


async def test_without_a_number_of_crashes_there_is_no_quarantine(url, world, read):
    queue = Queue(url, KEYS, replace(LIMITS, quarantine_crashes=0))
    await queue.ensure_groups()
    for n in range(10):
        world.publish(f"c-{n}")
        lease = Lease.of(await taken(queue), "host.s0")
        await queue.bury(lease, failed(f"c-{n}", "crash"), {})
    await queue.close()

    assert world.plugin_state("echoes") == {}


async def test_after_the_cool_down_one_run_goes_and_the_rest_waits(queue, world, probe):
    assert state_of(world) == "probing"
    assert world.plugin_state("echoes")["probe"] == "r-0"

    answer = await queue.take("host.s1")

    assert isinstance(answer.got, Nothing)
    assert answer.got.wake_s is None
    assert world.parked() == {"echoes": 1}


async def test_the_probe_is_told(queue, world, quarantined):
    cool_down(world)

    answer = await queue.take("host.s0")

    assert answer.passed == (Passed("probing", "r-0", "echoes", ""),)


async def test_a_probe_that_crashes_brings_the_quarantine_back(queue, world, probe):
    await queue.bury(probe, failed("r-0", "crash"), {})

    got = (await queue.take("host.s1")).got

    assert state_of(world) == "quarantined"
    assert COOLDOWN_S - 5 < got.wake_s <= COOLDOWN_S


async def test_a_probe_that_crashes_and_is_tried_again_waits_with_the_others(queue, world, probe):
    await queue.hand_back(probe, again("r-0", cause="crash"), {})

    assert isinstance((await queue.take("host.s1")).got, Nothing)
    assert world.parked() == {"echoes": 2}


@pytest.mark.parametrize("end", ["completed", "exception", "timeout"])
async def test_a_probe_that_ends_otherwise_lets_all_go_on(queue, world, probe, end):
    if end == "completed":
        await queue.finish(probe, done("r-0"), {})
    else:
        await queue.bury(probe, failed("r-0", end), {})
    world.publish("r-2")

    assert world.plugin_state("echoes") == {}
    assert await taken_runs(queue, 2) == ["r-1", "r-2"]


@pytest.mark.parametrize("end", ["lost", "drained", "cancelled", "invalid"])
async def test_after_a_probe_that_proved_nothing_the_next_run_is_the_probe(
    queue, world, probe, end
):
    if end in ("lost", "drained"):
        await queue.hand_back(probe, again("r-0", cause=end, delay_s=60), {})
    elif end == "cancelled":
        await queue.finish(probe, done("r-0", cause="cancelled"), {})
    else:
        await queue.bury(probe, failed("r-0", end), {})

    assert await taken_runs(queue, 1) == ["r-1"]

    assert state_of(world) == "probing"
    assert world.plugin_state("echoes")["probe"] == "r-1"


async def test_a_probe_whose_entry_is_gone_blocks_nobody(queue, world, probe):
    world.client.hdel("crewpool:holding", "r-0")

    assert '"r-1"' in (await taken(queue, "host.s1")).fields["payload"]


async def test_an_entry_without_a_run_id_is_no_probe(queue, world, probe):
    for run_id in (7, "", "x" * 200):
        world.publish(raw=world.payload(run_id))
        entry = await taken(queue, "host.s1")
        await queue.bury(Lease.of(entry, "host.s1"), replace(failed(), result=None), {})

    assert world.plugin_state("echoes")["probe"] == "r-0"
    assert isinstance((await queue.take("host.s1")).got, Nothing)
    await queue.finish(probe, done("r-0"), {})
    assert await taken_runs(queue, 1) == ["r-1"]


async def test_a_late_crash_of_one_that_ran_before_does_not_end_the_probe(queue, world, take):
    old = await take("old", "host.s9")
    for n in range(CRASHES):
        await queue.bury(await take(f"c-{n}"), failed(f"c-{n}", "crash"), {})
    cool_down(world)
    await take("probe")

    await queue.bury(old, failed("old", "crash"), {})

    assert state_of(world) == "probing"
    assert world.plugin_state("echoes")["probe"] == "probe"


async def test_a_plugin_that_was_paused_by_hand_stays_paused(queue, world, take):
    leases = [await take(f"c-{n}", f"host.s{n}") for n in range(CRASHES)]
    world.set_plugin_state("echoes", state="paused")

    for n, lease in enumerate(leases):
        await queue.bury(lease, failed(f"c-{n}", "crash"), {})

    assert state_of(world) == "paused"
