"""reclaim.lua: entries whose lease lapsed, a page a call, for one sweeper only."""

import asyncio

import pytest

from supervisor.streams import sweeps
from supervisor.streams.sweeps import PAGE, RECLAIM_WITHIN_S, Lost
from tests.streams.conftest import ALL_BACKENDS, START
from tests.support.redis_world import ALL_STREAMS, GROUP, REQUESTS

BACKENDS = ALL_BACKENDS

LEASE_S = 15.0


def seed_lapsed(world, count, stream=REQUESTS, consumer="dead.s0", idle_ms=60_000):
    """Publish runs that a consumer took and then went silent; return their entry ids."""
    for n in range(count):
        world.publish(f"r-{n}", stream=stream)
    ids = world.read(consumer, stream, count)
    world.age(stream, consumer, *ids, idle_ms=idle_ms)
    return ids


async def sweep(queue, sweeper="host.sweep", lease_s=LEASE_S):
    """Go through all pages; return entries and what was trimmed."""
    cursors, entries, trimmed, pages = list(START), [], [], 0
    while any(cursors):
        page = await sweeps.reclaim(queue, sweeper, lease_s, cursors)
        entries += page.entries
        trimmed += page.trimmed
        cursors, pages = page.cursors, pages + 1
    return entries, trimmed, pages


async def test_a_lapsed_entry_is_claimed_with_its_former_owner(queue, world):
    (entry_id,) = seed_lapsed(world, 1)

    ((entry,), trimmed, _) = await sweep(queue)

    assert (entry.id, entry.stream, entry.owner) == (entry_id, REQUESTS, "dead.s0")
    assert entry.fields == world.entries()[0][1]
    assert trimmed == []
    assert world.pending() == [(REQUESTS, entry_id, "host.sweep")]


async def test_a_lease_that_has_not_lapsed_is_left_alone(queue, world):
    seed_lapsed(world, 3, idle_ms=10_000)

    assert (await sweep(queue))[0] == []
    assert {consumer for _, _, consumer in world.pending()} == {"dead.s0"}


async def test_all_streams_are_swept(queue, world):
    for stream in ALL_STREAMS:
        seed_lapsed(world, 1, stream, f"dead-{stream}")

    entries, _, _ = await sweep(queue)

    assert [(e.stream, e.owner) for e in entries] == [(s, f"dead-{s}") for s in ALL_STREAMS]


async def test_more_than_a_page_is_swept_by_cursors(queue, world):
    ids = seed_lapsed(world, 3 * PAGE + 1)

    entries, _, pages = await sweep(queue)

    assert [entry.id for entry in entries] == ids
    assert pages >= 4


async def test_an_empty_page_is_not_the_end(queue, world):
    fresh = seed_lapsed(world, 12 * PAGE, consumer="alive.s0", idle_ms=0)
    world.publish("r-last")
    (last,) = world.read("dead.s0")
    world.age(REQUESTS, "dead.s0", last)

    first_page = await sweeps.reclaim(queue, "host.sweep", LEASE_S, START)
    entries, _, _ = await sweep(queue)

    assert first_page.entries == []
    assert first_page.cursors[ALL_STREAMS.index(REQUESTS)] != ""
    assert [entry.id for entry in entries] == [last]
    assert len(world.pending()) == len(fresh) + 1


async def test_two_sweepers_never_get_the_same_entry(queue, world):
    ids = seed_lapsed(world, 4 * PAGE)

    answers = await asyncio.gather(*(sweep(queue, f"host-{n}.sweep") for n in range(4)))

    claimed = [entry.id for entries, _, _ in answers for entry in entries]
    assert sorted(claimed) == sorted(ids)


async def test_what_was_trimmed_while_pending_is_reported_once(queue, world):
    ids = seed_lapsed(world, 3)
    world.client.xdel(REQUESTS, *ids[:2])

    entries, trimmed, _ = await sweep(queue)
    again = await sweep(queue)

    assert [entry.id for entry in entries] == ids[2:]
    assert trimmed == [Lost(REQUESTS, ids[0]), Lost(REQUESTS, ids[1])]
    assert again[:2] == ([], [])
    assert len(world.pending()) == 1


async def test_sweeping_counts_as_no_delivery(queue, world):
    seed_lapsed(world, 1)

    await sweep(queue)

    (row,) = world.client.xpending_range(REQUESTS, GROUP, "-", "+", 1)
    assert row["times_delivered"] == 1


async def test_ten_megabytes_do_not_travel_to_the_sweeper(queue, world, server):
    world.publish(raw="x" * 10_000_000)
    world.age(REQUESTS, "dead.s0", *world.read("dead.s0"))
    server.client.config_resetstat()

    ((entry,), _, _) = await sweep(queue)

    assert not entry.is_whole
    assert entry.payload_bytes == 10_000_000
    assert server.client.info("stats")["total_net_output_bytes"] < 100_000


async def test_only_redis_tells_how_long_an_entry_was_idle(queue, world):
    (entry_id,) = seed_lapsed(world, 1, idle_ms=15_001)

    ((entry,), _, _) = await sweep(queue)

    assert entry.id == entry_id


@pytest.mark.slow
async def test_a_sweep_that_lay_in_a_frozen_server_claims_nothing(
    queue, world, server, monkeypatch
):
    """It is as old as the freeze, and the owners could not renew meanwhile."""
    seed_lapsed(world, 1)
    ask_time = queue.client.time

    async def freeze_then_tell():
        told = await ask_time()
        server.pause()
        asyncio.get_running_loop().call_later(RECLAIM_WITHIN_S + 1.5, server.resume)
        return told

    monkeypatch.setattr(queue.client, "time", freeze_then_tell)

    page = await sweeps.reclaim(queue, "host.sweep", LEASE_S, START)

    assert page.entries == []
    assert world.pending()[0][2] == "dead.s0"
