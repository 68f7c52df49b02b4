"""The number of workers changes while runs are on: by order, and with the backlog."""

import signal

import pytest

from tests.support.telling import Telling
from tests.support.waiting import stays_true, wait_until


@pytest.fixture
def tell(redis_server):
    return Telling(redis_server.client)


def slots(supervisor):
    return supervisor.metric("crewpool_slots_wanted")


def test_scale_to_none_finishes_what_runs_and_back_takes_what_waits(supervisor, world, tell):
    running = [world.publish(plugin="sleeps", settings={"seconds": 1}) for _ in range(2)]
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    assert tell(supervisor, "scale", workers=0)["text"] == "2 slots before, 0 now"
    waiting = world.publish()
    wait_until(lambda: world.have_results(running))
    wait_until(lambda: supervisor.workers() == {})
    assert {world.result(run)["meta"]["attempt"] for run in running} == {1}
    assert world.result(waiting) is None
    assert slots(supervisor) == 0

    tell(supervisor, "scale", workers=3)
    assert wait_until(lambda: world.result(waiting))["status"] == "completed"
    supervisor.wait_idle(3)
    world.assert_exactly_one_result([*running, waiting])
    world.assert_nothing_pending()


def test_a_size_that_goes_up_and_down_loses_no_run(supervisor, world, tell):
    runs = []
    for workers in (8, 1, 5, 0, 3, 2):
        runs += [world.publish(plugin="sleeps", settings={"seconds": 0.2}) for _ in range(4)]
        tell(supervisor, "scale", workers=workers)

    wait_until(lambda: world.have_results(runs), 20)
    assert {world.result(run)["status"] for run in runs} == {"completed"}
    assert {world.result(run)["meta"]["attempt"] for run in runs} == {1}
    world.assert_exactly_one_result(runs)
    supervisor.wait_idle(2)


@pytest.mark.alone
def test_slots_follow_the_backlog_up_to_their_most(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_MAX_WORKERS=3).wait_idle(1)
    for _ in range(6):
        world.publish(plugin="sleeps")

    # Not before the CPUs have room.
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 3, 60)

    scaled = supervisor.log_lines("scaled", because="backlog")
    assert [(line["before"], line["workers"]) for line in scaled] == [("1", "2"), ("2", "3")]
    assert slots(supervisor) == 3
    stays_true(lambda: slots(supervisor) == 3, 2.5, "more than the most is not wanted")
    supervisor.signal(signal.SIGINT)
    assert supervisor.wait_exit() == 4


def test_what_is_set_out_of_bounds_stays_though_runs_wait(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_MAX_WORKERS=3).wait_idle(1)

    said = tell(supervisor, "scale", workers=0)["text"]
    assert (
        said == "1 slots before, 0 now, which is out of 1 to 3 and stays until a size within comes"
    )
    wait_until(lambda: supervisor.workers() == {})
    runs = [world.publish() for _ in range(4)]
    stays_true(lambda: slots(supervisor) == 0, 2.5)
    assert world.results() == []

    said = tell(supervisor, "scale", workers=2)["text"]
    assert said == "0 slots before, 2 now, which follows the backlog within 1 to 3"
    wait_until(lambda: world.have_results(runs))


@pytest.mark.long
@pytest.mark.alone
def test_a_pause_stops_the_growth(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_MAX_WORKERS=4).wait_idle(1)
    world.publish(plugin="sleeps", settings={"seconds": 30})
    wait_until(lambda: supervisor.busy("sleeps"))
    tell(supervisor, "pause")
    world.publish()

    stays_true(lambda: slots(supervisor) == 1, 3)

    supervisor.signal(signal.SIGINT)
    assert supervisor.wait_exit() == 4


@pytest.mark.long
@pytest.mark.alone
def test_a_machine_without_cpu_to_spare_gets_no_more_crews(start_supervisor, world):
    """All CPUs that we may use spin already."""
    supervisor = start_supervisor(CREWPOOL_WORKERS=8, CREWPOOL_MAX_WORKERS=16).wait_idle(8)
    for _ in range(16):
        world.publish(plugin="spins")
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 8)
    wait_until(lambda: supervisor.metric("crewpool_queue_lag", stream="plugin:requests") == 8)

    stays_true(lambda: slots(supervisor) == 8, 3)

    supervisor.signal(signal.SIGINT)
    assert supervisor.wait_exit() == 4
