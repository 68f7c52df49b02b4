"""A reply that never came: the command took effect, and is repeated without harm."""

import pytest

from supervisor.errors import RedisAway
from supervisor.streams import connection, sweeps
from supervisor.streams import queue as queue_module
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import source_of
from tests.streams.conftest import KEYS, LIMITS, START, again, done, failed, taken
from tests.support.proxy import Proxy
from tests.support.redis_world import REQUESTS

pytestmark = pytest.mark.alone

DONE = done()


@pytest.fixture
def proxy(server):
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
async def queue(proxy, backend):
    """A queue behind the proxy, connected, with all scripts known to the server.

    So that the reply which gets lost is that of the command, and no greeting or NOSCRIPT.
    """
    queue = Queue(f"{proxy.url}?protocol={backend[-1]}", KEYS, LIMITS)
    await queue.ensure_groups()
    for name in ("take", "finish", "hand_back", "bury", "renew", "reclaim"):
        await queue.client.script_load(source_of(name))
    yield queue
    await queue.close()


async def lost(proxy, command, word="evalsha"):
    """Call a command whose reply gets lost; it must say so, and must not repeat itself."""
    proxy.lose_reply_to(word)
    with pytest.raises(RedisAway):
        await command()
    assert proxy.lost == 1


async def test_one_xadd_is_one_entry(queue, world, proxy):
    proxy.lose_reply_to("xadd", times=10)

    with pytest.raises(RedisAway):
        async with connection.answering(queue.client):
            await queue.client.xadd(REQUESTS, {"payload": "once"})

    assert len(world.entries()) == 1
    assert proxy.lost == 1


async def test_a_take_that_was_not_heard_is_adopted(queue, world, proxy):
    world.publish("r-1")
    world.publish("r-2")
    await lost(proxy, lambda: queue.take("host.s0"))
    assert len(world.pending()) == 1

    entry = await taken(queue)

    assert '"r-1"' in entry.fields["payload"]
    assert world.pending() == [(REQUESTS, entry.id, "host.s0")]


async def test_a_finish_that_was_not_heard_publishes_once(queue, world, take, proxy):
    lease = await take("r-1")
    await lost(proxy, lambda: queue.finish(lease, DONE, {}))

    await queue.finish(lease, DONE, {})

    world.assert_exactly_one_result(["r-1"])
    world.assert_nothing_pending()


async def test_a_finish_that_was_not_heard_is_no_late_outcome(queue, take, proxy):
    lease = await take("r-1")
    await lost(proxy, lambda: queue.finish(lease, DONE, {}))

    assert await queue.finish(lease, DONE, {}) == "finished"


async def test_a_hand_back_that_was_not_heard_makes_one_entry(queue, world, take, proxy):
    lease = await take("r-1")
    await lost(proxy, lambda: queue.hand_back(lease, again(), {}))

    await queue.hand_back(lease, again(), {})

    assert len(world.entries()) == 2
    assert world.pending() == []


async def test_a_burial_that_was_not_heard_makes_one_letter(queue, world, take, proxy):
    lease = await take("r-1")
    await lost(proxy, lambda: queue.bury(lease, failed(), {}))

    await queue.bury(lease, failed(), {})

    assert len(world.dead_letters()) == 1
    world.assert_exactly_one_result(["r-1"])


async def test_a_renewal_that_was_not_heard_is_repeated(queue, take, proxy):
    lease = await take("r-1")
    await lost(proxy, lambda: queue.renew([lease]))

    assert await queue.renew([lease]) == ["renewed"]


async def test_what_a_sweep_claimed_unheard_lapses_again(queue, world, take, proxy):
    lease = await take("r-1")
    await lost(proxy, lambda: sweeps.reclaim(queue, "host.sweep", 0, START))
    assert world.pending() == [(REQUESTS, lease.id, "host.sweep")]

    page = await sweeps.reclaim(queue, "host.sweep", 0, START)

    assert [entry.id for entry in page.entries] == [lease.id]


async def test_a_hand_back_of_a_trimmed_entry_that_was_not_heard_can_still_be_answered(
    queue, world, take, proxy
):
    lease = await take("r-1")
    world.client.xdel(REQUESTS, lease.id)
    await lost(proxy, lambda: queue.hand_back(lease, again(), {}))

    assert await queue.hand_back(lease, again(), {}) == "trimmed"


async def test_an_address_is_shown_without_its_password(proxy):
    queue = Queue(f"redis://user:s3cr3t-word@127.0.0.1:{proxy.url[-6:-2]}/0", KEYS, LIMITS)
    proxy.cut()

    with pytest.raises(RedisAway) as told:
        await queue.take("host.s0")
    await queue.close()

    assert "s3cr3t-word" not in str(told.value)


async def test_a_block_that_is_longer_than_the_timeout_of_answers_is_sent_once(
    world, url, server, monkeypatch
):
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.4)
    monkeypatch.setattr(queue_module, "BLOCK_S", 0.8)
    queue = Queue(url, KEYS, LIMITS)
    server.client.config_resetstat()

    heard = await queue.wait_for_entry(START)
    await queue.close()

    assert heard is False
    assert server.client.info("commandstats")["cmdstat_xread"]["calls"] == 1
    assert world.pending() == []


async def test_a_frozen_server_is_away_and_not_waited_for_for_ever(url, server, monkeypatch, world):
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.3)
    queue = Queue(url, KEYS, LIMITS)
    world.publish("r-1")
    with server.paused(), pytest.raises(RedisAway):
        await queue.take("host.s0")

    entry = await taken(queue)
    await queue.close()

    assert world.pending() == [(REQUESTS, entry.id, "host.s0")]
