"""`crewpool results consume`: the application's side as one command."""

import json
import re
import signal
import urllib.error
import urllib.request

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


def probe(running, path):
    """The status and body of a GET where it serves its probes."""
    where = re.search(r"taking_results .* http=(127\.0\.0\.1:\d+)", running.err)[1]
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figures(running):
    """Its own metrics, histograms by count and sum."""
    lines = re.findall(
        r"^crewpool_records_(\S+) (\S+)$", probe(running, "/metrics")[1], re.MULTILINE
    )
    return {name: float(value) for name, value in lines if not re.search("_bucket|_created", name)}


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
    wait_until(lambda: probe(running, "/health/ready")[0] == 200, what="it is ready")
    found = figures(running)
    running.signal(signal.SIGTERM)

    assert running.wait_exit() == 0
    assert f"schedule_fired schedule={scheduled} run={fired.plugin_run_id}" in running.err
    assert "results_stopped handled=1 unknown=0" in running.err
    assert found['results_total{outcome="applied"}'] == 1
    assert found["result_seconds_count"] == 1
    assert found["schedules_fired_total"] == 1
    (group,) = world.client.xinfo_groups(RESULTS)
    assert (group["pending"], group["consumers"]) == (0, 0)


def test_it_waits_for_redis_and_goes_on_when_it_is_there(consume, store, own_server):
    run_id = asked_for(store)
    own_server.stop()
    running = consume(own_server.url)
    running.wait_for("results_not_readable")
    assert probe(running, "/health/live") == (200, '{"status": "alive"}')
    wait_until(lambda: "Redis is not reachable" in probe(running, "/health/ready")[1])
    assert probe(running, "/health/ready")[0] == 503
    found = figures(running)
    own_server.start()

    wait_until(lambda: store.get(run_id).published_at, 20, "the outbox was relayed")
    assert (found["redis_up"], found["database_up"], found["outbox_runs"]) == (0, 1, 1)
    assert found["outbox_oldest_seconds"] > 0
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
