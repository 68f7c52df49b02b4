"""A lease has nothing to do with how long a run takes, and all with who is alive."""

import time

import pytest

from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import stays_true, wait_until

LEASE_S = 1.0
SHORT = {
    "CREWPOOL_LEASE_S": LEASE_S,
    "CREWPOOL_RENEW_EVERY_S": 0.3,
    "CREWPOOL_SWEEP_EVERY_S": 0.2,
}
# For the machine: another process may have both cores for a moment.
SLACK_S = 1.0


def starts(*supervisors, run_id):
    return [line for s in supervisors for line in s.log_lines("run_started", run=run_id)]


@pytest.mark.parametrize("plugin", ["sleeps", "gil", "spins"])
def test_a_healthy_run_ten_times_longer_than_its_lease_is_started_once(
    start_supervisor, world, plugin
):
    supervisors = [start_supervisor(**SHORT) for _ in range(2)]
    run_id = world.publish(plugin=plugin, settings={"seconds": 10 * LEASE_S})

    wait_until(lambda: world.result(run_id), 30, f"{run_id} has a result")

    assert world.result(run_id)["status"] == "completed"
    assert len(starts(*supervisors, run_id=run_id)) == 1
    assert not [line for s in supervisors for line in s.log_lines("run_reclaimed")]
    assert not [line for s in supervisors for line in s.log_lines("lease_lost")]


@pytest.mark.parametrize("has_traffic", [True, False], ids=["with traffic", "without"])
def test_runs_of_a_dead_host_are_started_elsewhere_in_time(start_supervisor, world, has_traffic):
    other = start_supervisor(**QUICK_LEASES)
    other.signal(19)  # SIGSTOP: the victim shall have the run
    victim = start_supervisor(**QUICK_LEASES)
    run_id = world.publish(plugin="sleeps", settings={"seconds": 3})
    wait_until(lambda: victim.log_lines("run_started", run=run_id), what="the victim has it")
    other.signal(18)
    # After being stopped it renews before it sweeps, and reclaims nothing of its own.
    wait_until(lambda: other.readiness()[0] == 200, what="the other one is awake")

    victim.kill()
    killed_at = time.monotonic()
    while has_traffic and not starts(other, run_id=run_id):
        world.publish(plugin="echoes")
        time.sleep(0.05)
        assert time.monotonic() - killed_at < 20
    wait_until(lambda: starts(other, run_id=run_id), 20, "the other one started it")
    took_s = time.monotonic() - killed_at

    lease_s, sweep_s = (float(QUICK_LEASES[f"CREWPOOL_{n}_S"]) for n in ("LEASE", "SWEEP_EVERY"))
    assert took_s < lease_s + sweep_s + 1 + SLACK_S
    wait_until(lambda: world.result(run_id), what="and finished it")
    assert world.result(run_id)["meta"]["attempt"] == 2


def test_a_supervisor_that_was_stopped_for_long_loses_its_run_and_says_nothing_more(
    start_supervisor, world
):
    sleeper = start_supervisor(**QUICK_LEASES)
    run_id = world.publish(plugin="sleeps", settings={"seconds": 2})
    wait_until(lambda: sleeper.log_lines("run_started", run=run_id), what="it has the run")
    sleeper.signal(19)
    other = start_supervisor(**QUICK_LEASES)
    wait_until(lambda: world.result(run_id), 20, "the other one finished it")

    sleeper.signal(18)

    wait_until(lambda: sleeper.log_lines("lease_lost", run=run_id), what="it hears of it")
    stays_true(lambda: len(world.results(run_id)) == 1, 1.0)
    assert starts(other, run_id=run_id)


def test_what_a_sweep_buries_is_counted(start_supervisor, world):
    lost_is_final = {"CREWPOOL_RETRY": '{"lost": "none"}', **QUICK_LEASES}
    victim = start_supervisor(**lost_is_final)
    run_id = world.publish(plugin="sleeps")
    wait_until(lambda: victim.log_lines("run_started", run=run_id), what="it runs")
    victim.kill()

    other = start_supervisor(**lost_is_final)

    wait_until(lambda: world.result(run_id), 20, "it was answered")
    (letter,) = world.dead_letters()
    assert letter["class"] == "lost"
    wait_until(lambda: other.metric("crewpool_dead_letters_total", reason="lost") == 1)
