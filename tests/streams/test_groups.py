"""Groups and scripts come back by themselves after whatever the server forgot."""

import pytest
from redis.exceptions import ResponseError

from supervisor.streams.gauges import Gauges
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Lease, Limits, Nothing, Queue
from supervisor.streams.server import NamesNeedOneSlot, check_server, facts_of
from supervisor.streams.wire import Result
from tests.streams.conftest import KEYS, LETTER, LIMITS
from tests.support.redis_world import GROUP, REQUESTS, RESULTS, STREAMS
from tests.support.servers import RedisServer, client_of, free_port
from tests.support.waiting import wait_until

DONE = Result("r-1", "completed", "{}")


async def test_groups_begin_with_the_first_entry(url, world):
    world.publish("r-1")
    queue = Queue(url, KEYS, LIMITS)

    await queue.ensure_groups()
    entry = await queue.take("host.s0")
    await queue.close()

    assert '"r-1"' in entry.fields["payload"]


async def test_results_that_were_there_before_are_for_the_reader_too(queue, world, take):
    await queue.finish(await take("r-1"), DONE, {})

    seen = world.client.xreadgroup("go-workers", "go-1", {RESULTS: ">"})

    assert len(seen) == 1


async def test_making_groups_again_moves_nothing(queue, world, take):
    lease = await take("r-1")

    await queue.ensure_groups()

    assert world.pending() == [(REQUESTS, lease.id, "host.s0")]
    assert isinstance(await queue.take("host.s1"), Nothing)


async def test_a_stream_of_another_kind_is_not_taken_for_a_group(queue, world):
    world.client.delete(REQUESTS)
    world.client.set(REQUESTS, "a string")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await queue.ensure_groups()


async def test_after_flushall_everything_works_again(queue, world):
    await queue.take("host.s0")
    world.client.flushall()
    world.publish("r-1")

    entry = await queue.take("host.s0")

    lease = Lease(entry.stream, entry.id, "host.s0")
    assert await queue.finish(lease, DONE, {}) == "finished"
    world.assert_exactly_one_result(["r-1"])
    assert world.client.xinfo_groups(RESULTS)[0]["name"] == "go-workers"


@pytest.mark.parametrize("forget", ["flushall", "destroy"])
async def test_every_command_survives_the_loss_of_its_group(queue, world, take, forget):
    lease = await take("r-1")

    def lose():
        if forget == "flushall":
            world.client.flushall()
        for stream in STREAMS:
            if world.client.exists(stream):
                world.client.xgroup_destroy(stream, GROUP)

    answers = []
    for command in (
        lambda: queue.finish(lease, DONE, {}),
        lambda: queue.hand_back(lease, "r-1", 2, {}),
        lambda: queue.bury(lease, LETTER, DONE, {}),
    ):
        lose()
        answers.append(await command())
    lose()
    answers += await queue.renew([lease])
    lose()
    assert (await queue.reclaim("host.sweep", 15, ["0-0"] * 4)).entries == []
    lose()
    assert await queue.forget(["host.s0"]) == 0

    assert answers == ["lost"] * 4
    assert world.results() == []


async def test_scripts_are_sent_again_after_script_flush(queue, world, take):
    lease = await take("r-1")
    world.client.script_flush()

    assert await queue.renew([lease]) == ["renewed"]
    world.client.script_flush()
    assert await queue.finish(lease, DONE, {}) == "finished"


async def test_scripts_travel_once(queue, take, server):
    await queue.finish(await take("r-0"), Result("r-0", "completed", "{}"), {})
    server.client.config_resetstat()

    await queue.finish(await take("r-1"), DONE, {})

    stats = server.client.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 2
    assert "cmdstat_script|load" not in stats
    assert "cmdstat_eval" not in stats


async def test_gauges_tell_what_waits_and_what_is_pending(queue, world, take):
    await take("r-1")
    await take("r-2", "host.s1", stream=f"{REQUESTS}:high")
    world.publish("r-3")
    gauges = Gauges()

    await gauges.refresh(queue)

    assert gauges.lag == {s: int(s == REQUESTS) for s in STREAMS}
    assert gauges.pending == {s: int(s in (REQUESTS, f"{REQUESTS}:high")) for s in STREAMS}


async def test_a_lag_that_redis_does_not_know_keeps_its_last_value(queue, world, take):
    await take("r-1")
    world.publish("r-2")
    world.publish("r-3")
    gauges = Gauges()
    await gauges.refresh(queue)
    world.client.xdel(REQUESTS, world.entries()[1][0])

    assert world.client.xinfo_groups(REQUESTS)[0]["lag"] is None
    await gauges.refresh(queue)

    assert isinstance(gauges.lag[REQUESTS], int)


async def test_the_server_says_who_it_is(queue, backend):
    facts = await facts_of(queue)

    assert facts.name == backend.split("-")[0]
    assert facts.is_new_enough
    assert facts.eviction_policy == "noeviction"
    assert not facts.is_cluster
    assert not facts.has_aof
    assert await check_server(queue) == facts


class ClusterNode(RedisServer):
    """A cluster of one."""

    def _options(self):
        # By itself it would take the port + 10,000, which may be none.
        bus = str(free_port())
        return [*super()._options(), "--cluster-enabled", "yes", "--cluster-port", bus]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    node = ClusterNode.or_skip(tmp_path_factory.mktemp("node")).start()
    node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    wait_until(lambda: "cluster_state:ok" in node.client.execute_command("CLUSTER", "INFO"))
    yield node
    node.stop()


async def test_names_in_several_slots_are_refused_on_a_cluster(cluster):
    queue = Queue(cluster.url, KEYS, LIMITS)

    try:
        with pytest.raises(NamesNeedOneSlot, match=r"CREWPOOL_REQUESTS_STREAM=\{plugin\}"):
            await check_server(queue)
    finally:
        await queue.close()


async def test_with_one_hash_tag_everything_works_on_a_cluster(cluster):
    """A node of a cluster refuses scripts that touch keys of two slots, or undeclared ones."""
    keys = Keys("{p}:requests", "{p}:results", "{p}:requests:dlq", "crewai-workers", "go-workers")
    queue = Queue(cluster.url, keys, Limits(65536, 600, 900))
    client = client_of(cluster.url)
    for n in range(3):
        client.xadd("{p}:requests", {"payload": str(n)})

    try:
        await check_server(queue)
        await queue.ensure_groups()
        leases = []
        for n in range(3):
            entry = await queue.take(f"host.s{n}")
            leases.append(Lease(entry.stream, entry.id, f"host.s{n}"))
        facts = {"state": "x"}
        answers = [
            *await queue.renew(leases),
            await queue.finish(leases[0], DONE, facts),
            await queue.hand_back(leases[1], "r-2", 2, facts),
            await queue.bury(leases[2], LETTER, Result("r-3", "failed", error="x"), facts),
        ]
        await queue.reclaim("host.sweep", 15, ["0-0"] * 4)
        await queue.forget(["host.s0"])
        await Gauges().refresh(queue)
        # Someone added while we were not listening: it must be heard at once.
        heard = await queue.wait_for_entry(["0-0"] * 4)
    finally:
        await queue.close()
        client.close()

    assert answers == ["renewed"] * 3 + ["finished", "handed_back", "buried"]
    assert heard
