"""A run that somebody cancels loses its worker at once, wherever it is."""

import signal
import time

import pytest

from supervisor.configuration import load
from supervisor.streams import orders
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Limits, Queue
from tests.support.linux import is_alive
from tests.support.telling import Telling
from tests.support.waiting import eventually, stays_true, wait_until

pytestmark = pytest.mark.alone


@pytest.fixture
def url(redis_server):
    return redis_server.url


@pytest.fixture
def tell(world):
    return Telling(world.client)


@pytest.mark.parametrize("plugin", ["sleeps", "spins-in-c", "ignores-term"])
def test_a_cancelled_run_is_dead_within_100_ms(supervisor, world, tell, plugin):
    run = world.publish(plugin=plugin)
    pid = wait_until(lambda: supervisor.busy(plugin))
    began = time.monotonic()

    tell(None, "cancel", run=run, asks=False)
    wait_until(lambda: not is_alive(pid), 5)

    assert time.monotonic() - began < 0.1
    result = wait_until(lambda: world.result(run))
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert world.pending() == []
    assert supervisor.log_lines("worker_killed", because="cancelled", run=run)


async def test_a_cancel_by_script_reaches_the_one_that_has_the_run(start_supervisor, world, url):
    supervisors = [start_supervisor(url, CREWPOOL_WORKERS=1) for _ in range(2)]
    run = world.publish(plugin="sleeps")
    has_it = await eventually(lambda: [s for s in supervisors if s.busy("sleeps")])
    queue = Queue(url, Keys.of(load()), Limits(1_000_000, 60, 60))

    cancelled = await orders.cancel(queue, run)
    await queue.close()

    assert (cancelled.was, cancelled.detail.rpartition(".")[0]) == ("running", has_it[0].host)
    result = await eventually(lambda: world.result(run), 2)
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert world.pending() == []


def test_a_cancel_says_whether_the_run_was_here_and_ends_no_other(supervisor, world, tell):
    meant = world.publish(plugin="sleeps", settings={"seconds": 30})
    other = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    here = tell(None, "cancel", run=meant)
    unknown = tell(None, "cancel", run="r-unknown")

    assert (here["data"], unknown["data"]) == ({"in_hand": True}, {"in_hand": False})
    assert wait_until(lambda: world.result(other))["status"] == "completed"
    world.assert_exactly_one_result([meant, other])


def test_after_a_cancel_the_slot_runs_the_next(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1)
    run = world.publish(plugin="sleeps")
    wait_until(lambda: supervisor.busy("sleeps"))
    after = world.publish()

    tell(None, "cancel", run=run, asks=False)

    assert wait_until(lambda: world.result(after))["status"] == "completed"


def test_a_cancel_that_comes_before_the_run_is_in_hand_is_not_lost(supervisor, world, tell):
    """As when it overtakes what the loop has still to hear of the run."""
    tell(supervisor, "pause")
    run = world.publish(plugin="sleeps")
    tell(None, "cancel", run=run)

    tell(supervisor, "resume")

    result = wait_until(lambda: world.result(run))
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert supervisor.log_lines("run_started") == []


def test_a_run_that_is_asked_for_again_after_its_cancel_is_run(supervisor, world, tell):
    tell(None, "cancel", run="r-again")

    world.publish("r-again")

    assert wait_until(lambda: world.result("r-again"))["status"] == "completed"
    assert supervisor.is_running


def test_a_run_that_waits_for_its_worker_is_cancelled_without_one(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1).wait_idle(1)
    supervisor.zygote().send_signal(signal.SIGSTOP)
    supervisor.workers()[0].kill()
    wait_until(lambda: supervisor.log_lines("worker_died"))
    run = world.publish(plugin="sleeps")
    wait_until(world.pending)

    tell(None, "cancel", run=run, asks=False)

    result = wait_until(lambda: world.result(run), 5)
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert supervisor.log_lines("run_started") == []
    assert supervisor.zygote().status() == "stopped"


def test_a_run_that_ended_before_its_cancel_keeps_its_result(supervisor, world, tell):
    run = world.publish()
    wait_until(lambda: world.result(run))

    # Its supervisor hears of the acknowledgement a moment after we have seen the result.
    wait_until(lambda: tell(None, "cancel", run=run)["data"] == {"in_hand": False})

    stays_true(lambda: world.result(run)["status"] == "completed", 0.3)
    assert supervisor.is_running
