"""Nothing that anybody writes to Redis ends the application's consumer of results."""

import asyncio
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from supervisor.runs import consumer as consuming
from supervisor.runs.aside import run_aside
from supervisor.runs.consumer import ResultConsumer, consume
from supervisor.runs.errors import RecordsAway
from supervisor.runs.models import PluginRun
from supervisor.runs.progress import Progress
from tests.streams.test_result_consumer import DEAD, Handler, add, consuming_with
from tests.support.proxy import Proxy
from tests.support.redis_world import RESULTS
from tests.support.waiting import eventually, wait_until

BACKENDS = ("redis-resp2", "valkey-resp3")
FAR = "999999999999999-1"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Retries and claims in moments, not in minutes."""
    monkeypatch.setattr(consuming, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(consuming, "LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(consuming, "CLAIM_IDLE_S", 0.3)
    monkeypatch.setattr(consuming, "CLAIM_EVERY_S", 0.1)


async def test_bytes_that_are_no_text_go_to_the_dead_letters_as_they_are(url, world):
    handler, odd = Handler(), b'\xff\xfe{"plugin_run_id": "\x00'
    world.client.xadd(RESULTS, {"payload": odd})
    add(world, "r-1")

    async with consuming_with(url, handler):
        await eventually(lambda: handler.done == ["r-1"])
        await eventually(lambda: world.client.exists(DEAD))

    ((_, letter),) = world.client.xrange(DEAD)
    assert letter["payload"].encode("utf-8", "surrogateescape") == odd


async def test_a_result_of_a_far_future_is_taken_in_as_one_of_now(url, world):
    """Somebody may write any id, and a server's clock may have been ahead."""
    times = []

    def handle(arrivals):
        times.extend(arrival.at for arrival in arrivals)
        return []

    payload = '{"plugin_run_id": "r-far", "status": "completed", "output": "{}", "error": ""}'
    world.client.xadd(RESULTS, {"payload": payload}, id="1-1")
    world.client.xadd(RESULTS, {"payload": payload}, id="4000000000000-1")
    world.client.xadd(RESULTS, {"payload": payload}, id=FAR)

    async with consuming_with(url, handle):
        await eventually(lambda: len(times) == 3)

    assert times[0].year == 1970
    assert all(at <= datetime.now(UTC) for at in times)


class Waiting:
    """Records of which each run waits, and which refuse what they are told of some."""

    def __init__(self, refused=None):
        self.refused = refused or {}
        self.told = []

    def get(self, run_id):
        return PluginRun(plugin_run_id=run_id, status="pending", attempts=0)

    def mark_processing(self, run_id, started_at, attempt=1):
        self.told.append((run_id, attempt))
        if run_id in self.refused:
            raise self.refused[run_id]
        return True

    def apply_results(self, arrivals):
        return ["applied"] * len(arrivals)


def begins(world, run_id, **facts):
    """Let a supervisor have a run in hand, as its scripts write it."""
    world.client.hset("crewpool:holding", run_id, "{}")
    facts = {"state": "running", "started_at": "1700000000", "attempt": "1", **facts}
    world.client.hset(f"crewpool:run:{run_id}", mapping=facts)


async def test_a_record_with_an_impossible_attempt_is_no_news(url, world):
    consumer, store = ResultConsumer(url, Handler()), Waiting()
    progress = Progress(consumer.stream, store)
    for attempt in ("9" * 30, "9" * 5000, "1000001", "one"):
        begins(world, "r-odd", attempt=attempt)
        assert await progress.look() == 0
    await consumer.stream.close()

    assert store.told == []


async def test_names_of_runs_that_are_none_are_passed_over(url, world):
    for name in (b"\xff\xfe", "\0plugin:requests 1-1", "", "x" * 100_000, "a\nb"):
        begins(world, "r-1")
        world.client.hset("crewpool:holding", name, "no json")
    consumer = ResultConsumer(url, Handler())

    assert await Progress(consumer.stream, Waiting()).look() == 1
    await consumer.stream.close()


async def test_a_key_that_is_no_record_hides_no_other(url, world):
    begins(world, "r-1")
    begins(world, "r-odd")
    world.client.delete("crewpool:run:r-odd")
    world.client.set("crewpool:run:r-odd", "x")
    consumer = ResultConsumer(url, Handler())

    assert await Progress(consumer.stream, Waiting()).look() == 1
    await consumer.stream.close()


async def test_what_the_records_refuse_of_one_run_ends_neither_following_nor_consuming(url, world):
    """It is told once, and the runs behind it are seen to begin."""
    for run_id in ("r-1", "r-odd", "r-z"):
        begins(world, run_id)
    store = Waiting({"r-odd": OverflowError("too large to convert to SQLite INTEGER")})
    stop = asyncio.Event()

    task = asyncio.ensure_future(consume(url, store, stop))
    await eventually(lambda: ("r-z", 1) in store.told)
    add(world, "r-1")
    await eventually(lambda: world.client.xinfo_groups(RESULTS)[0]["entries-read"] == 1)
    stop.set()

    assert (await asyncio.wait_for(task, 10)).handled == 1
    assert store.told == [("r-1", 1), ("r-odd", 1), ("r-z", 1)]


