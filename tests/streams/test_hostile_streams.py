"""Somebody spoils one stream, or what stands in one: the others go on, and no run is lost."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from redis import ResponseError

from supervisor.streams import orders, sweeps
from supervisor.streams.gauges import Gauges
from supervisor.streams.keys import Keys
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease, Nothing, Queue
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import KEYS, LIMITS, again, done, taken

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


async def test_a_large_head_is_copied_once(queue, world):
    """Not at each take: it may wait for long behind others, in a stream of low priority."""
    world.publish("large", stream="plugin:requests:low", settings={"x": "y" * 1_000_000})
    for n in range(30):
        world.publish(f"r-{n}")
    await taken(queue)
    before = world.client.info("commandstats")["cmdstat_xrange"]["calls"]

    for n in range(1, 30):
        await taken(queue, f"host.s{n}")

    # One look at each new head of the stream that is read from, none at the large one.
    assert world.client.info("commandstats")["cmdstat_xrange"]["calls"] - before <= 30


async def test_an_entry_of_the_future_puts_off_nobody(queue, world):
    world.client.xadd("plugin:requests", {"payload": world.payload("ahead")}, id="99999999999999-0")
    world.publish("normal")
    world.publish("low", stream="plugin:requests:low")

    runs = [run_of(await taken(queue, f"host.s{n}")) for n in range(3)]

    assert runs == ["ahead", "normal", "low"]


async def test_starts_and_quarantines_of_the_future_block_nobody(queue, world):
    """As a clock noted them that was ahead."""
    a_year = 31_536_000_000
    limits = json.dumps({"echoes": {"n": 1, "p": 1000}})
    world.publish("r-1")
    await taken(queue, "host.s0", limits)
    now_ms = int(world.client.time()[0]) * 1000
    ahead = {"state": "quarantined", "since_ms": now_ms + a_year, "until_ms": now_ms + a_year + 1}
    world.client.hset("crewpool:plugins", "sleeps", json.dumps(ahead))
    world.publish("r-2", plugin="sleeps")

    assert run_of(await taken(queue, "host.s1", limits)) == "r-2"


async def test_tidy_leaves_a_stream_alone_whose_group_is_gone(url, world):
    queue = Queue(url, KEYS, replace(LIMITS, retention_s=0))
    await queue.ensure_groups()
    world.publish("r-0")
    world.publish("r-1")
    world.client.xgroup_create("plugin:requests", "audit", id="$")
    world.client.xgroup_destroy("plugin:requests", "crewai-workers")

    with suppress(ResponseError):
        await sweeps.tidy(queue)

    assert len(world.entries()) == 2
    await queue.close()


async def test_what_is_held_of_a_stream_of_others_stops_no_tidy(queue, world):
    facts = {"stream": "gone", "id": "1-1", "consumer": "a-0000.s0", "plugin": "p", "at_ms": 1}
    world.client.hset("crewpool:holding", "r-x", json.dumps(facts))

    _, lost = await sweeps.tidy(queue)

    assert [loss.run_id for loss in lost] == ["r-x"]


async def test_a_run_whose_entry_somebody_removed_can_be_published_again(queue, world):
    await publish(queue, publication("r-1"))
    entry_id = world.record("r-1")["entry_id"]
    world.client.xreadgroup("crewai-workers", "stranger", {"plugin:requests": ">"})
    world.client.xack("plugin:requests", "crewai-workers", entry_id)
    await sweeps.tidy(queue)

    assert (await publish(queue, publication("r-1"))).what == "published"


async def test_a_run_that_has_its_result_is_not_started_again(queue, world, take):
    """A group that was lost is made anew from the first entry on (trap R13)."""
    lease = await take("r-1")
    await queue.finish(lease, done("r-1"), {})
    world.client.xgroup_destroy("plugin:requests", "crewai-workers")

    answer = await queue.take("host.s1")

    assert isinstance(answer.got, Nothing)
    assert [(p.kind, p.run_id) for p in answer.passed] == [("duplicate", "r-1")]


async def test_odd_words_in_our_keys_end_no_supervisor(queue, world):
    world.client.execute_command("ZADD", "crewpool:hosts", "1", b"\xff\xfe")
    world.client.hset("crewpool:plugins", "p", "no JSON")
    world.client.hset("crewpool:parked:plugins", "p", "many")

    assert await sweeps.living_hosts(queue) == set()
    await Gauges().refresh(queue)


async def test_deployments_with_other_names_share_nothing():
    worlds = [set(Keys(f"{name}:requests", "r", "d", "g", "rg").world) - {"r"} for name in "ab"]

    assert not worlds[0] & worlds[1]


async def test_a_parked_run_that_somebody_deleted_is_lost_and_stops_no_other(queue, world):
    limits = json.dumps({"echoes": {"c": 1}})
    for run_id in ("r-1", "r-2"):
        world.publish(run_id)
    entry = await taken(queue, "host.s0", limits)
    await queue.take("host.s1", limits)
    world.client.delete("crewpool:waiting")
    await queue.finish(Lease.of(entry, "host.s0"), done("r-1"), {})
    world.publish("r-3")

    assert run_of(await taken(queue, "host.s0", limits)) == "r-3"

    _, lost = await sweeps.tidy(queue)
    assert [loss.run_id for loss in lost] == ["r-2"]


async def test_a_unique_key_that_outlived_its_run_keeps_nobody_out(queue, world):
    """It ended by a copy that a producer added without crewpool: that one knows no key."""
    await publish(queue, publication("u-1", unique_for_s=3600))
    world.client.set("crewpool:done:u-1", "0-0")

    assert (await publish(queue, publication("u-2", unique_for_s=3600))).what == "published"


async def test_a_promoted_run_is_still_known(queue, world):
    for run_id in ("r-1", "r-2"):
        await publish(queue, publication(run_id, delay_s=0.001))
    world.let_delayed_begin()
    await taken(queue)

    assert (await publish(queue, publication("r-2"))).what == "known"


@pytest.mark.parametrize("state", [{"state": "probing"}, {"state": "quarantined"}])
async def test_a_state_without_its_facts_blocks_nobody(queue, world, state):
    world.client.hset("crewpool:plugins", "echoes", json.dumps(state))
    world.publish("r-1")

    assert run_of(await taken(queue)) == "r-1"


async def test_an_id_that_is_no_text_is_nobody_elses(queue, world):
    """Half of a surrogate pair: one entry must not count as the run of another."""
    world.publish("a\ud800b")
    world.publish("a\udfffb")
    world.publish("a?b")

    answers = [await queue.take(f"host.s{n}") for n in range(3)]

    assert [answer.passed for answer in answers] == [()] * 3
    assert run_of(answers[2].got) == "a?b"
