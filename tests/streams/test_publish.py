"""publish.lua: a run is added once, now or later, and never beyond the cap."""

import asyncio
import json
import time
from dataclasses import replace

import pytest

from supervisor.streams.keys import PRIORITIES
from supervisor.streams.publish import Publication, QueueFull, publish
from supervisor.streams.queue import Queue
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import ALL_BACKENDS, KEYS, LIMITS
from tests.support.redis_world import DEAD_LETTERS, REQUESTS, STREAMS

BACKENDS = ALL_BACKENDS


def of_run(run_id, settings=None, user_id=42, **more):
    """Return a publication of a run of echoes."""
    request = Request(run_id, "echoes", user_id, settings or {})
    return Publication(request, request_payload(request), **more)


def everything(world):
    """Return all keys and values. SCAN has no order."""
    return sorted(world.everything().splitlines())


def entries(world):
    """Return how many entries stand in each request stream that has any."""
    return {stream: n for stream in STREAMS if (n := world.client.xlen(stream))}


@pytest.mark.parametrize(("priority", "stream"), list(zip(PRIORITIES, STREAMS, strict=True)))
async def test_an_entry_has_the_three_fields_and_the_record_says_where(
    queue, world, priority, stream
):
    published = await publish(queue, of_run("r-1", {"a": 1}, priority=priority))

    ((entry_id, fields),) = world.entries(stream)
    assert (published.what, published.run_id, published.entry_id) == ("published", "r-1", entry_id)
    assert set(fields) == {"payload", "published_at", "schema_version"}
    assert json.loads(fields["payload"])["settings"] == {"a": 1}
    record = world.record("r-1")
    assert (record["state"], record["entry_id"], record["stream"]) == ("pending", entry_id, stream)
    assert (record["plugin"], record["priority"], record["user_id"]) == ("echoes", priority, "42")
    assert world.client.zrange("crewpool:runs", 0, -1) == ["r-1"]


async def test_a_run_that_is_known_is_not_added_again(queue, world):
    await publish(queue, of_run("r-1"))

    again = await publish(queue, of_run("r-1"))

    assert (again.what, again.state) == ("known", "pending")
    assert entries(world) == {REQUESTS: 1}


async def test_fifty_at_a_time_make_one_entry(queue, world):
    told = await asyncio.gather(*(publish(queue, of_run("r-1")) for _ in range(50)))

    assert sorted(published.what for published in told) == ["known"] * 49 + ["published"]
    assert entries(world) == {REQUESTS: 1}


async def test_a_run_with_a_result_has_ended(queue, world):
    world.client.set("crewpool:done:r-1", "1-1")
    world.client.hset("crewpool:run:r-1", "state", "completed")

    again = await publish(queue, of_run("r-1"))

    assert (again.what, again.state) == ("ended", "completed")
    assert entries(world) == {}


async def test_a_delayed_run_stands_in_no_stream_and_is_known(queue, world):
    before = time.time()
    delayed = await publish(queue, of_run("r-1", delay_s=60))
    again = await publish(queue, of_run("r-1"))

    assert delayed.what == "delayed"
    assert delayed.due_at == pytest.approx(before + 60, abs=5)
    assert world.client.zscore("crewpool:delayed", "r-1") == delayed.due_at * 1000
    assert (again.what, again.state) == ("known", "delayed")
    assert entries(world) == {}
    assert world.client.xlen("crewpool:bell") == 1, "idle supervisors count the time anew"


async def test_what_is_due_already_is_published_at_once(queue, world):
    assert (await publish(queue, of_run("r-1", at=time.time() - 1))).what == "published"
    assert entries(world) == {REQUESTS: 1}


async def test_the_record_of_a_delayed_run_outlives_its_delay(queue, world):
    await publish(queue, of_run("r-1", delay_s=86_400))

    assert world.client.ttl("crewpool:run:r-1") > 86_400


async def test_beyond_the_cap_nothing_is_added_and_nothing_is_lost(url, queue, world):
    small = Queue(url, KEYS, replace(LIMITS, max_waiting=3))
    try:
        await publish(small, of_run("r-1"))
        await publish(small, of_run("r-2", delay_s=60))
        await publish(small, of_run("r-3"))
        before = everything(world)

        with pytest.raises(QueueFull, match="3 runs wait, and at most 3 may") as refused:
            await publish(small, of_run("r-4"))

        assert refused.value.waiting == 3
        assert everything(world) == before
        await queue.take("host.s0")
        assert (await publish(small, of_run("r-4"))).what == "published"
    finally:
        await small.close()


