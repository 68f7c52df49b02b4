"""cancel.lua and plugin_state.lua, as operators give the orders."""

import json

import pytest

from supervisor.streams import orders
from supervisor.streams.orders import Cancelled, cancel, plugin_states, set_plugin_state
from supervisor.streams.publish import Publication, publish
from supervisor.streams.wire import Request, request_payload
from tests.streams.conftest import again, done, taken
from tests.support.redis_world import REQUESTS, STREAMS


async def submitted(queue, run_id="r-1", plugin="echoes", **more):
    request = Request(run_id, plugin, 42, {})
    await publish(queue, Publication(request, request_payload(request), **more))


def everything(world):
    """Return all keys and values. SCAN has no order."""
    return sorted(world.everything().splitlines())


def assert_cancelled(world, run_id="r-1"):
    result = world.result(run_id)
    assert (result["status"], result["error"], result["output"]) == ("failed", "cancelled", "")
    assert world.client.exists(f"crewpool:done:{run_id}")
    record = world.record(run_id)
    facts = {"state": "failed", "error": "cancelled", "cause": "cancelled"}
    assert facts.items() <= record.items()


async def test_a_queued_run_gets_its_result_and_is_passed_over(queue, world):
    await submitted(queue)
    await submitted(queue, "r-2")

    assert await cancel(queue, "r-1") == Cancelled("queued")

    assert_cancelled(world)
    assert '"r-2"' in (await taken(queue)).fields["payload"]
    assert len(world.pending()) == 1


@pytest.mark.parametrize("stream", STREAMS)
async def test_one_that_another_program_published_is_found(queue, world, stream):
    for number in range(3):
        world.publish(f"r-{number}", stream=stream)

    assert await cancel(queue, "r-1") == Cancelled("queued")

    assert_cancelled(world)
    assert world.results("r-0") == world.results("r-2") == []


async def test_it_is_found_behind_many_others(queue, world, monkeypatch):
    monkeypatch.setattr(orders, "PAGE", 3)
    for number in range(10):
        world.publish(f"r-{number}")
    await taken(queue)

    assert await cancel(queue, "r-9") == Cancelled("queued")
    assert await cancel(queue, "r-10") == Cancelled("unknown")


async def test_an_id_in_the_settings_is_not_the_runs(queue, world):
    world.publish("r-2", settings={"plugin_run_id": "r-1"})

    assert await cancel(queue, "r-1") == Cancelled("unknown")
    assert await cancel(queue, "r-2") == Cancelled("queued")


async def test_one_that_is_no_json_is_found_by_its_text(queue, world):
    world.publish(raw='{"plugin_run_id": "r-1", "plugin_na')

    assert await cancel(queue, "r-1") == Cancelled("queued")


async def test_a_delayed_run_is_cancelled(queue, world):
    await submitted(queue, delay_s=3600)

    assert await cancel(queue, "r-1") == Cancelled("delayed")

    assert_cancelled(world)
    assert not world.client.exists("crewpool:delayed", "crewpool:waiting")


async def test_a_parked_run_is_cancelled(queue, world):
    await set_plugin_state(queue, "echoes", "pause", "me", "")
    await submitted(queue)
    await queue.take("host.s0")

    assert await cancel(queue, "r-1") == Cancelled("parked")

    assert_cancelled(world)
    assert not world.client.exists("crewpool:parked", "crewpool:waiting", "crewpool:parked:plugins")


async def test_a_run_that_was_handed_back_is_cancelled(queue, world, take):
    lease = await take("r-1")
    await queue.hand_back(lease, again("r-1"), {})

    assert await cancel(queue, "r-1") == Cancelled("queued")
    assert_cancelled(world)


async def test_of_a_running_one_its_supervisor_is_told_and_nothing_is_published(queue, world):
    await submitted(queue)
    await queue.take("host-ab12.s3")

    assert await cancel(queue, "r-1") == Cancelled("running", "host-ab12.s3")

    ((_, message),) = world.client.xrange("crewpool:messages:all")
    assert message == {"kind": "cancel", "run": "r-1"}
    assert world.client.zscore("crewpool:cancelled", "r-1")
    assert world.results() == []


async def test_the_unique_key_is_freed(queue, world):
    await submitted(queue, unique_for_s=600)
    await cancel(queue, "r-1")

    await submitted(queue, "r-2", unique_for_s=600)
    assert world.client.xlen(REQUESTS) == 2


async def test_one_that_was_asked_for_ends_before_it_is_published(queue, world):
    assert await cancel(queue, "r-1", is_asked_for=True) == Cancelled("waiting")
    assert await cancel(queue, "r-1", is_asked_for=True) == Cancelled("ended", "failed")
    await submitted(queue)
    world.publish("r-1")  # as who may run no scripts

    assert_cancelled(world)
    assert len(world.results()) == world.client.xlen(REQUESTS) == 1
    await queue.take("host.s0")
    assert world.pending() == []


@pytest.mark.parametrize("was", ["queued", "delayed", "running"])
async def test_one_that_was_asked_for_and_published_is_cancelled_where_it_is(queue, was):
    await submitted(queue, delay_s=60 if was == "delayed" else 0)
    if was == "running":
        await queue.take("host.s0")

    assert (await cancel(queue, "r-1", is_asked_for=True)).was == was


async def test_what_has_ended_or_is_not_known_changes_nothing(queue, world, take):
    lease = await take("r-1")
    await queue.finish(lease, done(), {"state": "completed"})
    before = everything(world)

    assert await cancel(queue, "r-1") == Cancelled("ended", "completed")
    assert await cancel(queue, "r-none") == Cancelled("unknown")
    assert await cancel(queue, "") == Cancelled("unknown")

    assert everything(world) == before


async def test_without_streams_nothing_is_known_and_nothing_is_made(queue, world):
    world.client.flushall()

    assert await cancel(queue, "r-1") == Cancelled("unknown")
    assert await plugin_states(queue) == {}
    assert world.everything() == ""


async def test_a_paused_plugin_tells_by_whom_and_why(queue, world):
    assert await set_plugin_state(queue, "echoes", "pause", "me@vm", "a bad night") == ""

    state = (await plugin_states(queue))["echoes"]
    assert (state.state, state.by, state.reason) == ("paused", "me@vm", "a bad night")
    assert state.since == pytest.approx(world.client.time()[0], abs=5)
    assert await set_plugin_state(queue, "echoes", "resume", "me@vm", "") == "paused"
    assert await plugin_states(queue) == {}


async def test_a_quarantine_tells_until_when_and_how_often_it_crashed(queue, world):
    facts = {"state": "quarantined", "since_ms": 1000, "until_ms": 61_000, "crashes": [500, 1000]}
    world.client.hset("crewpool:plugins", mapping={"echoes": json.dumps(facts), "other": "{}"})

    state = (await plugin_states(queue))["echoes"]

    assert (state.state, state.since, state.until, state.crashes) == (
        *("quarantined", 1.0, 61.0, (0.5, 1.0)),
    )
