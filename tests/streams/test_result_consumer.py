"""The application's consumer of results, with a handler of the test's own, on real servers."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from supervisor.runs import consumer as consuming
from supervisor.runs.consumer import ResultConsumer
from supervisor.streams.results import ResultStream
from tests.streams.conftest import KEYS
from tests.support.proxy import Proxy
from tests.support.redis_world import RESULTS
from tests.support.waiting import eventually

BACKENDS = ("redis-resp2", "valkey-resp3")
GROUP = "go-workers"
DEAD = "plugin:results:dlq"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Retries and claims in moments, not in minutes."""
    monkeypatch.setattr(consuming, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(consuming, "CLAIM_IDLE_S", 0.3)
    monkeypatch.setattr(consuming, "CLAIM_EVERY_S", 0.1)


def add(world, run_id, **changes):
    body = {"plugin_run_id": run_id, "status": "completed", "output": "{}", "error": "", **changes}
    return world.client.xadd(RESULTS, {"payload": json.dumps(body)})


class Handler:
    """Notes what it is called with; `fails` says for which runs it raises."""

    def __init__(self, fails=lambda _run: False, unknown=()):
        self.batches = []
        self.done = []
        self.fails = fails
        self.unknown = unknown

    def __call__(self, arrivals):
        runs = [arrival.result.run_id for arrival in arrivals]
        self.batches.append(runs)
        if any(map(self.fails, runs)):
            raise RuntimeError("the database is away")
        self.done += runs
        return [n for n, run in enumerate(runs) if run in self.unknown]


@asynccontextmanager
async def consuming_with(url, handler):
    consumer, stop = ResultConsumer(url, handler), asyncio.Event()
    task = asyncio.ensure_future(consumer.run(stop))
    try:
        yield consumer
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


def pending(world):
    return world.client.xpending_range(RESULTS, GROUP, "-", "+", 100)


async def all_acknowledged(world):
    await eventually(lambda: world.client.exists(RESULTS) and pending(world) == [])
    (group,) = world.client.xinfo_groups(RESULTS)
    assert group["last-delivered-id"] == world.client.xrevrange(RESULTS, count=1)[0][0]


async def test_results_are_handled_in_order_and_acknowledged(url, world):
    for n in range(25):
        add(world, f"r-{n}")
    handler = Handler()

    async with consuming_with(url, handler):
        await eventually(lambda: len(handler.done) == 25)
        await all_acknowledged(world)

    assert handler.done == [f"r-{n}" for n in range(25)]
    assert max(map(len, handler.batches)) == 10
    assert world.client.xinfo_consumers(RESULTS, GROUP) == []


async def test_the_words_of_a_result_come_as_they_were_written(url, world):
    seen = []
    add(
        world,
        "r-1",
        status="failed",
        output="",
        error="Workflow exceeded 2s timeout",
        meta={"a": 1},
    )

    async with consuming_with(url, lambda arrivals: seen.extend(arrivals) or []):
        await eventually(lambda: seen)

    result = seen[0].result
    assert (result.run_id, result.status, result.output) == ("r-1", "failed", "")
    assert (result.error, dict(result.meta)) == ("Workflow exceeded 2s timeout", {"a": 1})
    assert seen[0].at.tzinfo is not None


async def test_what_a_handler_fails_at_stays_pending_and_is_tried_again(url, world):
    is_away = [True]
    handler = Handler(fails=lambda _run: is_away[0])
    add(world, "r-1")

    async with consuming_with(url, handler) as consumer:
        await eventually(lambda: consumer.counts.errors >= 3)
        assert len(pending(world)) == 1
        is_away.clear()
        is_away.append(False)
        await eventually(lambda: handler.done == ["r-1"])
        await all_acknowledged(world)


async def test_nothing_new_is_read_while_nothing_can_be_handled(url, world):
    handler = Handler(fails=lambda _run: True)
    for n in range(30):
        add(world, f"r-{n}")

    async with consuming_with(url, handler) as consumer:
        await eventually(lambda: consumer.counts.errors >= 30)
        assert len(pending(world)) == 10


async def test_one_result_that_cannot_be_handled_holds_up_no_other(url, world):
    handler = Handler(fails=lambda run: run == "r-3")
    for n in range(30):
        add(world, f"r-{n}")

    async with consuming_with(url, handler):
        await eventually(lambda: len(handler.done) == 29)
        # They are acknowledged together, behind the last of them.
        await eventually(lambda: [row["times_delivered"] for row in pending(world)] == [1])
        handler.fails = lambda _run: False
        await all_acknowledged(world)

    assert sorted(handler.done) == sorted({f"r-{n}" for n in range(30)})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("no json", "no JSON"),
        ("[1]", "no JSON object"),
        ('{"status":"completed","output":"{}"}', "plugin_run_id"),
        ('{"plugin_run_id":"r","status":"done","output":"{}"}', "status"),
        ('{"plugin_run_id":"r","status":"completed","output":{}}', "output must be a string"),
        ('{"plugin_run_id":"r","status":"failed","error":7}', "error must be a string"),
        ("[" * 100_000, "no JSON"),
    ],
)
async def test_what_is_no_result_is_kept_among_the_dead_ones(url, world, payload, reason):
    entry_id = world.client.xadd(RESULTS, {"payload": payload})
    add(world, "r-good")
    handler = Handler()

    async with consuming_with(url, handler):
        await eventually(lambda: handler.done == ["r-good"])
        await all_acknowledged(world)

    ((_, letter),) = world.client.xrange(DEAD)
    assert reason in letter["reason"]
    assert letter["entry_id"] == entry_id
    assert payload.startswith(letter["payload"])


