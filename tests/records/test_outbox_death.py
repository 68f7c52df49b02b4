"""What was accepted is run once, whatever dies between the application and Redis."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from supervisor.runs.answers import Arrival
from supervisor.runs.sealing import make_key
from supervisor.runs.store import RunStore
from supervisor.streams.wire import Result
from tests.records.conftest import SECRET
from tests.support.linux import die_with_pytest
from tests.support.redis_world import REQUESTS, RedisWorld
from tests.support.supervisors import PASSED_ON, ROOT
from tests.support.waiting import wait_until

PROGRAM = ROOT / "tests" / "support" / "dispatching.py"
RUNS = 50


@pytest.fixture
def application(tmp_path, url, own_server):
    """Start an application that asks for so many runs, and kill it at the end, or before."""
    make_key(tmp_path / "outbox.key")
    env = {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "REDIS_URL": own_server.url,
        "CREWPOOL_RECORDS_URL": url,
        "CREWPOOL_OUTBOX_KEY_FILE": str(tmp_path / "outbox.key"),
        "PYTHONPATH": str(ROOT),
    }

    @contextmanager
    def start(runs):
        with subprocess.Popen(
            [sys.executable, PROGRAM, str(runs)],
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
        ) as process:
            try:
                yield [json.loads(process.stdout.readline()) for _ in range(runs)]
            finally:
                process.kill()

    return start


def results_in(world):
    """The results as a consumer takes them in."""
    return [
        Arrival(Result(r["plugin_run_id"], r["status"], r["output"], r["error"], r.get("meta", {})))
        for r in world.results()
    ]


def test_runs_accepted_while_redis_is_away_survive_their_dispatcher(
    application, url, own_server, start_supervisor
):
    own_server.stop()
    with application(RUNS) as told:
        pass
    ids = [run_id for _, run_id in told]
    assert {what for what, _ in told} == {"waiting"}
    with RunStore(url) as store:
        assert store.counts() == {"pending": RUNS, "outbox": RUNS}
        own_server.start()
        world = RedisWorld(own_server.client)
        start_supervisor(own_server.url)
        with application(0):
            wait_until(lambda: world.has_results(RUNS), 60, "all runs have results")
            wait_until(lambda: store.counts()["outbox"] == 0, 30)

        world.assert_exactly_one_result(ids)
        world.assert_nothing_pending()
        entries = [json.loads(fields["payload"]) for _, fields in world.entries()]
        assert [entry["plugin_run_id"] for entry in entries] == ids
        assert {entry["settings"]["_llm_api_key"] for entry in entries} == {SECRET}
        assert store.apply_results(results_in(world)) == ["applied"] * RUNS
        assert store.counts() == {"completed": RUNS, "outbox": 0}
        run = store.get(ids[0])
        assert run.duration_s > 0
        assert run.attempts == 1
        assert run.receipt


def test_a_dispatcher_killed_while_it_publishes_leaves_none_out_and_none_twice(
    application, url, database, own_server
):
    if database == "postgresql":
        pytest.skip("the steps are the same, and the test above has tried its transactions")
    world = RedisWorld(own_server.client)
    with application(20) as told:
        ids = {run_id for _, run_id in told}
    with RunStore(url) as store:
        # As if it had died before it noted what it had published.
        with store.database.writing() as session:
            session.connection().exec_driver_sql(
                """UPDATE plugin_runs SET published_at = NULL, publish_failures = 1,
                payload = '{"settings": {"text": "again"}}' WHERE id > 10"""
            )
        with application(0):
            # A process has to start, and the lease of the dead one may have to lapse.
            wait_until(lambda: store.counts()["outbox"] == 0, 60)

    payloads = [json.loads(fields["payload"]) for _, fields in world.entries()]
    assert sorted(entry["plugin_run_id"] for entry in payloads) == sorted(ids)
    assert own_server.client.xlen(REQUESTS) == 20
