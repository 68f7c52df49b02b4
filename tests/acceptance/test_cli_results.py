"""`crewpool results consume`: the application's side as one command."""

import json
import signal

import pytest
from sqlalchemy import update

from supervisor.runs.models import Schedule
from supervisor.runs.outbox import NewRun
from supervisor.runs.requests import PluginRequest
from supervisor.runs.store import RunStore
from tests.support.redis_world import RESULTS
from tests.support.waiting import wait_until


@pytest.fixture
def url(crewpool):
    return f"sqlite:///{crewpool.folder}/runs.db"


@pytest.fixture
def store(url):
    with RunStore(url) as store:
        yield store


@pytest.fixture
def consume(crewpool, url):
    """Start it; it has begun when this returns."""

    def consume(redis_url):
        running = crewpool.start(
            "results", "consume", REDIS_URL=redis_url, CREWPOOL_RECORDS_URL=url
        )
        running.wait_for("taking_results")
        return running

    return consume


def asked_for(store, user=0):
    """Record a run, and leave it in the outbox."""
    new = NewRun.of(PluginRequest("echoes", user), None, 100_000)
    return store.add(new).run.plugin_run_id


def finish(world, run_id):
    body = {"plugin_run_id": run_id, "status": "completed", "output": '{"a":1}', "error": ""}
    world.client.xadd(RESULTS, {"payload": json.dumps(body)})


def test_it_takes_results_relays_fires_and_leaves_when_told(
    consume, crewpool, store, world, redis_server
):
    run_id = asked_for(store)
    adding = ("schedule", "add", "* * * * *", "echoes")
    scheduled = crewpool(*adding, CREWPOOL_RECORDS_URL=store.where).stdout.strip()
    # A minute that has just begun.
    past = store.get(run_id).created_at
    store.database.change(update(Schedule).values(next_due_at=past))
    running = consume(redis_server.url)
    finish(world, run_id)

    wait_until(lambda: store.get(run_id).status == "completed", what="the result is taken in")
    wait_until(lambda: len(store.list().runs) == 2, what="the schedule has fired")
    fired = next(run for run in store.list().runs if run.plugin_run_id != run_id)
    wait_until(lambda: fired.plugin_run_id in str(world.entries()), what="it is published")
    running.signal(signal.SIGTERM)

    assert running.wait_exit() == 0
    assert f"schedule_fired schedule={scheduled} run={fired.plugin_run_id}" in running.err
    assert "results_stopped handled=1 unknown=0" in running.err
    (group,) = world.client.xinfo_groups(RESULTS)
    assert (group["pending"], group["consumers"]) == (0, 0)


def test_it_waits_for_redis_and_goes_on_when_it_is_there(consume, store, own_server):
    run_id = asked_for(store)
    own_server.stop()
    running = consume(own_server.url)
    running.wait_for("results_not_readable")
    own_server.start()

    wait_until(lambda: store.get(run_id).published_at, 20, "the outbox was relayed")
    running.signal(signal.SIGINT)
    assert running.wait_exit() == 0


def test_without_a_database_it_says_how_to_name_one(crewpool):
    refused = crewpool("results", "consume")

    assert refused.returncode == 2
    assert "CREWPOOL_RECORDS_URL=sqlite:///" in refused.stderr


def test_it_takes_nothing_into_tables_of_another_version(crewpool, url, store):
    store.upgrade()
    with store.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE crewpool_version SET version_num = '9999'")
    refused = crewpool("results", "consume", CREWPOOL_RECORDS_URL=url)

    assert refused.returncode == 1
    assert "install a newer crewpool" in refused.stderr


def test_an_address_that_is_none_is_told_before_anything(crewpool, url):
    refused = crewpool("results", "consume", CREWPOOL_RECORDS_URL="mysql://app:hush@db/app")

    assert refused.returncode == 2
    assert "must begin with sqlite:///" in refused.stderr
    assert "hush" not in refused.stderr
