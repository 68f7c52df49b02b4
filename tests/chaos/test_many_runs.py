"""Several supervisors with different settings on one queue, and runs that end in every way.

SOAK_RUNS says how many runs; `make soak` takes 2,000.
"""

import os
import random
from collections import Counter

import pytest

from tests.support.waiting import wait_until

RUNS = int(os.environ.get("SOAK_RUNS") or 240)
SETTINGS = (
    {"CREWPOOL_WORKERS": 4, "CREWPOOL_LEASE_S": 6, "CREWPOOL_RENEW_EVERY_S": 2},
    {"CREWPOOL_WORKERS": 3, "CREWPOOL_LEASE_S": 4, "CREWPOOL_RENEW_EVERY_S": 1},
    {"CREWPOOL_WORKERS": 2, "CREWPOOL_AGEING_S": 1, "CREWPOOL_MAX_ATTEMPTS": 2},
)
COMMON = {
    "CREW_TIMEOUT_SECONDS": 1,
    "CREWPOOL_SWEEP_EVERY_S": 0.5,
    # Crashes are what this is about; that they pause a plugin is told elsewhere.
    "CREWPOOL_QUARANTINE_CRASHES": 0,
    "CREWPOOL_RETRY": '{"crash": {"attempts": 3, "backoff_s": 0.2}}',
}
PRIORITIES = ("", "", "", ":critical", ":high", ":low")
# What ends how: plugin, settings, how often among a thousand.
KINDS = (
    ("echoes", {}, 600),
    ("sleeps", {"seconds": 0.3}, 100),
    ("raises", {}, 100),
    ("crashes", {}, 40),
    ("exits", {"code": 0}, 30),
    ("limited", {"seconds": 0.05}, 30),
    ("rated", {}, 30),
    ("spins-in-c", {}, 15),
    ("sleeps", {"seconds": "not a number"}, 15),
    ("gil", {"seconds": 0.2}, 20),
    ("no-such-plugin", {}, 20),
)
COMPLETE = {"echoes", "limited", "rated", "gil"}


def publish_all(world, tmp_path):
    """Publish the runs in a random order with a known seed; return plugin by run id."""
    drawn = random.Random(7).choices(KINDS, [weight for *_, weight in KINDS], k=RUNS)
    published = {}
    for number, (plugin, settings, _) in enumerate(drawn):
        stream = f"plugin:requests{random.Random(number).choice(PRIORITIES)}"
        published[world.publish(f"run-{number}", plugin, settings, stream=stream)] = plugin
    for number in range(RUNS // 50):
        memory = str(tmp_path / f"memory-{number}")
        fails = ["exception", "crash", "rate_limited", "timeout"][: number % 4 + 1]
        run_id = world.publish(f"flaky-{number}", "flaky", {"memory": memory, "fails": fails})
        published[run_id] = "flaky"
    return published


@pytest.mark.timeout(900)
def test_each_run_gets_one_result_whatever_its_end(start_supervisor, world, tmp_path):
    supervisors = [start_supervisor(**COMMON, **own) for own in SETTINGS]
    published = publish_all(world, tmp_path)

    wait_until(lambda: world.has_results(len(published)), 120 + RUNS / 3, "all have a result")
    victim = supervisors.pop()
    victim.kill()
    supervisors.append(start_supervisor(**COMMON, **SETTINGS[0]))

    world.assert_exactly_one_result(list(published))
    world.assert_nothing_pending()
    ended = Counter((published[r["plugin_run_id"]], r["status"]) for r in world.results())
    assert all(ended[plugin, "failed"] == 0 for plugin in COMPLETE), ended
    assert ended["flaky", "completed"] == RUNS // 50, ended
    assert ended["crashes", "completed"] == 0
    wait_until(
        lambda: not [c for c in world.all_consumers() if c.startswith(victim.host)],
        40,
        "no consumer of the dead host is left",
    )
    assert world.client.hlen("crewpool:holding") == 0
    assert world.client.hlen("crewpool:running") == 0
    for supervisor in supervisors:
        assert supervisor.stop() == 0
