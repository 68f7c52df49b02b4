"""Runs that a supervisor has begun are `processing`, whatever waits beside them."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from supervisor.runs import progress as following
from supervisor.runs.consumer import ResultConsumer, start_result_consumer
from supervisor.runs.errors import RecordsAway, RecordsMisconfigured, RecordsOutdated
from supervisor.runs.progress import Progress
from supervisor.runs.publisher import AddressInvalid
from supervisor.runs.store import RunStore
from supervisor.streams.wire import Result
from tests.records.conftest import dispatcher_of
from tests.support.proxy import Proxy
from tests.support.servers import HOST, free_port
from tests.support.waiting import eventually, wait_until

START = 1_790_000_000


@pytest.fixture
async def stream(redis_server):
    consumer = ResultConsumer(redis_server.url, lambda _arrivals: [])
    yield consumer.stream
    await consumer.stream.close()


@pytest.fixture
def progress(stream, store):
    return Progress(stream, store)


def takes(world, run_id, attempt=1, state="running"):
    """Let a supervisor have a run in hand."""
    world.client.hset("crewpool:holding", run_id, "{}")
    facts = {"state": state, "started_at": START + attempt, "attempt": attempt}
    world.client.hset(f"crewpool:run:{run_id}", mapping=facts)


def lets_go_of(world, run_id):
    world.client.hdel("crewpool:holding", run_id)


def told(store, run_id):
    run = store.get(run_id)
    return run.status, run.attempts, run.started_at and run.started_at.timestamp()


async def test_a_run_that_began_is_processing_since_then(progress, store, added, world):
    begun, waiting, parked = added(), added(), added()
    takes(world, begun)
    takes(world, parked, state="parked")

    assert await progress.look() == 1
    assert told(store, begun) == ("processing", 1, START + 1)
    assert {told(store, run_id) for run_id in (waiting, parked)} == {("pending", 0, None)}


def test_a_run_is_processing_while_a_supervisor_works_on_it(supervisor, redis_server, tmp_path):
    url = f"sqlite:///{tmp_path}/runs.db"
    with dispatcher_of(url, redis_server.url) as dispatcher:
        stop = start_result_consumer(redis_server.url, dispatcher.store)
        try:
            run_id = dispatcher.execute_plugin("sleeps", 7, {"seconds": 60}).run_id
            wait_until(lambda: dispatcher.store.get(run_id).status == "processing", 20)
        finally:
            stop()
        run = dispatcher.store.get(run_id)

    assert run.attempts == 1
    assert run.created_at <= run.started_at


async def test_a_second_attempt_is_seen_and_the_first_start_counts(progress, store, added, world):
    run_id = added()
    takes(world, run_id)
    await progress.look()
    lets_go_of(world, run_id)
    await progress.look()
    takes(world, run_id, attempt=2)

    assert await progress.look() == 1
    assert told(store, run_id) == ("processing", 2, START + 1)


async def test_what_is_known_or_ended_or_of_somebody_else_is_not_written(
    progress, stream, store, added, world
):
    begun, ended = added(), added()
    store.apply_result(Result(ended, "completed", "{}"))
    for run_id in (begun, ended, "r-of-nobody"):
        takes(world, run_id)
    await progress.look()
    writes = []
    store.mark_processing = lambda *facts: writes.append(facts)

    assert await progress.look() == 0
    assert await Progress(stream, store).look() == 0  # another process
    assert writes == []
    assert store.get(ended).status == "completed"


async def test_however_many_wait_a_look_asks_once_and_no_record(stream, store, added, world):
    run_ids = [added() for _ in range(5)]
    takes(world, run_ids[0])
    asked = []
    redis = SimpleNamespace(
        held=lambda: asked.append("held") or stream.held(),
        states=lambda of: asked.append(of) or stream.states(of),
    )
    progress = Progress(redis, store)
    await progress.look()
    store.get = store.list = None

    assert await progress.look() == 0
    assert asked == ["held", [run_ids[0]], "held"]


async def test_records_that_are_away_are_asked_again(progress, store, added, world):
    run_id = added()
    takes(world, run_id)
    get = store.get

    def away(_run_id):
        raise RecordsAway("db", "refused")

    store.get = away
    with pytest.raises(RecordsAway):
        await progress.look()
    store.get = get

    assert await progress.look() == 1
    assert store.get(run_id).started_at == datetime.fromtimestamp(START + 1, UTC)


async def test_a_trouble_is_told_at_its_beginning_and_at_its_end(
    store, redis_server, caplog, monkeypatch
):
    caplog.set_level("INFO")
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    stop, looks = asyncio.Event(), []
    with Proxy(redis_server) as proxy:
        stream = ResultConsumer(proxy.url, lambda _arrivals: []).stream
        progress = Progress(stream, store)
        look = progress.look

        async def counted():
            looks.append(1)
            return await look()

        progress.look = counted
        proxy.cut()
        task = asyncio.ensure_future(progress.follow(stop))
        await eventually(lambda: len(looks) > 3)
        proxy.mend()
        await eventually(lambda: "progress_followed" in caplog.text)
        seen = len(looks)
        await eventually(lambda: len(looks) > seen + 3)
        stop.set()
        await task
        await stream.close()

    lines = [r.getMessage() for r in caplog.records if "progress" in r.getMessage()]
    assert [line.split()[0] for line in lines] == ["progress_not_followed", "progress_followed"]
    assert "RedisAway" in lines[0]


# ---- what somebody has to mend


@pytest.mark.parametrize(
    "address",
    ["http://u:pw-secret@h/0", "redis://:pw-secret@h:x/0", "redis://h/0?socket_timeout=x"],
)
def test_an_address_of_redis_that_is_none_is_told_at_the_call(tmp_path, address):
    told = pytest.raises(AddressInvalid, match="no address of Redis")
    with RunStore(f"sqlite:///{tmp_path}/runs.db") as store, told as raised:
        start_result_consumer(address, store)

    assert "pw-secret" not in str(raised.value)
    assert "REDIS_URL" in raised.value.next_step


def test_tables_that_are_none_are_told_at_the_call(redis_server, postgres, tmp_path):
    (tmp_path / "runs.db").write_text("this is no database" * 100)
    with RunStore(f"sqlite:///{tmp_path}/runs.db") as store, pytest.raises(RecordsMisconfigured):
        start_result_consumer(redis_server.url, store)
    with RunStore(postgres.new_database()) as store, pytest.raises(RecordsOutdated) as raised:
        start_result_consumer(redis_server.url, store)

    assert raised.value.next_step == "crewpool db upgrade"


def test_a_redis_and_a_database_that_are_away_are_waited_for(caplog):
    with RunStore(f"postgresql://u:p@{HOST}:{free_port()}/db") as store:
        stop = start_result_consumer(f"redis://{HOST}:{free_port()}/0", store)
        try:
            wait_until(lambda: "results_not_readable" in caplog.text)
        finally:
            stop()
