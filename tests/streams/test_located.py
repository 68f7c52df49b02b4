"""locate.lua: where a run is, from the keys that decide, at each of its stations."""

import json

import pytest

from supervisor.streams import located
from supervisor.streams.located import locate
from supervisor.streams.orders import cancel, set_plugin_state
from supervisor.streams.publish import Publication, publish
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import again, done, taken
from tests.support.redis_world import GROUP, REQUESTS


async def submit(queue, run_id="r-1", plugin="echoes", **more):
    request = Request(run_id, plugin, 42, {})
    return await publish(queue, Publication(request, request_payload(request), **more))


async def place(queue, run_id="r-1"):
    return (await locate(queue, run_id)).place


async def test_what_was_never_heard_of_is_unknown_and_nothing_is_made(queue, world):
    world.client.flushall()

    found = await locate(queue, "r-1")

    assert (found.place, found.record, found.plugin.name) == ("unknown", {}, "")
    assert found.now == pytest.approx(world.client.time()[0], abs=5)
    assert world.everything() == ""


async def test_a_queued_run_knows_how_many_are_before_it(queue, world):
    for number in range(120):
        world.publish(f"r-{number}")
    world.publish("r-urgent", stream=f"{REQUESTS}:critical")
    world.publish("r-idle", stream=f"{REQUESTS}:low")
    await taken(queue, "host.s0")
    await taken(queue, "host.s1")

    found = await locate(queue, "r-100")

    assert found.place == "queued"
    assert (found.queued.stream, found.queued.level) == (REQUESTS, 2)
    assert (found.queued.before, found.queued.is_more) == (99, False)
    assert found.queued.entry_id == world.entries()[100][0]
    assert (await locate(queue, "r-idle")).queued.before == 119
    assert (await locate(queue, "r-1")).queued.before == 0
    assert found.plugin.name == "echoes"


async def test_a_long_backlog_is_not_read_to_its_end(queue, world, monkeypatch):
    monkeypatch.setattr(located, "MOST_ENTRIES", 50)
    await submit(queue, "r-first")
    for number in range(200):
        world.publish(f"r-{number}")
    await submit(queue, "r-ours")

    ours, foreign = await locate(queue, "r-ours"), await locate(queue, "r-199")

    assert (ours.place, foreign.place) == ("queued", "queued")
    assert (ours.queued.before, ours.queued.is_more) == (50, True)
    assert foreign.queued.is_more
    assert (await locate(queue, "r-3")).queued.before == 4
    assert await place(queue, "r-none") == "unknown"


async def test_large_payloads_are_not_read_to_their_end(queue, world, monkeypatch):
    monkeypatch.setattr(located, "MOST_BYTES", 100_000)
    for number in range(200):
        world.publish(f"r-{number}", settings={"x": "x" * 10_000})

    assert (await locate(queue, "r-199")).queued.is_more


async def test_a_delayed_run_knows_until_when(queue, world):
    published = await submit(queue, delay_s=600)

    found = await locate(queue, "r-1")

    assert found.place == "delayed"
    assert found.waiting.due_at == published.due_at
    assert found.waiting.since == pytest.approx(found.now, abs=5)
    assert found.record["state"] == "delayed"


async def test_a_parked_run_knows_its_plugins_state_and_who_is_before(queue, world):
    await set_plugin_state(queue, "echoes", "pause", "me@vm", "why not")
    for number in range(3):
        await submit(queue, f"r-{number}")
    await queue.take("host.s0")

    found = await locate(queue, "r-2")

    assert found.place == "parked"
    assert (found.waiting.before, found.waiting.due_at) == (2, None)
    assert (found.plugin.state.state, found.plugin.state.by) == ("paused", "me@vm")


async def test_who_is_at_the_limit_is_named(queue, world):
    limits = json.dumps({"echoes": {"c": 1, "n": 5, "p": 60_000}})
    for number in range(2):
        await submit(queue, f"r-{number}")
    await taken(queue, "host-ab12.s0", limits)
    await queue.take("host-ab12.s1", limits)

    found = await locate(queue, "r-1")

    assert found.place == "parked"
    assert (found.plugin.running, found.plugin.holders) == (1, (("r-0", "host-ab12.s0"),))
    assert found.plugin.starts == (pytest.approx(found.now, abs=5),)


