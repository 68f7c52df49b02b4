"""How soon it leaves, and how soon it says that it will."""

import signal
import time

import pytest

from tests.support.linux import is_alive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone


def leave(supervisor):
    """Send TERM; return the exit code and how long it took (s)."""
    began = time.monotonic()
    code = supervisor.stop()
    return code, time.monotonic() - began


def test_readiness_is_off_at_once(supervisor, world):
    world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))
    assert supervisor.readiness()[0] == 200

    supervisor.signal(signal.SIGTERM)
    began = time.monotonic()
    wait_until(lambda: supervisor.readiness()[0] == 503)

    assert time.monotonic() - began < 0.1
    assert supervisor.wait_exit() == 0


def test_a_pool_of_64_idle_workers_is_gone_within_a_second(start_supervisor):
    supervisor = start_supervisor(CREWPOOL_WORKERS=64).wait_idle(64, within_s=30)
    pids = supervisor.worker_pids().values()

    code, took_s = leave(supervisor)

    assert code == 0
    assert took_s < 1
    assert not any(map(is_alive, pids))


def test_an_idle_one_does_not_wait_for_a_redis_that_hangs(start_supervisor, own_server):
    supervisor = start_supervisor(own_server.url).wait_idle()
    with own_server.paused():
        code, took_s = leave(supervisor)

    assert code == 0
    assert took_s < 1
    assert supervisor.log_lines("consumers_not_deleted")


def test_an_idle_one_does_not_wait_for_a_redis_that_is_gone(start_supervisor, own_server):
    supervisor = start_supervisor(own_server.url).wait_idle()
    own_server.stop()
    wait_until(lambda: supervisor.log_lines("redis_away"))

    code, took_s = leave(supervisor)

    assert (code, took_s < 1) == (0, True)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_one_that_hangs_in_redis_at_its_start_can_be_told_to_leave(
    start_supervisor, own_server, signum
):
    with own_server.paused():
        supervisor = start_supervisor(own_server.url, wait=False)
        wait_until(lambda: supervisor.log_lines("signals"))
        supervisor.signal(signum)

        assert supervisor.wait_exit(5) == 0
