"""finish.lua: the result of a run, exactly once, by its owner only."""

import asyncio
from dataclasses import replace

from supervisor.streams.endings import Finish
from supervisor.streams.queue import Lease
from supervisor.streams.wire import Result
from tests.streams.conftest import ALL_BACKENDS
from tests.support.redis_world import GROUP, REQUESTS, RESULTS

BACKENDS = ALL_BACKENDS

DONE = Finish(Result("r-1", "completed", '{"summary":"ö"}', meta={"attempt": 1}))
FACTS = {"state": "completed"}


async def test_the_result_is_out_and_the_entry_is_acknowledged(queue, world, take):
    lease = await take("r-1")

    assert await queue.finish(lease, DONE, FACTS) == "finished"

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()
    assert world.output("r-1") == {"summary": "ö"}
    assert world.result("r-1")["meta"] == {"attempt": 1}


async def test_the_record_says_how_it_ended_and_does_not_live_for_ever(queue, world, take):
    await queue.finish(await take("r-1"), DONE, FACTS)

    assert world.record("r-1") == FACTS
    assert 0 < world.client.ttl("crewpool:run:r-1") <= 600
    assert 0 < world.client.ttl("crewpool:done:r-1") <= 900


async def test_finishing_twice_publishes_once(queue, world, take):
    lease = await take("r-1")
    await queue.finish(lease, DONE, FACTS)

    # The answer to the first call may have been lost: the second one tells the same.
    assert await queue.finish(lease, DONE, FACTS) == "finished"

    world.assert_exactly_one_result(["r-1"])


async def test_a_run_that_was_published_twice_has_one_result(queue, world, read):
    first, second = read("r-1", "host.s0"), read("r-1", "host.s1")

    assert await queue.finish(first, DONE, FACTS) == "finished"
    assert await queue.finish(second, DONE, FACTS) == "duplicate"

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_two_who_finish_at_once_publish_once(queue, world, read):
    leases = [read("r-1", f"host.s{n}") for n in range(4)]

    answers = await asyncio.gather(*(queue.finish(lease, DONE, FACTS) for lease in leases))

    assert sorted(answers) == ["duplicate"] * 3 + ["finished"]
    world.assert_exactly_one_result(["r-1"])


async def test_who_lost_the_entry_publishes_nothing(queue, world, take):
    lease = await take("r-1")
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [lease.id])

    assert await queue.finish(lease, DONE, FACTS) == "lost"

    assert world.results() == []
    assert world.pending() == [(REQUESTS, lease.id, "other.s0")]
    assert world.record("r-1") == {}


async def test_who_never_had_the_entry_publishes_nothing(queue, world, take):
    lease = await take("r-1")
    world.client.xack(REQUESTS, GROUP, lease.id)

    assert await queue.finish(lease, DONE, FACTS) == "lost"
    assert await queue.finish(Lease(REQUESTS, "1-1", "host.s0"), DONE, FACTS) == "lost"
    assert world.results() == []


async def test_a_run_whose_entry_was_trimmed_is_answered_once(queue, world, take):
    lease = replace(await take("r-1"), is_fenced=False)
    world.client.xdel(REQUESTS, lease.id)

    assert await queue.finish(lease, DONE, FACTS) == "finished"
    assert await queue.finish(lease, DONE, FACTS) == "duplicate"

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_a_finish_is_one_entry_with_three_fields(queue, world, take):
    await queue.finish(await take("r-1"), DONE, FACTS)

    ((_, fields),) = world.client.xrange(RESULTS)
    assert list(fields) == ["payload", "published_at", "schema_version"]
