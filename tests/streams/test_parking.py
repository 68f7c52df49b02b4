"""take.lua: runs over the limits of their plugin wait in Redis, and go on in their order."""

import asyncio
import json
import time

import pytest

from supervisor.streams import sweeps
from supervisor.streams.queue import Lease, More, Nothing, Passed
from supervisor.streams.wire import Entry
from tests.streams.conftest import again, done, taken, taken_runs
from tests.support.redis_world import RESUMED, STREAMS
from tests.support.waiting import eventually

ONE = '{"echoes":{"c":1}}'
TWO = '{"echoes":{"c":2}}'


def rate(starts, period_ms):
    return json.dumps({"echoes": {"n": starts, "p": period_ms}})


async def test_a_run_over_the_limit_is_parked_and_the_next_plugin_goes_on(queue, world, take):
    await take("r-1")
    world.publish("r-2")
    world.publish("r-3", plugin="sleeps")

    answer = await queue.take("host.s1", ONE)

    assert json.loads(answer.got.fields["payload"])["plugin_run_id"] == "r-3"
    assert answer.passed == (Passed("parked", "r-2", "echoes", "2"),)
    assert world.parked() == {"echoes": 1}


async def test_a_parked_run_holds_no_slot_and_waits_for_no_time(queue, world, take):
    await take("r-1")
    world.publish("r-2")

    got = (await queue.take("host.s1", ONE)).got

    assert isinstance(got, Nothing)
    assert got.wake_s is None
    assert [consumer for _, _, consumer in world.pending()] == ["host.s0"]


async def test_as_soon_as_there_is_room_it_goes_on_with_all_its_fields(queue, world, take):
    lease = await take("r-1")
    world.publish("r-2", attempt=2, traceparent="00-abc")
    (_, before) = world.entries()[-1]
    await queue.take("host.s1", ONE)
    await queue.finish(lease, done("r-1"), {})

    answer = await queue.take("host.s1", ONE)

    assert answer.got.attempt == 2
    (passed,) = answer.passed
    assert (passed.kind, passed.run_id, passed.plugin) == ("resumed", "r-2", "echoes")
    ((_, after),) = world.entries(RESUMED)
    assert after == {**before, "crewpool_level": "2"}
    assert world.parked() == {}
    assert world.client.hlen("crewpool:waiting") == 0


async def test_room_rings_the_bell_for_those_who_sleep(queue, world, take, server):
    lease = await take("r-1")
    world.publish("r-2")
    nothing = (await queue.take("host.s1", ONE)).got
    waiting = asyncio.ensure_future(queue.wait_for_entry(nothing.after))
    await eventually(lambda: server.client.info("clients")["blocked_clients"] == 1)

    await queue.finish(lease, done("r-1"), {})

    assert await asyncio.wait_for(waiting, 2) is True


async def test_parked_runs_go_on_in_the_order_of_their_arrival(queue, world):
    world.set_plugin_state("echoes", state="paused")
    with world.client.pipeline(transaction=True) as together:
        # In one millisecond, and with ids that sort the other way round.
        for n in range(9):
            together.xadd(STREAMS[2], {"payload": world.payload(f"r-{9 - n}")})
        together.execute()
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins")

    assert await taken_runs(queue, 9) == [f"r-{9 - n}" for n in range(9)]


async def test_parked_runs_go_before_younger_ones_of_their_plugin(queue, world, take):
    lease = await take("r-1")
    world.publish("r-2")
    await queue.take("host.s1", ONE)
    world.publish("r-3")
    await queue.finish(lease, done("r-1"), {})

    entry = await taken(queue, "host.s1", ONE)
    nothing = await queue.take("host.s2", ONE)

    assert '"r-2"' in entry.fields["payload"]
    assert nothing.passed == (Passed("parked", "r-3", "echoes", "2"),)


async def test_the_limit_holds_over_all_consumers(queue, world):
    for n in range(10):
        world.publish(f"r-{n}")

    answers = await asyncio.gather(*(queue.take(f"host-{n}.s0", TWO) for n in range(10)))

    assert sum(not isinstance(answer.got, Nothing) for answer in answers) == 2
    assert world.running() == {"echoes": 2}
    assert world.parked() == {"echoes": 8}


async def test_a_slow_plugin_with_twenty_runs_does_not_delay_a_fast_one(queue, world):
    for n in range(20):
        world.publish(f"slow-{n}", plugin="slow")
    world.publish("fast-0", plugin="fast")
    limits = '{"slow":{"c":1}}'

    assert await taken_runs(queue, 2, limits) == ["slow-0", "fast-0"]


async def test_a_rate_lets_no_more_start_than_it_says(queue, world):
    for n in range(4):
        world.publish(f"r-{n}")
    limits = rate(3, 60_000)

    assert await taken_runs(queue, 3, limits) == ["r-0", "r-1", "r-2"]
    got = (await queue.take("host.s3", limits)).got

    assert 55 < got.wake_s <= 60
    assert world.parked() == {"echoes": 1}


async def test_who_waits_for_a_rate_is_told_when_to_ask_again(queue, world):
    for n in range(2):
        world.publish(f"r-{n}")
    limits = rate(1, 400)
    await taken(queue, "host.s0", limits)
    began = time.monotonic()
    wake_s = (await queue.take("host.s1", limits)).got.wake_s

    await eventually(lambda: _is_taken(queue, limits), wake_s + 1)

    assert 0.1 < wake_s <= 0.4
    assert time.monotonic() - began > wake_s - 0.05


