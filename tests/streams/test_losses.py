"""Entries that somebody else cut off: each loss is counted once, and answered where it can be."""

import pytest

from supervisor.streams import sweeps
from supervisor.streams.endings import GONE
from supervisor.streams.facts import EntriesTrimmed, Settled
from supervisor.streams.keeper import Rhythm
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease, Passed
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import START, done, taken, taken_runs
from tests.streams.host import Host
from tests.support.redis_world import GROUP, REQUESTS, STREAMS
from tests.support.waiting import eventually, keeps_true

LONG = Rhythm(lease_s=60, renew_every_s=20, sweep_every_s=60)


def cut(world, keep, stream=REQUESTS):
    """Cut off a stream as a producer does who writes with MAXLEN."""
    world.client.xtrim(stream, maxlen=keep, approximate=False)


def losses(answer):
    return [(p.plugin, int(p.detail)) for p in answer.passed if p.kind == "lost"]


async def publish_ours(queue, *run_ids, **more):
    for run_id in run_ids:
        request = Request(run_id, "echoes", 1, {})
        await publish(queue, Publication(request, request_payload(request), **more))


def lag(world, stream=REQUESTS):
    (group,) = [g for g in world.client.xinfo_groups(stream) if g["name"] == GROUP]
    return group["lag"]


async def test_what_was_cut_off_before_its_delivery_is_counted_once(queue, world):
    for n in range(10):
        world.publish(f"r-{n}")
    cut(world, 4)

    answers = [await queue.take(f"host.s{n}") for n in range(5)]

    assert losses(answers[0]) == [(REQUESTS, 6)]
    assert [losses(answer) for answer in answers[1:]] == [[]] * 4
    assert lag(world) == 0


async def test_the_lag_is_right_after_a_loss(queue, world):
    for n in range(10):
        world.publish(f"r-{n}")
    await queue.take("host.s0")
    cut(world, 4)

    await queue.take("host.s1")

    assert lag(world) == 3


async def test_when_all_was_cut_off_it_is_counted_without_a_next_entry(queue, world):
    for n in range(10):
        world.publish(f"r-{n}", stream=STREAMS[3])
    await queue.take("host.s0")
    cut(world, 0, STREAMS[3])

    assert losses(await queue.take("host.s1")) == [(STREAMS[3], 9)]
    assert losses(await queue.take("host.s1")) == []


async def test_each_of_several_losses_is_counted(queue, world):
    seen = []
    for turn in range(4):
        for n in range(5):
            world.publish(f"r-{turn}-{n}")
        cut(world, 2)
        for slot in range(2):
            seen += losses(await queue.take(f"host.s{turn}-{slot}"))

    assert seen == [(REQUESTS, 3)] * 4


async def test_what_was_delivered_before_is_no_loss(queue, world):
    for n in range(10):
        world.publish(f"r-{n}")
        await queue.finish(Lease.of(await taken(queue), "host.s0"), done(f"r-{n}"), {})
    cut(world, 2)
    world.publish("r-10")

    assert losses(await queue.take("host.s0")) == []


async def test_what_was_cut_off_before_there_was_a_group_is_no_loss(queue, world):
    world.client.xgroup_destroy(REQUESTS, GROUP)
    for n in range(10):
        world.publish(f"r-{n}")
    cut(world, 4)
    await queue.ensure_groups()

    assert losses(await queue.take("host.s0")) == []


async def test_an_entry_that_somebody_removed_from_the_middle_disturbs_nobody(queue, world):
    for n in range(4):
        world.publish(f"r-{n}")
    world.client.xdel(REQUESTS, world.entries()[1][0])

    assert await taken_runs(queue, 3) == ["r-0", "r-2", "r-3"]


async def test_a_run_of_ours_that_was_cut_off_is_found_by_its_id(queue, world):
    await publish_ours(queue, "r-1", "r-2", "r-3")
    ids = [entry_id for entry_id, _ in world.entries()]
    cut(world, 1)

    _, lost = await sweeps.tidy(queue)

    assert lost == [sweeps.Lost(REQUESTS, ids[n], f"r-{n + 1}") for n in range(2)]
    assert await taken_runs(queue, 1) == ["r-3"]


