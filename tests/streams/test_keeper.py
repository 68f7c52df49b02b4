"""Leases are kept, lapsed ones are swept, and after an outage the living come first."""

import time

import pytest

from supervisor.streams import connection, sweeps
from supervisor.streams.facts import LeaseLost
from supervisor.streams.keeper import Rhythm
from supervisor.streams.sweeps import PAGE
from tests.streams.host import RHYTHM, Host
from tests.support.proxy import Proxy
from tests.support.redis_world import GROUP, REQUESTS
from tests.support.waiting import eventually, keeps_true

# Each server and each protocol once: these tests wait for leases.
BACKENDS = ("redis-resp2", "valkey-resp3")


@pytest.fixture
def host(url):
    return Host(url)


def lapse(world, taken, idle_ms=60_000):
    """Make an entry look as if its owner had been silent for so long."""
    world.age(REQUESTS, taken.lease.consumer, taken.lease.id, idle_ms=idle_ms)


async def test_a_lease_is_kept_for_as_long_as_its_run(host, world):
    async with host:
        world.publish("r-1")
        await host.take()

        def idle_ms():
            return world.client.xpending_range(REQUESTS, GROUP, "-", "+", 1)[0][
                "time_since_delivered"
            ]

        await keeps_true(lambda: idle_ms() < 1000, 2)


async def test_what_lapsed_is_handed_back_with_the_next_attempt(host, world):
    world.make_groups()
    world.publish("r-1")
    world.read("dead.s0")
    async with host:
        taken = await host.take()

    assert taken.entry.attempt == 2
    assert host.keeper.reclaimed == 1
    assert "dead.s0 went silent" in world.record("r-1")["handed_back_because"]


async def test_a_lease_that_went_to_somebody_else_is_told(host, world):
    async with host:
        world.publish("r-1")
        taken = await host.take()
        world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [taken.lease.id])

        lost = await eventually(lambda: host.seen(LeaseLost))

    assert lost[0].lease == taken.lease


async def test_before_its_first_sweep_a_host_waits_for_one_lease(host, world):
    """The others may be coming back just now, as we are (trap R10)."""
    world.make_groups()
    world.publish("r-1")
    world.age(REQUESTS, "other.s0", *world.read("other.s0"))

    began = time.monotonic()
    async with host:
        await eventually(lambda: host.keeper.reclaimed)

    assert time.monotonic() - began > RHYTHM.lease_s * 0.9


async def test_after_an_outage_leases_are_renewed_before_anything_is_reclaimed(url, server, world):
    with Proxy(server) as proxy:
        behind = f"{proxy.url}?{url.partition('?')[2]}"
        async with Host(behind, "one") as one, Host(url, "two", Rhythm(60, 20, 0.1)):
            world.publish("r-1")
            taken = await one.take()
            proxy.cut()
            await eventually(lambda: not one.link.is_up)
            lapse(world, taken)
            proxy.mend()
            await eventually(lambda: one.link.is_up)

            (row,) = world.client.xpending_range(REQUESTS, GROUP, "-", "+", 1)
            assert row["time_since_delivered"] < 30_000
            assert row["consumer"] == "one.s0"
            await keeps_true(lambda: one.keeper.reclaimed == 0, RHYTHM.lease_s)
            assert one.seen(LeaseLost) == []


@pytest.mark.slow
async def test_a_sweep_that_waited_in_a_frozen_server_takes_nothing(
    url, server, world, monkeypatch
):
    """The owners could not renew either: whoever is first after the thaw must not win."""
    # As in production, a lease is longer than the time after which a server is given up.
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.5)
    async with Host(url, "idle"), Host(url, "slow", Rhythm(60, 20, 60)) as owner:
        world.publish("r-1")
        await owner.take()
        # The idle host may sweep from now on, and does so ten times a second.
        await keeps_true(lambda: world.pending()[0][2] == "slow.s0", 0.5)
        with server.paused():
            await keeps_true(lambda: True, 3.5)

        await keeps_true(lambda: world.pending()[0][2] == "slow.s0", RHYTHM.lease_s / 2)


async def test_a_lapsed_run_behind_hundreds_of_living_ones_is_found(url, world):
    """Redis looks at ten times as many entries as it may claim: an empty page comes first."""
    world.make_groups()
    for n in range(11 * PAGE):
        world.publish(f"r-{n}")
    world.read("alive.s0", count=11 * PAGE)
    world.publish("r-last")
    (last,) = world.read("dead.s0")
    world.age(REQUESTS, "dead.s0", last)
    async with Host(url, rhythm=Rhythm(20, 5, 0.1)) as host:
        # Not after a whole lease: by then the living ones would have lapsed too.
        host.keeper._may_reclaim_at = host.keeper._sweep_at = 0.0
        host.link.stir()
        await eventually(lambda: host.keeper.reclaimed)

    assert host.keeper.reclaimed == 1
    assert '"r-last"' in world.entries()[-1][1]["payload"]
    assert len(world.pending()) == 11 * PAGE


async def test_two_hosts_hand_each_lapsed_run_back_once(url, world):
    world.make_groups()
    runs = [world.publish(f"r-{n}") for n in range(120)]
    world.read("dead.s0", count=120)
    async with Host(url, "one") as one, Host(url, "two") as two:
        await eventually(lambda: one.keeper.reclaimed + two.keeper.reclaimed >= len(runs))

    assert one.keeper.reclaimed + two.keeper.reclaimed == len(runs)
    assert len(world.entries()) == 2 * len(runs)
    assert world.pending() == []


async def test_what_another_host_ended_first_is_not_counted(url, world, caplog):
    world.make_groups()
    world.publish("r-1")
    world.read("dead.s0")
    async with Host(url) as host:
        end = host.keeper._broker.end

        async def end_late(lease, ending):
            world.client.xack(REQUESTS, GROUP, lease.id)
            return await end(lease, ending)

        host.keeper._broker.end = end_late
        await eventually(lambda: "how=lost" in caplog.text)

    assert host.keeper.reclaimed == 0


async def test_consumers_of_hosts_that_are_gone_are_forgotten(url, world, monkeypatch):
    monkeypatch.setattr(sweeps, "STALE_LEASES", 1)
    world.make_groups()
    world.client.xgroup_createconsumer(REQUESTS, GROUP, "dead.s0")
    async with Host(url, rhythm=Rhythm(0.3, 0.1, 0.1)):
        await eventually(lambda: "dead.s0" not in world.consumers())