async def test_of_two_alike_the_second_gets_the_id_of_the_first(queue, world):
    first = await publish(queue, of_run("r-1", {"a": 1, "_key": "x"}, unique_for_s=60))
    second = await publish(queue, of_run("r-2", {"_key": "y", "a": 1}, unique_for_s=60))
    bare = await publish(queue, of_run("r-3", {"a": 1}, unique_for_s=60))
    same = await publish(queue, of_run("r-1", {"a": 1}, unique_for_s=60))

    assert first.what == "published"
    assert [(p.what, p.run_id) for p in (second, bare)] == [("unique", "r-1")] * 2
    assert same.what == "known"
    assert entries(world) == {REQUESTS: 1}
    assert world.record("r-2") == {}


@pytest.mark.parametrize(
    "other",
    [
        of_run("r-2", {"a": 2}, unique_for_s=60),
        of_run("r-2", {"a": 1}, user_id=7, unique_for_s=60),
        of_run("r-2", {"a": 1}),
    ],
    ids=["settings", "user", "not unique"],
)
async def test_whoever_differs_or_does_not_ask_is_published(queue, world, other):
    await publish(queue, of_run("r-1", {"a": 1}, unique_for_s=60))

    assert (await publish(queue, other)).what == "published"


async def test_credentials_are_in_no_name_and_no_value_but_the_entry(queue, world):
    await publish(queue, of_run("r-1", {"_key": "sk-secret"}, unique_for_s=60))

    assert "sk-secret" not in world.everything_but(REQUESTS)


async def bury(world, run_id="r-1", state="failed"):
    """Leave what a buried run leaves; return the id of its dead letter."""
    world.client.set(f"crewpool:done:{run_id}", "1-1")
    world.client.hset(f"crewpool:run:{run_id}", mapping={"state": state, "attempt_1": "{}"})
    return world.client.xadd(DEAD_LETTERS, {"payload": "{}", "class": "crash"})


async def test_a_replay_needs_force_where_there_is_a_result(queue, world):
    letter = await bury(world)
    before = everything(world)

    refused = await publish(queue, of_run("r-1", letter=letter))

    assert (refused.what, refused.state) == ("ended", "failed")
    assert everything(world) == before


async def test_a_forced_replay_starts_over_and_takes_its_letter_along(queue, world):
    letter = await bury(world)
    world.client.zadd("crewpool:cancelled", {"r-1": 1})

    replayed = await publish(queue, of_run("r-1", letter=letter, is_forced=True))

    assert replayed.what == "published"
    assert world.dead_letters() == []
    assert not world.client.exists("crewpool:done:r-1")
    record = world.record("r-1")
    assert record["state"] == "pending"
    assert "attempt_1" not in record
    assert float(record["replayed_at"]) == pytest.approx(time.time(), abs=60)
    taken = (await queue.take("host.s0")).got
    assert taken.attempt == 1


async def test_a_replay_without_a_result_needs_no_force(queue, world):
    letter = world.client.xadd(DEAD_LETTERS, {"payload": "{}"})

    assert (await publish(queue, of_run("r-1", letter=letter))).what == "published"
    assert world.dead_letters() == []


@pytest.mark.parametrize("is_forced", [False, True])
async def test_a_run_that_is_on_is_not_replayed(queue, world, is_forced):
    letter = world.client.xadd(DEAD_LETTERS, {"payload": "{}"})
    await publish(queue, of_run("r-1"))

    for _ in range(2):  # queued, then in hand
        again = await publish(queue, of_run("r-1", letter=letter, is_forced=is_forced))
        assert again.what == "known"
        await queue.take("host.s0")

    assert len(world.dead_letters()) == 1
    assert entries(world) == {REQUESTS: 1}


async def test_a_letter_is_replayed_once(queue, world):
    letter = await bury(world)
    replay = of_run("r-1", letter=letter, is_forced=True)
    await publish(queue, replay)
    await queue.take("host.s0")
    world.client.delete("crewpool:holding")
    world.client.set("crewpool:done:r-1", "1-1")
    before = everything(world)

    again = await publish(queue, replay)

    assert again.what == "gone"
    assert everything(world) == before


async def test_foreign_fields_travel_and_ours_win(queue, world):
    await publish(queue, of_run("r-1", more_fields={"traceparent": "00-ab", "payload": "no"}))

    ((_, fields),) = world.entries()
    assert fields["traceparent"] == "00-ab"
    assert '"r-1"' in fields["payload"]
