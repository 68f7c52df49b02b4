"""Delayed runs: a sorted set, from which any supervisor lets them begin, once."""

import asyncio
import time

import pytest

from supervisor.streams.queue import Lease, Nothing, Queue
from tests.streams.conftest import KEYS, LIMITS, again, done, taken, taken_runs
from tests.support.redis_world import REQUESTS, STREAMS
from tests.support.waiting import eventually


@pytest.fixture
def hand_back(queue, take):
    """Take a run and hand it back with a delay."""

    async def hand_back(run_id, delay_s, **more):
        lease = await take(run_id, **more)
        assert await queue.hand_back(lease, again(run_id, delay_s=delay_s), {}) == "handed_back"

    return hand_back


async def test_a_run_that_is_handed_back_with_a_delay_waits_for_it(queue, world, hand_back):
    began = time.time()
    await hand_back("r-1", 60)

    got = (await queue.take("host.s0")).got

    assert isinstance(got, Nothing)
    assert 55 < got.wake_s <= 60
    assert world.delayed()["r-1"] == pytest.approx((began + 60) * 1000, abs=5000)
    assert world.pending() == []
    assert world.holding() == world.running() == {}


async def test_when_its_time_comes_it_stands_at_the_end_of_its_stream(queue, world, hand_back):
    await hand_back("r-1", 60, stream=STREAMS[1], traceparent="00-abc")
    world.publish("r-2", stream=STREAMS[1])
    world.let_delayed_begin()

    assert await taken_runs(queue, 2) == ["r-2", "r-1"]
    (_, fields) = world.entries(STREAMS[1])[-1]
    assert (fields["attempt"], fields["traceparent"]) == ("2", "00-abc")
    assert world.delayed() == {}
    assert world.client.hlen("crewpool:waiting") == 0


async def test_it_is_told_that_its_time_has_come(queue, world, hand_back):
    await hand_back("r-1", 60)
    world.let_delayed_begin()

    assert [(p.kind, p.run_id) for p in (await queue.take("host.s0")).passed] == [("due", "r-1")]


async def test_the_soonest_says_when_to_ask_again(queue, world, hand_back):
    await hand_back("r-1", 3600)
    await hand_back("r-2", 30)

    assert 25 < (await queue.take("host.s0")).got.wake_s <= 30


async def test_who_sleeps_hears_of_a_sooner_one(queue, take):
    lease = await take("r-1")
    nothing = (await queue.take("host.s1")).got

    await queue.hand_back(lease, again(delay_s=60), {})

    assert await asyncio.wait_for(queue.wait_for_entry(nothing.after), 2) is True


async def test_two_who_take_at_once_let_each_begin_once(queue, world, url, hand_back):
    for n in range(20):
        await hand_back(f"r-{n}", 60)
    others = [Queue(url, KEYS, LIMITS) for _ in range(3)]
    world.let_delayed_begin()

    answers = await asyncio.gather(
        *(q.take(f"host-{m}.s{n}") for m, q in enumerate([queue, *others]) for n in range(8))
    )
    for other in others:
        await other.close()

    due = [p.run_id for answer in answers for p in answer.passed if p.kind == "due"]
    assert sorted(due) == sorted(f"r-{n}" for n in range(20))
    assert sum(not isinstance(answer.got, Nothing) for answer in answers) == 20


async def test_thousands_whose_time_has_come_are_let_go_page_by_page(queue, world, hand_back):
    await hand_back("r-0", 60)
    packed = world.client.execute_command("HGET", "crewpool:waiting", "r-0", NEVER_DECODE=True)
    copies = {f"d-{n}": packed for n in range(1000)}
    world.client.hset("crewpool:waiting", mapping=copies)
    world.client.zadd("crewpool:delayed", dict.fromkeys(copies, 1))

    await queue.take("host.s0")

    assert 0 < len(world.entries()) - 1 <= 100
    assert world.client.zcard("crewpool:delayed") >= 900


async def test_a_delayed_run_without_its_fields_stops_nobody(queue, world, hand_back):
    await hand_back("r-1", 60)
    world.client.delete("crewpool:waiting")
    world.let_delayed_begin()
    world.publish("r-2")

    assert await taken_runs(queue, 1) == ["r-2"]
    # It is put off; the next tidy answers it as lost (test_mending.py).
    assert list(world.delayed()) == ["r-1"]


async def test_a_delay_of_less_than_a_millisecond_is_none(queue, world, hand_back):
    await hand_back("r-1", 0.0004)

    assert await taken_runs(queue, 1) == ["r-1"]


async def test_a_payload_that_is_no_text_waits_unharmed(queue, world):
    payload = b'{"plugin_run_id":"r-1","plugin_name":"echoes","x":"\xff\x00"}'
    world.client.xadd(REQUESTS, {"payload": payload})
    entry = await taken(queue)
    await queue.hand_back(Lease.of(entry, "host.s0"), again(delay_s=60), {})
    world.let_delayed_begin()

    entry = await taken(queue)

    assert entry.fields["payload"].encode("utf-8", "surrogateescape") == payload


async def test_a_delay_survives_a_restart(own_server):
    queue = Queue(own_server.url, KEYS, LIMITS)
    await queue.ensure_groups()
    own_server.client.xadd(REQUESTS, {"payload": '{"plugin_run_id":"r-1","plugin_name":"p"}'})
    lease = Lease.of(await taken(queue), "host.s0")
    await queue.hand_back(lease, again(delay_s=0.5), {})
    own_server.client.config_set("appendfsync", "always")
    own_server.client.set("a write", "and with it all before it is on the disk")

    own_server.kill()
    own_server.start()
    await queue.disconnect()

    async def got():
        return not isinstance((await queue.take("host.s0")).got, Nothing)

    await eventually(got)
    assert own_server.client.xlen(REQUESTS) == 2
    assert own_server.client.zcard("crewpool:delayed") == 0
    await queue.close()


async def test_a_delayed_run_is_finished_like_any_other(queue, world, hand_back):
    await hand_back("r-1", 60)
    world.let_delayed_begin()

    await queue.finish(Lease.of(await taken(queue), "host.s0"), done(), {})

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()
