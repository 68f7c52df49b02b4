"""renew.lua: keeping leases is for their owners, and never brings anything back."""

from supervisor.streams.queue import Lease
from tests.streams.conftest import ALL_BACKENDS, taken
from tests.support.redis_world import GROUP, REQUESTS, STREAMS

BACKENDS = ALL_BACKENDS


def age(world, lease, idle_ms=60_000):
    """Make a lease look as if nobody had renewed it for so long."""
    world.age(lease.stream, lease.consumer, lease.id, idle_ms=idle_ms)


def row(world, lease):
    (found,) = world.client.xpending_range(lease.stream, GROUP, lease.id, lease.id, 1)
    return found


async def test_renewing_starts_the_lease_anew(queue, world, take):
    lease = await take("r-1")
    age(world, lease)

    assert await queue.renew([lease]) == ["renewed"]

    assert row(world, lease)["time_since_delivered"] < 30_000


async def test_renewing_counts_as_no_delivery(queue, world, take):
    lease = await take("r-1")

    for _ in range(5):
        await queue.renew([lease])

    assert row(world, lease)["times_delivered"] == 1


async def test_all_slots_are_renewed_in_one_call(queue, world, take, server):
    leases = [await take(s, f"host.s{n}", stream=s) for n, s in enumerate(STREAMS)]
    for lease in leases:
        age(world, lease)
    server.client.config_resetstat()

    assert await queue.renew(leases) == ["renewed"] * 4

    assert all(row(world, lease)["time_since_delivered"] < 30_000 for lease in leases)
    assert server.client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1


async def test_what_somebody_else_claimed_is_lost_and_stays_theirs(queue, world, take):
    lease = await take("r-1")
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [lease.id])

    assert await queue.renew([lease]) == ["lost"]

    assert row(world, lease)["consumer"] == "other.s0"


async def test_what_was_acknowledged_is_lost_and_does_not_come_back(queue, world, take):
    lease = await take("r-1")
    world.client.xack(REQUESTS, GROUP, lease.id)

    assert await queue.renew([lease]) == ["lost"]

    assert world.pending() == []


async def test_what_was_trimmed_is_said_to_be_and_stays_pending(queue, world, take):
    lease = await take("r-1")
    world.client.xdel(REQUESTS, lease.id)

    assert await queue.renew([lease]) == ["trimmed"]
    assert await queue.renew([lease]) == ["trimmed"]

    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]


async def test_each_lease_gets_an_answer_of_its_own(queue, world, take):
    kept, stolen, cut = [await take(f"r-{n}", f"host.s{n}") for n in range(3)]
    world.client.xclaim(REQUESTS, GROUP, "other.s0", 0, [stolen.id])
    world.client.xdel(REQUESTS, cut.id)
    never = Lease(REQUESTS, "1-1", "host.s3")

    answers = await queue.renew([kept, stolen, never, cut])

    assert answers == ["renewed", "lost", "lost", "trimmed"]


async def test_without_leases_redis_is_not_asked(queue, server):
    server.client.config_resetstat()

    assert await queue.renew([]) == []

    assert "cmdstat_evalsha" not in server.client.info("commandstats")


async def test_hundreds_of_leases_fit_into_one_call(queue, world):
    leases = []
    for n in range(512):
        world.publish(f"r-{n}")
        leases.append(Lease.of(await taken(queue, f"host.s{n}"), f"host.s{n}"))

    assert await queue.renew(leases) == ["renewed"] * 512
