"""A consumer of results that is killed at any step loses nothing, and spoils no record."""

import json
import os
import subprocess
import sys

import pytest

from supervisor.runs.store import RunStore
from tests.support.dying_consumer import STEPS
from tests.support.linux import die_with_pytest
from tests.support.redis_world import RESULTS
from tests.support.supervisors import ROOT
from tests.support.waiting import wait_until

GROUP, DEAD = "go-workers", "plugin:results:dlq"
# What is only ours and Redis' is the same on any database.
OF_THE_DATABASE = ("inside the transaction", "after the commit")
PROGRAM = ROOT / "tests" / "support" / "dying_consumer.py"


@pytest.fixture
def start(url, redis_server):
    """Start the program; it dies at the step that is given."""
    processes = []

    def start(*step):
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *step],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "CREWPOOL_RECORDS_URL": url,
                "REDIS_URL": redis_server.url,
            },
            preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def finish(world, run_id, number):
    """Write a result as a supervisor does."""
    failed = number % 3 == 0
    body = {
        "plugin_run_id": run_id,
        "status": "failed" if failed else "completed",
        "output": "" if failed else json.dumps({"number": number}),
        "error": "Workflow exceeded 5s timeout" if failed else "",
        "meta": {"attempt": number % 2 + 1, "duration_s": 1.5},
    }
    world.client.xadd(RESULTS, {"payload": json.dumps(body)})


def expected(number):
    if number % 3 == 0:
        return ("failed", None, "Workflow exceeded 5s timeout", number % 2 + 1, 1.5)
    return ("completed", {"number": number}, "", number % 2 + 1, 1.5)


def test_each_record_is_right_whatever_step_a_consumer_dies_at(database, url, world, start, added):
    numbers, steps = {}, STEPS if database == "sqlite" else OF_THE_DATABASE
    for turn, step in enumerate(steps):
        # Some results are there with each death; the dead one's are left to the next.
        for _ in range(4):
            number = len(numbers)
            run_id = added(user_id=number, settings={"n": number})
            numbers[run_id] = number
            finish(world, run_id, number)
        finish(world, f"nobody-knows-{turn}", 1)
        assert start(step).wait(60) == -9, step
    healthy = start()

    with RunStore(url) as store:
        wait_until(lambda: not store.counts().get("pending"), 60, "all records have ended")
        wait_until(
            lambda: world.client.xpending(RESULTS, GROUP)["pending"] == 0, 60, "all is let go of"
        )
        healthy.terminate()
        assert healthy.wait(60) == 0
        runs = {run_id: store.get(run_id) for run_id in numbers}

    for run_id, run in runs.items():
        told = (run.status, run.output, run.error_message, run.attempts, run.duration_s)
        assert told == expected(numbers[run_id])
    (group,) = world.client.xinfo_groups(RESULTS)
    assert group["lag"] == 0
    unknown = [json.loads(fields["payload"]) for _, fields in world.client.xrange(DEAD)]
    assert {body["plugin_run_id"] for body in unknown} == {
        f"nobody-knows-{turn}" for turn in range(len(steps))
    }
    assert len(unknown) == len(steps)
