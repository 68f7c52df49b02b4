"""The outbox is published in order and without doubles, whoever dies and whatever is broken."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from supervisor.runs.publisher import Publisher
from supervisor.runs.relay import LEASE, LEASE_S, MOST_REFUSED, PAGE, Relay
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from tests.records.conftest import SECRET
from tests.support.proxy import Proxy
from tests.support.redis_world import REQUESTS
from tests.support.supervisors import PASSED_ON, ROOT
from tests.support.waiting import wait_until

DYING = Path(__file__).parents[1] / "support" / "dying_relay.py"


@pytest.fixture
def publisher(redis_server):
    with Publisher(redis_server.url) as ours:
        yield ours


@pytest.fixture
def relay(store, publisher, sealer):
    return Relay(store, publisher, sealer, grace_s=0)


def published(world):
    """The users of the runs in the stream, who stand for the runs, in order."""
    texts = [fields["payload"] for _, fields in world.entries()]
    return [int(text.split('"user_id":')[1].split(",")[0]) for text in texts]


def broken(store, run_id):
    """Let what waits of a run be no JSON, as after a mistake by hand."""
    with store.database.writing() as session:
        session.connection().exec_driver_sql(
            f"UPDATE plugin_runs SET payload = '{{broken' WHERE plugin_run_id = '{run_id}'"
        )


def test_what_waits_is_published_in_order(relay, store, added, world):
    ids = [added(user_id=n, settings={"_key": SECRET}) for n in range(PAGE + 5)]
    done = relay.relay_once()

    assert (done.published, done.failed, done.skipped, done.trouble) == (len(ids), 0, 0, "")
    assert published(world) == list(range(len(ids)))
    assert store.counts() == {"pending": len(ids), "outbox": 0}
    assert relay.relay_once().published == 0


def test_what_a_dispatcher_published_before_it_died_is_not_published_again(
    relay, store, added, publisher, world, sealer
):
    from supervisor.runs.outbox import request_of  # noqa: PLC0415

    run_id = added(settings={"_key": SECRET})
    publisher.place(request_of(store.unpublished(1)[0], sealer))

    assert relay.relay_once().published == 1
    assert store.get(run_id).payload is None
    assert world.client.xlen(REQUESTS) == 1


def test_a_fresh_run_is_left_to_its_dispatcher(store, added, publisher, sealer, clock):
    added()
    relay = Relay(store, publisher, sealer, grace_s=5)
    assert relay.relay_once().published == 0
    clock.go_on(5)
    assert relay.relay_once().published == 1


def test_one_relay_works_at_a_time(relay, store, added, clock):
    added()
    store.leases.take(LEASE, "another", LEASE_S)
    assert relay.relay_once().published == 0
    clock.go_on(LEASE_S)
    assert relay.relay_once().published == 1
    assert store.leases.take(LEASE, "a third", LEASE_S)


def test_relays_side_by_side_publish_each_run_once(store, added, publisher, sealer, world):
    ids = [added(user_id=n) for n in range(60)]
    relays = [Relay(store, publisher, sealer, grace_s=0) for _ in range(4)]
    stop = threading.Event()
    threads = [threading.Thread(target=r.run_for_ever, args=(stop,)) for r in relays]
    for thread in threads:
        thread.start()
    wait_until(lambda: store.counts()["outbox"] == 0, 15)
    stop.set()
    for thread in threads:
        thread.join()

    assert sorted(published(world)) == list(range(len(ids)))


def test_a_redis_that_goes_away_in_between_stops_it_and_costs_nothing(
    redis_server, store, added, sealer, world
):
    for n in range(6):
        added(user_id=n)
    with Proxy(redis_server) as proxy, Publisher(proxy.url) as publisher:
        place, placed = publisher.place, []

        def cut_after_three(request):
            if len(placed) == 3:
                proxy.cut()
            placed.append(place(request))

        publisher.place = cut_after_three
        relay = Relay(store, publisher, sealer, grace_s=0)
        done = relay.relay_once()
        assert (done.published, done.failed) == (3, 0)
        assert done.trouble.startswith("Redis at ")
        proxy.mend()
        publisher.place = place
        assert relay.relay_once().published == 3

    assert published(world) == list(range(6))


def test_one_broken_record_does_not_stop_the_others(relay, store, added, world):
    ids = [added(user_id=n) for n in range(3)]
    broken(store, ids[0])
    done = relay.relay_once()

    assert (done.published, done.failed) == (2, 1)
    assert published(world) == [1, 2]
    assert "JSON" in store.get(ids[0]).error_message


def test_a_broken_record_alone_is_not_given_up_before_others_show_that_it_is(relay, store, added):
    run_id = added()
    broken(store, run_id)
    assert "JSON" in relay.relay_once().trouble
    assert store.get(run_id).status == "pending"
    added()
    assert relay.relay_once().failed == 1


def test_a_request_that_breaks_the_contract_of_today_fails_alone(
    redis_server, store, added, sealer, world
):
    large = added(user_id=0, settings={"x": "y" * 5000})
    added(user_id=1)
    settings = Settings(redis_url=redis_server.url, max_payload_bytes=1024)
    with Publisher(settings=settings) as publisher:
        done = Relay(store, publisher, sealer, grace_s=0).relay_once()

    assert (done.published, done.failed) == (1, 1)
    assert store.get(large).status == "failed"
    assert "at most 1024" in store.get(large).error_message
    assert published(world) == [1]


def test_a_run_that_redis_refuses_while_it_takes_others_fails_alone(relay, store, added, world):
    refused = added(user_id=0)
    added(user_id=1)
    world.client.set(f"crewpool:run:{refused}", "not a hash")
    done = relay.relay_once()

    assert (done.published, done.failed, done.trouble) == (1, 1, "")
    assert store.get(refused).status == "failed"
    assert "WRONGTYPE" in store.get(refused).error_message


@pytest.mark.parametrize("may", [["+ping"], ["+ping", "+hello", "+client"]])
def test_what_redis_refuses_to_all_of_them_keeps_them_waiting(
    redis_server, store, added, sealer, world, may
):
    ids = [added(user_id=n) for n in range(MOST_REFUSED + 3)]
    redis_server.client.acl_setuser(
        "weak", enabled=True, passwords=["+pw"], commands=may, keys=["*"]
    )
    url = redis_server.url.replace("redis://", "redis://weak:pw@")
    try:
        with Publisher(url) as publisher:
            relay = Relay(store, publisher, sealer, grace_s=0)
            done = relay.relay_once()
            assert (done.published, done.failed) == (0, 0)
            assert "refused" in done.trouble
            assert store.get(ids[MOST_REFUSED]).publish_failures == 0

            redis_server.client.acl_setuser("weak", enabled=True, commands=["+@all"])
            assert relay.relay_once().published == len(ids)
    finally:
        redis_server.client.acl_deluser("weak")
    assert published(world) == list(range(len(ids)))


def test_a_run_whose_key_another_process_has_waits_for_that_process(
    store, added, publisher, relay, world
):
    with_credentials = added(user_id=0, settings={"_key": SECRET})
    added(user_id=1)
    done = Relay(store, publisher, None, grace_s=0).relay_once()

    assert (done.published, done.skipped) == (1, 1)
    assert "cannot be used" in store.get(with_credentials).last_publish_error
    assert relay.relay_once().published == 1
    assert published(world) == [1, 0]


@pytest.mark.parametrize("step", ["lease", "place", "mark", "release"])
def test_a_relay_killed_at_any_step_leaves_nothing_undone_and_nothing_twice(
    tmp_path, redis_server, world, step
):
    url = f"sqlite:///{tmp_path}/runs.db"
    env = {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "REDIS_URL": redis_server.url,
        "CREWPOOL_RECORDS_URL": url,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, DYING, step], env=env, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL

    settings = Settings(redis_url=redis_server.url)
    later = RunStore(url, clock=lambda: datetime.now(UTC) + timedelta(seconds=LEASE_S))
    with later as store, Publisher(settings=settings) as publisher:
        Relay(store, publisher, grace_s=0).relay_once()
        assert store.counts() == {"pending": 5, "outbox": 0}
    assert published(world) == list(range(5))
