"""The commands about runs on a cluster, where a script must name each key that it touches."""

import json

import pytest

from tests.support.clusters import Cluster
from tests.support.waiting import wait_until

TAGGED = {
    "CREWPOOL_REQUESTS_STREAM": "{plugin}:requests",
    "CREWPOOL_RESULTS_STREAM": "{plugin}:results",
    "CREWPOOL_DEAD_LETTERS_STREAM": "{plugin}:requests:dlq",
}


@pytest.fixture
def said(tmp_path, crewpool):
    """Run a command on a cluster; return what it said, which must be a success."""
    three = Cluster(tmp_path / "nodes").start()

    def said(*arguments):
        told = crewpool(*arguments, REDIS_URL=three.url, **TAGGED)
        assert told.returncode == 0, told.stderr
        return told.stdout

    said.variables = {"REDIS_URL": three.url, **TAGGED}
    yield said
    three.stop()


def test_runs_are_delayed_parked_explained_cancelled_and_replayed_on_a_cluster(crewpool, said):
    later = said("submit", "echoes", "--in", "1h", "--unique-for", "2h").strip()
    assert said("submit", "echoes", "--unique-for", "2h").strip() == later
    waits = said("submit", "echoes", "--run-id", "r-waits").strip()
    assert f"Run {later} is delayed until" in said("explain", later)
    assert "It is the next one to be taken." in said("explain", waits)
    said("plugins", "pause", "echoes")

    running = crewpool.start("run", CREWPOOL_WORKERS=1, **said.variables)
    running.wait_for("run_parked")
    said("submit", "raises", "--run-id", "r-raises", "--set", "text=no luck")
    wait_until(lambda: "failed" in said("runs", "list", "--plugin", "raises"), 30)

    assert "Run r-waits is parked since" in said("explain", waits)
    assert "was parked: cancelled" in said("cancel", waits)
    assert "was delayed: cancelled" in said("cancel", later)
    assert '"no luck"' in said("dlq", "show", "r-raises")
    assert "replayed as run r-raises" in said("dlq", "replay", "--all", "--force")
    wait_until(lambda: json.loads(said("dlq", "list", "--json")), 30, "it was buried once more")
    assert said("dlq", "purge", "--all", "--yes") == "1 dead letter removed.\n"
    assert "was paused" in said("plugins", "resume", "echoes")
