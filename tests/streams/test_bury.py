"""bury.lua: a dead letter with the reason, a failed result, the acknowledgement."""

import json

from supervisor import verdicts
from supervisor.streams.endings import Bury
from supervisor.streams.queue import Lease
from supervisor.streams.wire import Rejected, parse
from tests.streams.conftest import ALL_BACKENDS, LETTER, LIMITS, done, failed, taken
from tests.support.redis_world import GROUP, REQUESTS

BACKENDS = ALL_BACKENDS

SECRET = "sk-0123456789abcdef"


def no_policy(cause):
    raise AssertionError(cause)


async def buried(queue, world):
    """Take what was published, judge it as the supervisor does, bury it; return the letter."""
    entry = await taken(queue)
    rejected = parse(entry, LIMITS.max_payload_bytes)
    assert isinstance(rejected, Rejected)
    ending = verdicts.of_rejected(entry, rejected, verdicts.Context("host.s0", no_policy))
    assert await queue.bury(Lease.of(entry, "host.s0"), ending, {}) == "buried"
    (letter,) = world.dead_letters()
    return letter


async def test_letter_result_and_acknowledgement_are_one_step(queue, world, take):
    lease = await take("r-1")

    assert await queue.bury(lease, failed(), {"state": "failed"}) == "buried"

    (letter,) = world.dead_letters()
    assert letter["payload"] == LETTER.payload
    assert letter["reason"] == "drill"
    assert world.result("r-1")["error"] == "no such plugin"
    assert world.record("r-1") == {"state": "failed"}
    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_without_a_run_id_nobody_is_told_but_the_letter_is_there(queue, world, take):
    lease = await take("r-1")

    assert await queue.bury(lease, Bury(LETTER, None), {}) == "buried"

    assert world.results() == []
    assert len(world.dead_letters()) == 1
    world.assert_nothing_pending()


async def test_a_run_that_has_its_result_gets_no_second_one(queue, world, read):
    first, second = read("r-1", "host.s0"), read("r-1", "host.s1")
    await queue.finish(first, done(), {"state": "completed"})

    assert await queue.bury(second, failed(), {"state": "failed"}) == "duplicate"

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()
    assert world.record("r-1") == {"state": "completed"}


async def test_who_lost_the_entry_buries_nothing(queue, world, take):
    lease = await take("r-1")
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [lease.id])

    assert await queue.bury(lease, failed(), {}) == "lost"

    assert world.dead_letters() == world.results() == []
    assert len(world.pending()) == 1


async def test_burying_twice_makes_one_letter(queue, world, take):
    lease = await take("r-1")
    await queue.bury(lease, failed(), {})

    assert await queue.bury(lease, failed(), {}) == "buried"

    assert len(world.dead_letters()) == 1


async def test_foreign_fields_are_kept_and_large_ones_left_out(queue, world, take):
    lease = await take("r-1", traceparent="00-abc", large="x" * 5000, reason="mine")

    await queue.bury(lease, failed(), {})

    (letter,) = world.dead_letters()
    assert letter["traceparent"] == "00-abc"
    assert letter["schema_version"] == "v1"
    assert letter["reason"] == "drill"
    assert "large" not in letter


async def test_hundreds_of_foreign_fields_do_not_stop_it(queue, world, take):
    lease = await take("r-1", **{f"f{n}": n for n in range(3000)})

    assert await queue.bury(lease, failed(), {}) == "buried"

    assert len(world.dead_letters()[0]) < 250


async def test_credentials_are_masked_in_json(queue, world):
    body = {"plugin_run_id": "r-1", "plugin_name": "../x", "user_id": 1}
    world.publish(raw=json.dumps(body | {"settings": {"_llm_api_key": SECRET, "topics": ["a"]}}))

    letter = await buried(queue, world)

    assert json.loads(letter["payload"])["settings"] == {"_llm_api_key": "***", "topics": ["a"]}
    assert SECRET not in world.everything_but(REQUESTS)


async def test_credentials_are_cut_off_in_broken_json(queue, world):
    world.publish(raw=f'{{"plugin_run_id": "r-1", "settings": {{"_llm_api_key": "{SECRET}"')

    letter = await buried(queue, world)

    assert '"plugin_run_id": "r-1"' in letter["payload"]
    assert letter["reason"] == "not_json"
    assert world.result("r-1")["status"] == "failed"
    assert SECRET not in world.everything_but(REQUESTS)


async def test_ten_megabytes_do_not_become_a_letter(queue, world, server):
    world.publish(raw='{"plugin_run_id":"r-1","rest":"' + "x" * 10_000_000 + '"}')
    server.client.config_resetstat()

    letter = await buried(queue, world)

    assert letter["reason"] == "too_large"
    assert letter["payload_bytes"] == str(10_000_000 + 33)
    assert len(letter["payload"]) < 2000
    assert server.client.info("stats")["total_net_output_bytes"] < 200_000
    assert "10000033 bytes" in world.result("r-1")["error"]


async def test_a_letter_names_where_it_came_from(queue, world):
    world.publish(raw="{}")

    letter = await buried(queue, world)

    assert letter["stream"] == REQUESTS
    assert letter["entry_id"] == world.entries()[0][0]
    assert letter["worker"] == "host.s0"
    assert letter["attempts"] == "1"
    assert letter["class"] == "invalid"
    assert float(letter["died_at"]) > 0