async def test_a_long_backlog_of_another_stream_hides_no_loss(queue, world):
    await publish_ours(queue, *(f"low-{n}" for n in range(300)), priority="low")
    await publish_ours(queue, "r-1")
    cut(world, 0)

    assert [lost.run_id for lost in (await sweeps.tidy(queue))[1]] == ["r-1"]


async def test_what_another_program_of_our_group_read_is_not_lost(queue, world):
    await publish_ours(queue, "r-1", "r-2")
    world.client.xack(REQUESTS, GROUP, world.read("foreign.s0", count=2)[0])

    assert (await sweeps.tidy(queue))[1] == []

    assert world.client.zcard("crewpool:queued") == 0


async def test_a_run_that_is_in_hand_by_another_entry_is_not_lost(queue, world, take):
    await take("r-1", stream=STREAMS[0])
    world.client.delete("crewpool:run:r-1", "crewpool:holding")
    await publish_ours(queue, "r-1")
    await queue.take("host.s0")
    cut(world, 0)

    assert (await sweeps.tidy(queue))[1] == []


@pytest.fixture
def host(url):
    """A host that does nothing by itself."""
    return Host(url, rhythm=LONG)


async def test_a_run_of_ours_that_was_lost_gets_one_failed_result(host, queue, world):
    async with host:
        await publish_ours(queue, "r-1", "r-2")
        cut(world, 1)
        for _ in range(3):
            await host.keeper._tidy()

        assert host.seen(Passed) == [Passed("gone", "r-1", "", "finished")]
        assert host.seen(EntriesTrimmed) == []
    assert world.result("r-1")["error"] == GONE
    assert world.result("r-2") is None
    assert world.record("r-1")["state"] == "failed"


async def test_what_was_cut_off_while_its_host_was_dead_fails_once(host, queue, world, take):
    await take("r-1", "dead-0000.s0")
    cut(world, 0)
    async with host:
        page = await sweeps.reclaim(queue, "host.sweep", 0, START)
        await host.keeper._end_all(page)
        for _ in range(2):
            await host.keeper._tidy()

        assert [p.run_id for p in host.seen(Passed)] == ["r-1"]
    world.assert_exactly_one_result(["r-1"])
    assert world.holding() == world.running() == {}
    world.assert_nothing_pending()


async def test_while_its_host_lives_its_own_result_is_waited_for(host, queue, url, world):
    async with host, Host(url, "other", LONG) as other:
        world.publish("r-1")
        await other.take()
        cut(world, 0)
        world.beat("other")
        await other.keeper._renew()
        page = await sweeps.reclaim(queue, "host.sweep", 0, START)
        await host.keeper._end_all(page)
        await host.keeper._tidy()
        await other.keeper._tidy()
        assert world.results() == []

        other.finish(0, "r-1")
        await eventually(lambda: other.seen(Settled))
    assert world.result("r-1")["status"] == "completed"
    assert world.holding() == {}


async def test_what_a_living_host_let_go_is_answered_by_itself(host, queue, world):
    """It holds a note of a run that none of its slots has."""
    async with host:
        world.publish("r-1")
        await host.take()
        world.client.xack(REQUESTS, GROUP, world.entries()[0][0])
        host.broker.leases.clear()
        world.beat("host")

        await host.keeper._tidy()

    assert world.result("r-1")["status"] == "failed"


async def test_ids_of_several_streams_are_not_mixed_up(host, world):
    """Two streams give the same id to what is added to both in one millisecond."""
    for n, stream in enumerate(STREAMS[:2]):
        world.client.xadd(stream, {"payload": world.payload(f"r-{n}")}, id="1700000000000-0")
    async with host:
        for slot in range(2):
            await host.take(slot)
        world.client.xack(STREAMS[1], GROUP, "1700000000000-0")
        del host.broker.leases[1]

        await host.keeper._tidy()

    assert [r["plugin_run_id"] for r in world.results()] == ["r-1"]


async def test_a_loss_is_told_to_the_loop_while_it_waits(url, world):
    async with Host(url) as host:
        for n in range(10):
            world.publish(f"r-{n}")
        cut(world, 4)
        await host.take()

        assert Passed("lost", "", REQUESTS, "6") in host.seen(Passed)
        await keeps_true(lambda: len([p for p in host.seen(Passed) if p.kind == "lost"]) == 1, 0.3)