async def test_entries_of_another_schema_or_without_a_payload_are_too(url, world):
    world.client.xadd(RESULTS, {"payload": "{}", "schema_version": "v9"})
    world.client.xadd(RESULTS, {"body": "{}"})

    async with consuming_with(url, Handler()):
        await eventually(lambda: world.client.xlen(DEAD) == 2)
        await all_acknowledged(world)

    assert [letter["reason"][:14] for _, letter in world.client.xrange(DEAD)] == [
        "schema_version",
        "it has no fiel",
    ]


async def test_results_of_unknown_runs_are_kept_and_counted(url, world):
    add(world, "r-mine")
    add(world, "r-of-somebody-else")

    async with consuming_with(url, Handler(unknown=("r-of-somebody-else",))) as consumer:
        await eventually(lambda: world.client.xlen(DEAD) == 1)
        await all_acknowledged(world)

    ((_, letter),) = world.client.xrange(DEAD)
    assert letter["reason"] == "unknown_run"
    assert "r-of-somebody-else" in letter["payload"]
    assert (consumer.counts.handled, consumer.counts.unknown) == (1, 1)


async def test_what_a_dead_consumer_had_is_taken_over(url, world):
    dead = ResultStream(url, KEYS, "dead")
    await dead.ensure_group()
    for n in range(15):
        add(world, f"r-{n}")
    for _ in range(2):
        await dead.fresh()
    await dead.close()
    handler = Handler()

    async with consuming_with(url, handler):
        await eventually(lambda: len(handler.done) == 15)
        await all_acknowledged(world)


async def test_consumers_share_the_load(url, world):
    first, second = Handler(), Handler()
    sent = []

    def have_both_some():
        sent.append(f"r-{len(sent)}")
        add(world, sent[-1])
        return first.done and second.done

    async with consuming_with(url, first), consuming_with(url, second):
        await eventually(have_both_some)
        await eventually(lambda: len(first.done) + len(second.done) == len(sent))
        await all_acknowledged(world)

    assert sorted(first.done + second.done) == sorted(sent)


async def test_an_outage_ends_nothing(server, world):
    handler = Handler()
    with Proxy(server) as proxy:
        async with consuming_with(proxy.url, handler):
            add(world, "r-1")
            await eventually(lambda: handler.done == ["r-1"])
            proxy.cut()
            add(world, "r-2")
            proxy.mend()
            await eventually(lambda: "r-2" in handler.done)
            await all_acknowledged(world)


async def test_a_group_that_was_lost_is_made_again(url, world):
    handler = Handler()
    async with consuming_with(url, handler):
        add(world, "r-1")
        await eventually(lambda: handler.done == ["r-1"])
        world.client.flushall()
        add(world, "r-2")
        await eventually(lambda: "r-2" in handler.done)


async def test_a_result_cut_off_while_it_was_pending_is_told_and_let_go(url, world):
    is_away = [True]
    handler = Handler(fails=lambda _run: is_away[0])
    add(world, "r-1")
    async with consuming_with(url, handler) as consumer:
        await eventually(lambda: consumer.counts.errors >= 1)
        world.client.xtrim(RESULTS, maxlen=0, approximate=False)
        await eventually(lambda: pending(world) == [])
        is_away[0] = False

    assert handler.done == []
