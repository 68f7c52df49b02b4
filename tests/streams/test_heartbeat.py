"""A supervisor says that it is alive; silence shows, and a name has one owner."""

import asyncio
import json
import time

import pytest

from supervisor.errors import HostNameTaken, RedisAway
from supervisor.log import Log
from supervisor.streams import heartbeat as heartbeat_module
from supervisor.streams import inspect
from supervisor.streams.heartbeat import Heartbeat, free_boot
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from tests.streams.conftest import KEYS, LIMITS
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, keeps_true

# Each server and each protocol once.
BACKENDS = ("redis-resp2", "valkey-resp3")
HOST = "vm-1-4f2a"
KEY = f"crewpool:host:{HOST}"
HOSTS = "crewpool:hosts"


class Heart:
    """The heartbeat of one supervisor, with the test in the place of all else."""

    def __init__(self, url, every_s=0.2, **snapshot):
        self.link = Link(time.monotonic, lambda: None, Log())
        self.queue = Queue(url, KEYS, LIMITS)
        self.heartbeat = Heartbeat(self.queue, self.link, HOST, every_s)
        self.snapshot = {"host": HOST, "pid": 1, "started_at": 1.5, "phase": "running", **snapshot}
        self.task = None

    async def __aenter__(self):
        self.link.note_up()
        self.task = asyncio.ensure_future(self.heartbeat.beat_for_ever(lambda: self.snapshot))
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.queue.close()


@pytest.fixture
def beat(server):
    """The last heartbeat, None when there is none."""

    def beat():
        text = server.client.get(KEY)
        return json.loads(text) if text else None

    return beat


async def test_a_heartbeat_tells_who_lives_and_ends_with_it(url, server, beat):
    async with Heart(url, every_s=5) as heart:
        told = await eventually(beat)
        assert told.items() >= heart.snapshot.items()
        assert told["server"].startswith(("redis 7", "valkey "))
        assert 10 < server.client.ttl(KEY) <= 15
        assert server.client.zscore(HOSTS, HOST) == pytest.approx(time.time(), abs=5)

        # The beat is in Redis before its answer is here.
        await eventually(lambda: heart.heartbeat._is_ours)
        await heart.heartbeat.leave()

    assert beat() is None
    assert server.client.zscore(HOSTS, HOST) is None


async def test_who_is_silent_is_dead_after_three_beats_and_still_known(url, server, queue):
    async with Heart(url, every_s=0.1):
        await eventually(lambda: server.client.exists(KEY))
        (seen,) = await inspect.hosts(queue)
        assert seen.snapshot["phase"] == "running"

    await eventually(lambda: not server.client.exists(KEY), 2)
    (seen,) = await inspect.hosts(queue)
    assert (seen.host, seen.snapshot) == (HOST, None)


async def test_a_beat_costs_two_commands(url, server, beat):
    async with Heart(url, every_s=0.05):
        await eventually(beat)
        first = beat()["at"]
        await eventually(lambda: beat()["at"] > first)
        server.client.config_resetstat()
        await eventually(lambda: server.client.info("commandstats").get("cmdstat_zadd"))
        await keeps_true(beat, 0.5)
        stats = server.client.info("commandstats")

    ours = {name for name in stats if stats[name]["calls"] > 2} - {"cmdstat_get", "cmdstat_info"}
    assert ours == {"cmdstat_set", "cmdstat_zadd"}


async def test_what_others_look_for_is_told_at_once(url, beat):
    async with Heart(url, every_s=3600) as heart:
        await eventually(beat)
        heart.snapshot["phase"] = "paused"
        heart.heartbeat.soon()

        await eventually(lambda: beat()["phase"] == "paused", 1)


async def test_the_first_beat_after_an_outage_is_not_late(url, server, beat):
    async with Heart(url, every_s=3600) as heart:
        await eventually(beat)
        heart.link.note_down(RedisAway("there", "drill"))
        server.client.flushall()
        await keeps_true(lambda: not beat(), 0.2)
        heart.link.note_up()

        await eventually(beat, 1)


async def test_redis_that_refuses_does_not_end_it(url, server, beat, caplog):
    server.client.rpush(HOSTS, "in the way")
    async with Heart(url, every_s=0.1):
        await eventually(lambda: "redis_refused" in caplog.text)
        server.client.delete(HOSTS)
        await eventually(lambda: server.client.zscore(HOSTS, HOST))


async def test_those_of_another_day_are_forgotten(url, server):
    server.client.zadd(HOSTS, {"vm-old": time.time() - 90_000, "vm-dead": time.time() - 3600})
    async with Heart(url):
        await eventually(lambda: server.client.zscore(HOSTS, HOST))

    assert server.client.zrange(HOSTS, 0, -1) == ["vm-dead", HOST]


# ------------------------------------------------------------------ one name


async def test_a_name_that_somebody_living_has_is_left_to_him(url, beat):
    async with Heart(url, pid=1):
        await eventually(beat)  # the first to come is the one that has it
        async with Heart(url, pid=2) as other:
            (ended,) = await asyncio.gather(other.task, return_exceptions=True)
            await other.heartbeat.leave()

        assert isinstance(ended, HostNameTaken)
        assert "pid 1" in str(ended)
        assert beat()["pid"] == 1


async def test_a_first_beat_that_was_not_heard_is_no_stranger(url, server, beat):
    with Proxy(server) as proxy:
        heart = Heart(f"{proxy.url}?{url.partition('?')[2]}", every_s=0.05)
        proxy.lose_reply_to("zremrangebyscore")
        async with heart:
            await eventually(lambda: not heart.link.is_up)
            heart.link.note_up()
            first = (await eventually(beat))["at"]
            await eventually(lambda: beat()["at"] > first)
            assert not heart.task.done()

    assert proxy.lost == 1


async def test_digits_that_somebody_living_has_are_not_drawn(queue, server, monkeypatch):
    server.client.set("crewpool:host:vm-1-aaaa", "{}")
    drawn = iter(("aaaa", "aaaa", "bbbb", "cccc"))
    monkeypatch.setattr(heartbeat_module.secrets, "token_hex", lambda _: next(drawn))

    assert await free_boot(queue, "vm-1") == "bbbb"
    assert await free_boot(queue, "vm-2") == "cccc"


async def test_without_redis_digits_are_drawn_all_the_same(url, server, queue, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "ASK_S", 0.3)
    began = time.monotonic()
    with server.paused():
        assert len(await free_boot(queue, "vm-1")) == 4
    assert time.monotonic() - began < 2

    with Proxy(server) as proxy:
        proxy.cut()
        cut_off = Queue(proxy.url, KEYS, LIMITS)
        assert len(await free_boot(cut_off, "vm-1")) == 4
        await cut_off.close()
