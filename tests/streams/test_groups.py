"""Groups and scripts come back by themselves after whatever the server forgot."""

import pytest
from redis.exceptions import ResponseError

from supervisor.streams import sweeps
from supervisor.streams.gauges import Gauges
from supervisor.streams.queue import Lease, Nothing, Queue
from supervisor.streams.server import check_server, facts_of
from tests.streams.conftest import KEYS, LIMITS, START, again, done, failed, taken
from tests.support.redis_world import ALL_STREAMS, GROUP, REQUESTS, RESULTS


async def test_groups_begin_with_the_first_entry(url, world):
    world.publish("r-1")
    queue = Queue(url, KEYS, LIMITS)

    await queue.ensure_groups()
    entry = await taken(queue)
    await queue.close()

    assert '"r-1"' in entry.fields["payload"]


async def test_results_that_were_there_before_are_for_the_reader_too(queue, world, take):
    await queue.finish(await take("r-1"), done(), {})

    seen = world.client.xreadgroup("go-workers", "go-1", {RESULTS: ">"})

    assert len(seen) == 1


async def test_making_groups_again_moves_nothing(queue, world, take):
    lease = await take("r-1")

    await queue.ensure_groups()

    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]
    assert isinstance((await queue.take("host.s1")).got, Nothing)


async def test_a_stream_of_another_kind_is_not_taken_for_a_group(queue, world):
    world.client.delete(REQUESTS)
    world.client.set(REQUESTS, "a string")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await queue.ensure_groups()


async def test_after_flushall_everything_works_again(queue, world):
    await queue.take("host.s0")
    world.client.flushall()
    world.publish("r-1")

    lease = Lease.of(await taken(queue), "host.s0")

    assert await queue.finish(lease, done(), {}) == "finished"
    world.assert_exactly_one_result(["r-1"])
    assert world.client.xinfo_groups(RESULTS)[0]["name"] == "go-workers"


@pytest.mark.parametrize("forget", ["flushall", "destroy"])
async def test_every_command_survives_the_loss_of_its_group(queue, world, take, forget):
    lease = await take("r-1")

    def lose():
        if forget == "flushall":
            world.client.flushall()
        for stream in ALL_STREAMS:
            if world.client.exists(stream):
                world.client.xgroup_destroy(stream, GROUP)

    answers = []
    for command in (
        lambda: queue.finish(lease, done(), {}),
        lambda: queue.hand_back(lease, again(), {}),
        lambda: queue.bury(lease, failed(), {}),
    ):
        lose()
        answers.append(await command())
    lose()
    answers += await queue.renew([lease])
    lose()
    assert (await sweeps.reclaim(queue, "host.sweep", 15, START)).entries == []
    lose()
    assert await sweeps.forget(queue, ["host.s0"]) == 0

    assert answers == ["lost"] * 4
    assert world.results() == []


async def test_scripts_are_sent_again_after_script_flush(queue, world, take):
    lease = await take("r-1")
    world.client.script_flush()

    assert await queue.renew([lease]) == ["renewed"]
    world.client.script_flush()
    assert await queue.finish(lease, done(), {}) == "finished"


async def test_scripts_travel_once(queue, take, server):
    await queue.finish(await take("r-0"), done("r-0"), {})
    server.client.config_resetstat()

    await queue.finish(await take("r-1"), done(), {})

    stats = server.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2
    assert "cmdstat_script|load" not in stats
    assert "cmdstat_eval" not in stats


async def test_gauges_tell_what_waits_and_what_is_pending(queue, world, take):
    await take("r-1")
    await take("r-2", "host.s1", stream=f"{REQUESTS}:high")
    world.publish("r-3")
    gauges = Gauges()

    await gauges.refresh(queue)

    assert gauges.lag == {s: int(s == REQUESTS) for s in ALL_STREAMS}
    assert gauges.pending == {s: int(s in (REQUESTS, f"{REQUESTS}:high")) for s in ALL_STREAMS}


async def test_a_lag_that_redis_does_not_know_keeps_its_last_value(queue, world, take):
    await take("r-1")
    world.publish("r-2")
    world.publish("r-3")
    gauges = Gauges()
    await gauges.refresh(queue)
    world.client.xdel(REQUESTS, world.entries()[1][0])

    assert world.client.xinfo_groups(REQUESTS)[0]["lag"] is None
    await gauges.refresh(queue)

    assert isinstance(gauges.lag[REQUESTS], int)


async def test_the_server_says_who_it_is(queue, backend):
    facts = await facts_of(queue)

    assert facts.name == backend.split("-")[0]
    assert facts.is_new_enough
    assert facts.eviction_policy == "noeviction"
    assert not facts.is_cluster
    assert not facts.has_aof
    assert await check_server(queue) == facts
