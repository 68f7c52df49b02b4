"""`crewpool up --records`, and the commands that look at what it keeps."""

import json
import re
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from supervisor.runs.dispatch import Dispatcher
from supervisor.runs.requests import PluginRequest
from supervisor.settings import Settings
from tests.support.redis_world import RESULTS
from tests.support.waiting import wait_until

# How each drill ends, and after how many attempts.
DRILLS = {
    ("echoes", '{"text": "a"}'): ("completed", 1),
    ("returns", "{}"): ("completed", 1),
    ("sleeps", '{"seconds": 0.1}'): ("completed", 1),
    ("raises", "{}"): ("failed", 1),
}
DIES = ("exits", "{}")


@pytest.fixture
def up(crewpool):
    """A supervisor with records, ready; and what other terminals must know."""
    running = crewpool.start(
        *("up", "--records", "--redis-port", 0, "--data", crewpool.folder / "data"),
        REDIS_URL=None,
        CREWPOOL_RETRY='{"crash": {"attempts": 2, "backoff_s": 0.05}}',
    )
    running.wait_for("zygote_ready")
    running.wait_for("taking_results")
    known = dict(re.findall(r"(REDIS_URL|CREWPOOL_RECORDS_URL)=(\S+)", running.err))
    return running, known


def rows(known):
    """The records as they stand in the database."""
    path = known["CREWPOOL_RECORDS_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT * FROM plugin_runs").fetchall()


def test_every_submission_beside_it_has_a_record_with_its_end(crewpool, up):
    running, known = up
    submitted = crewpool("submit", "echoes", "--set", "text=from there", "--wait", **known)
    asked = {}
    settings = Settings(redis_url=known["REDIS_URL"], records_url=known["CREWPOOL_RECORDS_URL"])
    # The same way as submit takes, without a second of Python for each.
    with Dispatcher.of(settings) as dispatcher, ThreadPoolExecutor(4) as threads:
        requests = [
            PluginRequest(plugin, user, json.loads(body))
            for user in range(5)
            for plugin, body in (*DRILLS, *[DIES][user:])
        ]
        for request, told in zip(requests, threads.map(dispatcher.dispatch, requests), strict=True):
            asked[told.run_id] = request
        wait_until(
            lambda: dispatcher.store.counts().keys() == {"completed", "failed", "outbox"},
            30,
            "all have ended",
        )
    running.signal(signal.SIGTERM)

    assert submitted.returncode == 0, submitted.stderr
    assert running.wait_exit() == 0
    found = rows(known)
    assert len(found) == 2 + 5 * len(DRILLS)
    for row in found:
        if row["plugin_run_id"] not in asked:
            continue
        drill = row["plugin_name"], json.dumps(asked[row["plugin_run_id"]].settings)
        status, attempts = DRILLS.get(drill, ("failed", 2))
        assert (row["status"], row["attempts"]) == (status, attempts), tuple(row)
        assert (row["error_message"] == "") == (status == "completed")
        assert (row["output"] is None) == (status == "failed")
        assert json.loads(row["output"] or "{}") is not None
        assert row["created_at"] <= row["started_at"] <= row["completed_at"]
        assert row["published_at"] is not None
        assert row["payload"] is None


def test_runs_are_listed_shown_and_followed_over_the_records(crewpool, up):
    running, known = up
    settings = Settings(redis_url=known["REDIS_URL"], records_url=known["CREWPOOL_RECORDS_URL"])
    with Dispatcher.of(settings) as dispatcher:
        failed = dispatcher.execute_plugin("raises", 7).run_id
        slow = dispatcher.execute_plugin("sleeps", 0, {"seconds": 2}).run_id
        followed = crewpool("runs", "follow", slow, **known)
        wait_until(lambda: dispatcher.store.counts() == {"completed": 1, "failed": 1, "outbox": 0})
    listed = json.loads(crewpool("runs", "list", "--json", "--since", "1h", **known).stdout)
    running.signal(signal.SIGTERM)
    running.wait_exit()
    # Redis has gone with it. What the database keeps is told all the same.
    shown = crewpool("runs", "show", slow, "--json", **known)
    old = crewpool("runs", "follow", failed, **known)
    of_user = crewpool("runs", "list", "--state", "failed", "--user", 7, **known)
    waits = crewpool("submit", "echoes", **known)

    assert followed.returncode == 0, followed.stderr
    assert "Slept" in followed.stdout
    assert [run["run_id"] for run in listed] == [slow, failed]
    assert "This is what the database keeps" in shown.stderr
    about = json.loads(shown.stdout)
    assert about["kept"]["output"]["raw"].startswith("# Slept")
    assert json.loads(about["result"]["output"]) == about["kept"]["output"]
    assert about["record"]["state"] == "completed"
    assert old.returncode == 1
    assert f"Run {failed} failed" in old.stderr
    assert failed in of_user.stdout
    assert slow not in of_user.stdout
    assert waits.returncode == 0
    assert "is recorded and waits to be published" in waits.stderr


def test_a_run_that_the_database_has_not_is_shown_as_redis_has_it(crewpool, redis_server, world):
    run_id = "published-by-go"
    body = {"plugin_run_id": run_id, "status": "failed", "output": "", "error": "no"}
    world.client.xadd(RESULTS, {"payload": json.dumps(body)})
    known = {"REDIS_URL": redis_server.url, "CREWPOOL_RECORDS_URL": "sqlite:///runs.db"}
    shown = crewpool("runs", "show", run_id, **known)
    unknown = crewpool("runs", "follow", "nobody-knows", **known)
    listed = crewpool("runs", "list", **known)

    assert shown.returncode == 0, shown.stderr
    assert "failed" in shown.stdout
    assert unknown.returncode == 1
    assert "is not known here" in unknown.stderr
    assert "CREWPOOL_RECORDS_URL= crewpool runs list" in listed.stderr


def test_records_that_cannot_be_opened_are_told_before_anything_runs(crewpool):
    refused = crewpool(
        *("up", "--records", "--redis-port", 0),
        REDIS_URL=None,
        CREWPOOL_RECORDS_URL="postgresql://app:hush@127.0.0.1:1/app",
    )

    assert refused.returncode == 1
    assert "are not reachable" in refused.stderr
    assert "hush" not in refused.stderr
    assert " starting " not in refused.stderr
