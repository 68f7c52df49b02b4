"""Taking and delivering against a real server, also while it is away or refuses."""

import logging
import time

import pytest

from supervisor.streams import connection
from supervisor.streams.facts import EntriesTrimmed, Settled, Taken
from tests.streams.conftest import again, done, failed
from tests.streams.host import Host
from tests.support.proxy import Proxy
from tests.support.redis_world import REQUESTS
from tests.support.waiting import eventually, keeps_true

# Each server and each protocol once: these tests wait for leases.
BACKENDS = ("redis-resp2", "valkey-resp3")


@pytest.fixture
def host(url):
    return Host(url)


async def test_what_is_wanted_is_taken_and_what_is_settled_is_published(host, world):
    async with host:
        world.publish("r-1")
        taken = await host.take()
        host.finish(0, "r-1")
        settled = (await eventually(lambda: host.seen(Settled)))[0]

    assert taken.entry.attempt == 1
    assert (settled.slot, settled.how) == (0, "finished")
    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_who_wants_before_anything_is_there_gets_it_when_it_comes(host, world, server):
    async with host:
        host.broker.want(0)
        host.broker.want(1)
        await eventually(lambda: server.client.info("clients")["blocked_clients"] == 1)
        world.publish("r-1")
        world.publish("r-2")
        await eventually(lambda: len(host.seen(Taken)) == 2)

    assert {fact.slot for fact in host.facts} == {0, 1}


async def test_an_entry_trimmed_under_its_run_is_told_and_can_still_be_answered(host, world):
    async with host:
        world.publish("r-1")
        taken = await host.take()
        world.client.xdel(REQUESTS, taken.lease.id)
        trimmed = await eventually(lambda: host.seen(EntriesTrimmed))
        host.finish(0, "r-1")
        await eventually(lambda: host.seen(Settled))

    assert trimmed == [EntriesTrimmed((taken.lease.id,))]
    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_what_was_cut_off_before_it_could_start_is_answered_with_its_acknowledgement(
    host, world
):
    async with host:
        world.publish("r-1")
        taken = await host.take()
        # As after a read whose answer was lost: pending and held, and unknown to us.
        del host.broker.leases[0]
        world.client.xdel(REQUESTS, taken.lease.id)
        host.broker.want(0)
        await eventually(lambda: host.seen(EntriesTrimmed))
        await eventually(lambda: world.results() != [])

    assert "removed from its stream" in world.result("r-1")["error"]
    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_a_hand_back_of_what_was_trimmed_is_answered_as_failed(host, world):
    async with host:
        world.publish("r-1")
        taken = await host.take()
        world.client.xdel(REQUESTS, taken.lease.id)
        host.broker.settle(0, again(attempt=1))
        await eventually(lambda: host.seen(Settled))

    assert "removed from its stream" in world.result("r-1")["error"]
    world.assert_nothing_pending()


async def test_what_is_settled_during_an_outage_is_delivered_after_it(url, server, world):
    with Proxy(server) as proxy:
        async with Host(f"{proxy.url}?{url.partition('?')[2]}") as host:
            for n in range(3):
                world.publish(f"r-{n}")
                await host.take(n)
            proxy.cut()
            await eventually(lambda: not host.link.is_up)
            for n in range(3):
                host.finish(n, f"r-{n}")
            await keeps_true(lambda: not host.broker.is_settled, 0.3)
            proxy.mend()
            await eventually(lambda: len(host.seen(Settled)) == 3)

    world.assert_exactly_one_result([f"r-{n}" for n in range(3)])
    world.assert_nothing_pending()


async def test_a_delivery_that_was_not_heard_is_repeated_by_itself(url, server, world):
    with Proxy(server) as proxy:
        async with Host(f"{proxy.url}?{url.partition('?')[2]}") as host:
            world.publish("r-0")
            await host.take()
            host.finish(0, "r-0")
            await eventually(lambda: host.seen(Settled))
            world.publish("r-1")
            await host.take()
            proxy.lose_reply_to('"plugin_run_id": "r-1"')
            host.finish(0, "r-1")
            settled = (await eventually(lambda: host.seen(Settled)[1:]))[0]

    assert proxy.lost == 1
    assert settled.how == "finished"
    world.assert_exactly_one_result(["r-0", "r-1"])


