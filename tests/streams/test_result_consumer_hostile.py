"""Nothing that anybody writes to Redis ends the application's consumer of results."""

import asyncio
import threading
from datetime import UTC, datetime

from supervisor.runs.answers import Page
from supervisor.runs.consumer import ResultConsumer, consume, run_aside
from supervisor.runs.models import PluginRun
from supervisor.runs.progress import look
from tests.streams.test_result_consumer import DEAD, Handler, add, consuming_with
from tests.support.redis_world import RESULTS
from tests.support.waiting import eventually, wait_until

BACKENDS = ("redis-resp2", "valkey-resp3")
FAR = "999999999999999-1"


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
    """Records of which one run waits, and which refuse what they are told."""

    def __init__(self, error=None):
        self.error = error
        self.told = threading.Event()
        self.attempts = []

    def list(self, which=None, limit=50, cursor=None):
        return Page([PluginRun(plugin_run_id="r-odd")])

    def mark_processing(self, run_id, started_at, attempt=1):
        self.attempts.append(attempt)
        self.told.set()
        if self.error:
            raise self.error
        return True

    def apply_results(self, arrivals):
        return ["applied"] * len(arrivals)


async def test_a_record_with_an_impossible_attempt_is_no_news(url, world):
    consumer, store = ResultConsumer(url, Handler()), Waiting()
    for attempt in ("9" * 30, "9" * 5000, "1000001", "one"):
        facts = {"state": "running", "started_at": "1700000000", "attempt": attempt}
        world.client.hset("crewpool:run:r-odd", mapping=facts)
        assert await look(consumer.stream.states, store) == 0
    await consumer.stream.close()

    assert store.attempts == []


async def test_a_run_behind_hundreds_that_wait_is_seen_to_begin(url, world):
    """The oldest run first, and the records are listed from the newest back."""
    facts = {"state": "running", "started_at": "1700000000", "attempt": "1"}
    world.client.hset("crewpool:run:r-0", mapping=facts)
    consumer, store = ResultConsumer(url, Handler()), Waiting()
    pages = {
        None: Page([PluginRun(plugin_run_id="r-2")], "2"),
        "2": Page([PluginRun(plugin_run_id="r-1")], "1"),
        "1": Page([PluginRun(plugin_run_id="r-0")]),
    }
    store.list = lambda _which, _limit, cursor=None: pages[cursor]

    assert await look(consumer.stream.states, store) == 1
    await consumer.stream.close()


async def test_records_that_refuse_a_value_end_neither_following_nor_consuming(url, world):
    facts = {"state": "running", "started_at": "1700000000", "attempt": "1"}
    world.client.hset("crewpool:run:r-odd", mapping=facts)
    store, stop = Waiting(OverflowError("too large to convert to SQLite INTEGER")), asyncio.Event()

    task = asyncio.ensure_future(consume(url, store, stop))
    await eventually(lambda: len(store.attempts) >= 2)
    add(world, "r-1")
    await eventually(lambda: world.client.xinfo_groups(RESULTS)[0]["entries-read"] == 1)
    stop.set()

    assert (await asyncio.wait_for(task, 10)).handled == 1


def test_a_handler_may_stop_its_own_consumer(url, world):
    stops, returned = [], threading.Event()

    def handle(_arrivals):
        stops[0]()
        returned.set()
        return []

    add(world, "r-1")
    stops.append(run_aside(ResultConsumer(url, handle).run, "crewpool-results"))

    assert returned.wait(10)
    stops[0]()
    wait_until(lambda: world.client.xpending(RESULTS, "go-workers")["pending"] == 0)