async def test_a_running_one_knows_its_owner_and_its_lease(queue, world):
    await submit(queue)
    entry = await taken(queue, "host-ab12.s3")

    found = await locate(queue, "r-1")

    assert found.place == "running"
    assert (found.held.host, found.held.slot) == ("host-ab12", "s3")
    assert (found.held.stream, found.held.entry_id) == (REQUESTS, entry.id)
    assert found.held.idle_s == pytest.approx(0, abs=5)
    await cancel(queue, "r-1")
    assert (await locate(queue, "r-1")).cancelled_at == pytest.approx(found.now, abs=5)


async def test_who_claimed_it_is_its_owner(queue, world, take):
    lease = await take("r-1")
    world.client.xclaim(REQUESTS, GROUP, "other.sweep", 0, [lease.id])

    assert (await locate(queue, "r-1")).held.owner == "other.sweep"


async def test_one_that_another_program_of_the_group_took_is_running(queue, world):
    await submit(queue)
    world.client.xreadgroup(GROUP, "somebody", {REQUESTS: ">"})

    found = await locate(queue, "r-1")

    assert (found.place, found.held.owner, found.plugin.name) == ("running", "somebody", "echoes")


@pytest.mark.parametrize("where", [("crewpool:run:r-1", "1-1"), (REQUESTS, "nonsense"), ("", "")])
async def test_a_record_that_points_elsewhere_is_not_followed(queue, world, where):
    facts = {"state": "pending", "stream": where[0], "entry_id": where[1]}
    world.client.hset("crewpool:run:r-1", mapping=facts)

    assert await place(queue) == "gone"


@pytest.mark.parametrize(("delay_s", "where"), [(0.0, "queued"), (60.0, "delayed")])
async def test_one_that_was_handed_back_waits_again(queue, world, take, delay_s, where):
    await queue.hand_back(await take("r-1"), again("r-1", delay_s=delay_s), {})

    assert await place(queue) == where


async def test_one_with_a_result_has_ended(queue, world, take):
    await queue.finish(await take("r-1"), done(), {"state": "completed"})

    found = await locate(queue, "r-1")

    assert (found.place, found.has_result, found.record) == ("ended", True, {"state": "completed"})


async def test_one_whose_marker_ran_out_has_ended_by_its_record(queue, world):
    world.client.hset("crewpool:run:r-1", "state", "failed")

    assert await place(queue) == "ended"


@pytest.mark.parametrize("how", ["removed", "acknowledged by a stranger", "the group is gone"])
async def test_one_whose_entry_is_gone_is_gone(queue, world, how):
    await submit(queue)
    entry_id = world.entries()[0][0]
    if how == "removed":
        world.client.xdel(REQUESTS, entry_id)
    else:
        await taken(queue)
        world.client.xack(REQUESTS, GROUP, entry_id)
    if how == "the group is gone":
        world.client.xgroup_destroy(REQUESTS, GROUP)
        world.client.xdel(REQUESTS, entry_id)

    assert await place(queue) == "gone"


async def test_looking_changes_nothing(queue, world):
    await set_plugin_state(queue, "echoes", "pause", "me", "")
    await submit(queue)
    before = sorted(world.everything().splitlines())

    await locate(queue, "r-1")

    assert sorted(world.everything().splitlines()) == before


async def test_it_can_be_looked_when_memory_is_short(queue, world, server):
    await submit(queue)
    server.client.config_set("maxmemory", 1)

    assert await place(queue) == "queued"


async def test_whatever_a_record_holds_can_be_looked_at(queue, world):
    world.client.hset("crewpool:run:r-1", mapping={"plugin": b"\xff", "x": "\x00", "state": "[]"})

    found = await locate(queue, "r-1")

    assert found.place == "gone"
    assert found.record["plugin"].encode("utf-8", "surrogateescape") == b"\xff"