@pytest.mark.parametrize("ending", ["finish", "hand_back", "bury"])
async def test_a_record_of_the_wrong_type_makes_no_second_entry(host, world, ending):
    """Scripts do not roll back (trap R11): what fails half-way is repeated as a whole."""
    endings = {"finish": done("r-0"), "hand_back": again("r-0"), "bury": failed("r-0")}
    async with host:
        for n in range(2):
            world.publish(f"r-{n}")
            await host.take(n)
        world.client.delete("crewpool:run:r-0")
        world.client.set("crewpool:run:r-0", "in the way")
        host.broker.settle(0, endings[ending])
        host.finish(1, "r-1")
        await eventually(lambda: 1 in {fact.slot for fact in host.seen(Settled)})
        await keeps_true(lambda: len(world.entries()) <= 3, 1.2)
        await eventually(lambda: len(host.seen(Settled)) == 2)

    assert world.pending() == []
    assert len(world.results("r-0")) == (ending != "hand_back")
    assert len(world.dead_letters()) == (ending == "bury")
    assert len(world.entries()) == 2 + (ending == "hand_back")


async def test_what_redis_refuses_is_tried_again_and_told_once(host, world, caplog):
    caplog.set_level(logging.INFO, "crewpool")
    async with host:
        world.publish("r-1")
        await host.take()
        world.client.config_set("maxmemory", 1)
        host.finish(0, "r-1")
        await keeps_true(lambda: not host.seen(Settled), 1.5)
        world.client.config_set("maxmemory", 0)
        await eventually(lambda: host.seen(Settled))

    refusals = [r for r in caplog.messages if r.startswith("redis_refused")]
    # Once for each of the four who ask: take, settle, keep, records.
    assert 1 <= len(refusals) <= 4
    world.assert_exactly_one_result(["r-1"])


async def test_at_its_end_a_host_takes_its_consumers_along(host, world):
    async with host:
        world.publish("r-1")
        await host.take()
        host.finish(0, "r-1")
        await eventually(lambda: host.seen(Settled))
        assert "host.s0" in world.consumers()

    assert world.consumers() == {}


async def test_what_cannot_be_delivered_at_the_end_is_named(url, server, world, monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.3)
    host = Host(url)
    await host.__aenter__()
    world.publish("r-1")
    taken = await host.take()
    with server.paused():
        host.finish(0, "r-1")
        undelivered = await host.broker.close(0.2)

    assert undelivered == [taken.lease.id]


async def test_a_run_record_does_not_come_back_to_life(host, world):
    """Progress that was noted, and not written yet, when the run ended."""
    async with host:
        world.publish("r-1")
        await host.take()
        host.records.note("r-1", state="running", task=1)
        await eventually(lambda: world.record("r-1"))
        host.records.note("r-1", task=2)
        host.finish(0, "r-1")
        await eventually(lambda: host.seen(Settled))
        await keeps_true(lambda: world.record("r-1")["state"] == "completed", 0.6)

    assert world.record("r-1")["task"] == "2"


async def test_a_delayed_run_begins_by_itself_when_its_time_comes(host, world):
    async with host:
        world.publish("r-1")
        await host.take()
        host.broker.settle(0, again("r-1", delay_s=0.5))
        await eventually(lambda: host.seen(Settled))
        began = time.monotonic()
        taken = await host.take()

    assert taken.entry.attempt == 2
    assert 0.3 < time.monotonic() - began < 3


async def test_a_run_over_its_rate_begins_by_itself_when_there_is_room(host, world):
    host.broker.plugin_limits = '{"echoes":{"n":1,"p":700}}'
    async with host:
        world.publish("r-1")
        world.publish("r-2")
        await host.take(0)
        began = time.monotonic()
        taken = await host.take(1)

    assert '"r-2"' in taken.entry.fields["payload"]
    assert 0.3 < time.monotonic() - began < 3


async def test_a_parked_run_begins_when_another_host_makes_room(host, url, world):
    limits = '{"echoes":{"c":1}}'
    async with host, Host(url, "other") as other:
        host.broker.plugin_limits = other.broker.plugin_limits = limits
        world.publish("r-1")
        await other.take()
        world.publish("r-2")
        host.broker.want(0)
        await eventually(lambda: world.parked() == {"echoes": 1})
        assert host.seen(Taken) == []

        other.finish(0, "r-1")
        taken = (await eventually(lambda: host.seen(Taken), 2))[0]

    assert '"r-2"' in taken.entry.fields["payload"]