async def _is_taken(queue, limits):
    return isinstance((await queue.take("host.s1", limits)).got, Entry)


async def test_in_no_window_of_the_period_more_start_than_the_rate_says(queue, world):
    for n in range(12):
        world.publish(f"r-{n}")
    limits, starts = rate(3, 250), []
    give_up_at = time.monotonic() + 20
    while len(starts) < 12 and time.monotonic() < give_up_at:
        got = (await queue.take(f"host.s{len(starts)}", limits)).got
        if isinstance(got, Nothing):
            await asyncio.sleep(0.005)
            continue
        starts.append(world.holding()[f"r-{len(starts)}"]["at_ms"])

    assert len(starts) == 12
    gaps = [later - earlier for earlier, later in zip(starts, starts[3:], strict=False)]
    assert min(gaps) >= 250


async def test_a_run_that_starts_again_counts_as_a_start(queue, world, take):
    limits = rate(1, 60_000)
    world.publish("r-1")
    lease = Lease.of(await taken(queue, "host.s0", limits), "host.s0")
    await queue.hand_back(lease, again("r-1"), {})

    assert isinstance((await queue.take("host.s0", limits)).got, Nothing)
    assert world.parked() == {"echoes": 1}


@pytest.mark.parametrize("limits", ["{}", '{"other":{"c":1}}'])
async def test_without_limits_nothing_is_parked(queue, world, limits):
    for n in range(5):
        world.publish(f"r-{n}")

    assert len(await taken_runs(queue, 5, limits)) == 5


async def test_a_paused_plugin_waits_and_the_others_do_not(queue, world):
    world.set_plugin_state("echoes", state="paused")
    world.publish("r-1")
    world.publish("r-2", plugin="sleeps")

    assert await taken_runs(queue, 1) == ["r-2"]
    assert (await queue.take("host.s1")).got.wake_s is None
    assert world.parked() == {"echoes": 1}


async def test_what_a_paused_plugin_has_in_hand_may_end(queue, world, take):
    lease = await take("r-1")
    world.set_plugin_state("echoes", state="paused")

    assert await queue.finish(lease, done("r-1"), {}) == "finished"
    assert world.plugin_state("echoes")["state"] == "paused"


async def test_a_thousand_runs_of_a_paused_plugin_block_the_next_one_for_some_calls(queue, world):
    world.set_plugin_state("echoes", state="paused")
    with world.client.pipeline(transaction=False) as together:
        for n in range(1000):
            together.xadd(STREAMS[2], {"payload": world.payload(f"r-{n}")})
        together.execute()
    world.publish("free", plugin="sleeps")

    answers = [await queue.take("host.s0")]
    while isinstance(answers[-1].got, More):
        answers.append(await queue.take("host.s0"))

    assert '"free"' in answers[-1].got.fields["payload"]
    assert len(answers) <= 12
    assert world.parked() == {"echoes": 1000}


async def test_the_payload_of_a_parked_run_is_kept_behind_thousands_of_foreign_fields(queue, world):
    world.set_plugin_state("echoes", state="paused")
    fields = {f"f{n}": "x" for n in range(2500)}
    world.client.xadd(STREAMS[2], {**fields, "payload": world.payload("r-1"), "attempt": 2})
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins")

    entry = await taken(queue)

    assert '"r-1"' in entry.fields["payload"]
    assert entry.attempt == 2


async def test_a_parked_run_that_is_gone_stops_nobody(queue, world):
    """A hash that somebody deleted: the place in the order is nothing without it."""
    world.set_plugin_state("echoes", state="paused")
    world.publish("r-1")
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins", "crewpool:waiting")
    world.publish("r-2")

    assert await taken_runs(queue, 1) == ["r-2"]
    await sweeps.tidy(queue)
    assert world.parked() == {}


@pytest.mark.parametrize("gone", ["destroy", "delete"])
async def test_parked_runs_go_on_after_their_streams_group_is_gone(queue, world, take, gone):
    """The old entries of the stream come once more, as those of every stream do."""
    for n in range(3):
        world.set_plugin_state("echoes", state="paused")
        world.publish(f"r-{n}")
        await queue.take("host.s0")
        world.client.delete("crewpool:plugins")
        lease = Lease.of(await taken(queue), "host.s0")
        if n < 2:
            await queue.finish(lease, done(f"r-{n}"), {})
    if gone == "destroy":
        world.client.xgroup_destroy(RESUMED, "crewai-workers")
    else:
        world.client.delete(RESUMED)
    world.set_plugin_state("echoes", state="paused")
    world.publish("r-3")
    await queue.take("host.s1")
    world.client.delete("crewpool:plugins")

    seen = []
    while isinstance(entry := (await queue.take("host.s1")).got, Entry):
        seen.append(json.loads(entry.fields["payload"])["plugin_run_id"])
        await queue.finish(Lease.of(entry, "host.s1"), done(seen[-1]), {})

    assert set(seen) >= ({"r-2", "r-3"} if gone == "destroy" else {"r-3"})
    world.assert_nothing_pending()
    assert world.holding().keys() <= {"r-2"}
