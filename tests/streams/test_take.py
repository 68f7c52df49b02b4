"""take.lua: the next entry for one consumer, the most urgent stream first."""

import pytest

from supervisor.streams.endings import gone
from supervisor.streams.queue import Answer, Lease, Nothing, Trimmed
from tests.streams.conftest import ALL_BACKENDS, LIMITS, taken, taken_runs
from tests.support.redis_world import GROUP, REQUESTS, STREAMS

BACKENDS = ALL_BACKENDS


def delivered(world, entry):
    """How often Redis believes to have delivered an entry."""
    rows = world.client.xpending_range(entry.stream, GROUP, entry.id, entry.id, 1)
    return rows[0]["times_delivered"]


async def test_an_entry_comes_with_all_that_the_supervisor_needs(queue, world):
    world.publish("r-1", settings={"topics": ["ö", "\u2028"]}, attempt=2)

    entry = await taken(queue, "host.s0")

    ((entry_id, fields),) = world.entries()
    assert (entry.stream, entry.id) == (REQUESTS, entry_id)
    assert entry.fields == fields
    assert entry.attempt == 2
    assert entry.payload_bytes == len(fields["payload"].encode())
    assert entry.is_whole


async def test_the_most_urgent_stream_comes_first(queue, world):
    for stream in reversed(STREAMS):
        world.publish(stream, stream=stream)

    streams = [(await taken(queue, f"host.s{n}")).stream for n in range(4)]

    assert streams == list(STREAMS)


async def test_one_stream_keeps_the_order_of_publishing(queue, world):
    runs = [world.publish() for _ in range(5)]

    assert await taken_runs(queue, 5) == runs


async def test_at_most_one_entry_is_pending_per_consumer(queue, world):
    for stream in STREAMS:
        world.publish(stream=stream)

    first = await taken(queue, "host.s0")
    again = [await taken(queue, "host.s0") for _ in range(3)]

    assert [entry.id for entry in again] == [first.id] * 3
    assert len(world.pending()) == 1


async def test_an_adopted_entry_counts_as_delivered_once(queue, world):
    world.publish()
    entry = await taken(queue, "host.s0")

    await queue.take("host.s0")

    assert delivered(world, entry) == 1


async def test_adopting_renews_the_lease(queue, world):
    world.publish()
    entry = await taken(queue, "host.s0")
    world.client.xclaim(REQUESTS, GROUP, "host.s0", 0, [entry.id], idle=60_000, justid=True)

    await queue.take("host.s0")

    (row,) = world.client.xpending_range(REQUESTS, GROUP, "-", "+", 1)
    assert row["time_since_delivered"] < 30_000


async def test_nothing_is_told_with_the_place_where_to_listen_on(queue, world):
    world.publish(stream=f"{REQUESTS}:high")
    entry = await taken(queue, "host.s0")

    answer = await queue.take("host.s1")

    assert answer == Answer(Nothing(("0-0", entry.id, "0-0", "0-0", "0-0")))


async def test_what_was_trimmed_while_pending_stays_so_until_its_run_has_a_result(queue, world):
    world.publish("r-1")
    entry = await taken(queue, "host.s0")
    world.client.xdel(REQUESTS, entry.id)

    for _ in range(2):
        assert (await queue.take("host.s0")).got == Trimmed(REQUESTS, entry.id, "r-1")
    assert len(world.pending()) == 1

    await queue.finish(Lease(REQUESTS, entry.id, "host.s0"), gone("r-1"), {})
    assert isinstance((await queue.take("host.s0")).got, Nothing)
    assert world.pending() == []
    world.assert_exactly_one_result(["r-1"])


async def test_what_was_trimmed_and_is_no_run_is_told_once_and_let_go(queue, world):
    world.publish(raw="no json")
    entry = await taken(queue, "host.s0")
    world.client.xdel(REQUESTS, entry.id)

    assert (await queue.take("host.s0")).got == Trimmed(REQUESTS, entry.id)
    assert isinstance((await queue.take("host.s0")).got, Nothing)
    assert world.pending() == []
    assert world.client.hlen(queue.keys.holding) == 0


async def test_an_entry_that_was_cut_off_before_its_delivery_disturbs_nobody(queue, world):
    world.publish()
    world.publish("r-2")
    world.client.xtrim(REQUESTS, maxlen=1, approximate=False)

    assert "r-2" in (await taken(queue, "host.s0")).fields["payload"]


async def test_ten_megabytes_do_not_travel(queue, world, server):
    head, tail = '{"plugin_run_id":"r-1","rest":"', '"}'
    world.publish(raw=head + "x" * 10_000_000 + tail)
    server.client.config_resetstat()

    entry = await taken(queue, "host.s0")

    assert entry.payload_bytes == 10_000_000 + len(head) + len(tail)
    assert not entry.is_whole
    assert entry.fields["payload"].startswith(head)
    assert entry.fields["payload"].endswith(tail)
    assert server.client.info("stats")["total_net_output_bytes"] < 100_000


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_the_cap_counts_bytes_and_is_inclusive(queue, world, extra):
    world.publish(raw="ö" * 10 + "x" * (LIMITS.max_payload_bytes - 20 + extra))

    assert (await taken(queue, "host.s0")).is_whole is (extra <= 0)


async def test_bytes_that_are_no_text_come_through(queue, world):
    world.client.xadd(REQUESTS, {"payload": b"\xff\xfe{", "schema_version": b"\x80"})

    entry = await taken(queue, "host.s0")

    assert entry.fields["payload"].encode("utf-8", "surrogateescape") == b"\xff\xfe{"


async def test_foreign_fields_do_not_travel_and_long_ones_are_cut(queue, world):
    world.publish(trace="t" * 100, published_at="9" * 1000)

    entry = await taken(queue, "host.s0")

    assert set(entry.fields) == {"payload", "published_at", "schema_version"}
    assert len(entry.fields["published_at"]) == 64


async def test_an_entry_without_a_payload_is_an_entry(queue, world):
    world.client.xadd(REQUESTS, {"something": "else"})

    entry = await taken(queue, "host.s0")

    assert entry.fields == {}
    assert entry.payload_bytes == 0


async def test_a_group_that_is_made_sets_nobody_back(queue, world, monkeypatch):
    """Two supervisors start at once: the other one takes as soon as the group is there."""
    world.client.xgroup_destroy(REQUESTS, GROUP)
    for n in range(2):
        world.publish(f"r-{n}")
    make, by_other = queue.client.xgroup_create, []

    async def make_and_lose_the_race(stream, *words, **more):
        await make(stream, *words, **more)
        by_other.extend(world.read("other.s0", stream, 1))

    monkeypatch.setattr(queue.client, "xgroup_create", make_and_lose_the_race)
    await queue.ensure_groups()

    assert len(by_other) == 1
    assert await taken_runs(queue, 1) == ["r-1"]
    assert isinstance((await queue.take("host.s1")).got, Nothing)