@pytest.mark.parametrize("fails_first", [False, True], ids=["at once", "after an error"])
def test_a_handler_may_stop_its_own_consumer(url, world, fails_first):
    """After an error it is called before the next read, which then ends before it waits."""
    stops, can_stop, calls = [], threading.Event(), []

    def handle(_arrivals):
        assert can_stop.wait(10)
        calls.append(1)
        if fails_first and len(calls) == 1:
            raise RuntimeError("once")
        stops[0]()
        return []

    add(world, "r-1")
    stops.append(run_aside(ResultConsumer(url, handle).run, "crewpool-results"))
    can_stop.set()
    wait_until(lambda: len(calls) == 1 + fails_first)
    ending = threading.Thread(target=stops[0])
    ending.start()
    ending.join(3)  # a read that goes on takes five seconds

    assert not ending.is_alive()
    assert world.client.xpending(RESULTS, "go-workers")["pending"] == 0


async def test_what_there_is_no_room_to_set_aside_holds_up_no_result(url, world):
    """Out of memory, the results that are taken in are what makes room."""
    handler = Handler(unknown=("r-of-somebody-else",))
    world.client.xadd(RESULTS, {"payload": "no json"})
    for run_id in ("r-1", "r-of-somebody-else", "r-2"):
        add(world, run_id)
    world.client.xgroup_create(RESULTS, "go-workers", "0")
    world.client.config_set("maxmemory", 1)

    async with consuming_with(url, handler) as consumer:
        await eventually(lambda: world.client.xpending(RESULTS, "go-workers")["pending"] == 2)
        assert (consumer.counts.handled, consumer.counts.unknown, consumer.counts.buried) == (
            2,
            0,
            0,
        )
        world.client.config_set("maxmemory", 0)
        await eventually(lambda: world.client.exists(DEAD) and world.client.xlen(DEAD) == 2)

    assert {"r-1", "r-2"} < set(handler.done)
    assert (consumer.counts.unknown, consumer.counts.buried) == (1, 1)


async def test_what_a_lost_reply_made_ours_is_not_left_for_a_minute(server, world, monkeypatch):
    monkeypatch.setattr(consuming, "CLAIM_EVERY_S", 60.0)
    handler = Handler()
    with Proxy(server) as proxy:
        async with consuming_with(proxy.url, handler) as consumer:
            add(world, "r-1")
            await eventually(lambda: handler.done == ["r-1"])
            name = consumer.stream._consumer
            proxy.cut()
            add(world, "r-2")
            reading = {RESULTS: ">"}
            assert world.client.xreadgroup("go-workers", name, reading)  # as its read was to be
            proxy.mend()
            await eventually(lambda: "r-2" in handler.done)


async def test_however_much_a_dead_consumer_had_ten_are_taken_over_at_a_time(url, world):
    handler = Handler()
    for n in range(205):
        add(world, f"r-{n}")
    world.client.xgroup_create(RESULTS, "go-workers", "0")
    world.client.xreadgroup("go-workers", "dead", {RESULTS: ">"})

    async with consuming_with(url, handler):
        await eventually(lambda: len(handler.done) == 205)

    assert max(map(len, handler.batches)) == 10


async def test_trying_each_result_where_the_records_hang_is_no_stall(url, world):
    """Each try takes as long as a database may; the probe for liveness bears a minute."""
    rounds = []
    observer = SimpleNamespace(came_round=lambda **_: rounds.append(1), set_aside=lambda _: None)
    seen = []

    def hang(arrivals):
        seen.append((len(arrivals), len(rounds)))
        raise RecordsAway("db", "locked")

    for n in range(3):
        add(world, f"r-{n}")
    consumer, stop = ResultConsumer(url, hang, observer=observer), asyncio.Event()
    task = asyncio.ensure_future(consumer.run(stop))
    await eventually(lambda: len(seen) >= 4)
    stop.set()
    await asyncio.wait_for(task, 10)

    assert [size for size, _ in seen[:4]] == [3, 1, 1, 1]
    assert len({told for _, told in seen[:4]}) == 4


async def test_who_leaves_tries_no_result_by_itself_where_the_records_hang(url, world):
    stop, sizes = asyncio.Event(), []

    def hang(arrivals):
        sizes.append(len(arrivals))
        loop.call_soon_threadsafe(stop.set)
        assert asyncio.run_coroutine_threadsafe(stop.wait(), loop).result(10)
        raise RecordsAway("db", "locked")

    loop = asyncio.get_running_loop()
    for n in range(3):
        add(world, f"r-{n}")
    await asyncio.wait_for(ResultConsumer(url, hang).run(stop), 10)

    assert set(sizes) == {3}
