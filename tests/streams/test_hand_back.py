"""hand_back.lua: a run goes back to its stream, with all that its producer wrote."""

import pytest

from supervisor.streams.queue import Lease
from tests.streams.conftest import ALL_BACKENDS, again, done, taken
from tests.support.redis_world import GROUP, REQUESTS, STREAMS

BACKENDS = ALL_BACKENDS


async def test_the_run_can_be_taken_again_with_its_new_attempt(queue, world, take):
    lease = await take("r-1")

    assert await queue.hand_back(lease, again(attempt=2), {"state": "pending"}) == "handed_back"

    entry = await taken(queue, "other.s0")
    assert entry.attempt == 2
    assert '"r-1"' in entry.fields["payload"]
    assert world.pending() == [(REQUESTS, entry.id, "other.s0")]
    assert world.record("r-1") == {
        "state": "pending",
        "entry_id": entry.id,
        "stream": REQUESTS,
    }


async def test_foreign_fields_travel_along(queue, world, take):
    lease = await take("r-1", traceparent="00-abc", **{"odd name": "", "long": "x" * 20_000})
    before = dict(world.entries()[0][1])

    await queue.hand_back(lease, again(attempt=3), {})

    after = dict(world.entries()[-1][1])
    assert after.pop("attempt") == "3"
    assert after == before


async def test_an_old_attempt_is_replaced_and_not_doubled(queue, world, take):
    lease = await take("r-1", attempt=7)

    await queue.hand_back(lease, again(attempt=8), {})

    assert world.client.execute_command("XREVRANGE", REQUESTS, "+", "-", "COUNT", 1)
    assert world.entries()[-1][1]["attempt"] == "8"
    raw = world.client.eval("return redis.call('XREVRANGE', KEYS[1], '+', '-')[1][2]", 1, REQUESTS)
    assert raw.count("attempt") == 1


@pytest.mark.parametrize("stream", STREAMS)
async def test_it_goes_back_to_the_stream_it_came_from(queue, world, take, stream):
    lease = await take("r-1", stream=stream)

    await queue.hand_back(lease, again(attempt=1), {})

    assert len(world.entries(stream)) == 2
    assert (await taken(queue, "other.s0")).stream == stream


async def test_payloads_that_are_no_text_or_huge_come_back_unharmed(queue, world):
    payload = b"\xff\x00" + b"x" * 10_000_000
    world.client.xadd(REQUESTS, {"payload": payload})
    entry = await taken(queue)

    await queue.hand_back(Lease.of(entry, "host.s0"), again(), {})

    newest = world.entries()[-1][1]["payload"]
    assert newest.encode("utf-8", "surrogateescape") == payload


async def test_a_run_that_has_its_result_does_not_go_back(queue, world, read):
    first, second = read("r-1", "host.s0"), read("r-1", "host.s1")
    await queue.finish(first, done(), {"state": "completed"})

    assert await queue.hand_back(second, again(attempt=2), {"state": "pending"}) == "duplicate"

    world.assert_nothing_pending()
    assert world.record("r-1") == {"state": "completed"}


async def test_who_lost_the_entry_cannot_hand_it_back(queue, world, take):
    lease = await take("r-1")
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [lease.id])

    assert await queue.hand_back(lease, again(attempt=2), {}) == "lost"

    assert len(world.entries()) == 1
    assert world.pending() == [(REQUESTS, lease.id, "other.s0")]


async def test_handing_back_twice_makes_one_entry(queue, world, take):
    lease = await take("r-1")
    await queue.hand_back(lease, again(attempt=2), {})

    assert await queue.hand_back(lease, again(attempt=2), {}) == "lost"

    assert len(world.entries()) == 2


async def test_what_was_trimmed_cannot_go_back(queue, world, take):
    lease = await take("r-1")
    world.client.xdel(REQUESTS, lease.id)

    assert await queue.hand_back(lease, again(attempt=2), {}) == "trimmed"

    assert world.entries() == []


async def test_a_payload_behind_thousands_of_foreign_fields_is_not_left_behind(queue, world, take):
    world.client.xadd(
        REQUESTS, {**{f"f{n}": "x" for n in range(2500)}, "payload": '{"plugin_run_id":"r-1"}'}
    )
    entry = await taken(queue)

    await queue.hand_back(Lease.of(entry, "host.s0"), again(), {})

    entry = await taken(queue)
    assert entry.attempt == 2
    assert entry.fields["payload"] == '{"plugin_run_id":"r-1"}'
