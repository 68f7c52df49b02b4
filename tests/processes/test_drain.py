"""TERM: take nothing, finish what runs, hand the rest back without burning an attempt."""

import signal
import socket

from tests.support.linux import is_alive, kill
from tests.support.proxy import Proxy
from tests.support.redis_world import GROUP, REQUESTS, RedisWorld
from tests.support.waiting import stays_true, wait_until


def drain(supervisor):
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: supervisor.log_lines("asked", ask="drain"))


def test_what_runs_is_finished_and_the_exit_is_clean(supervisor, world):
    runs = [world.publish(plugin="sleeps", settings={"seconds": 1}) for _ in range(2)]
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    assert supervisor.stop() == 0

    world.assert_exactly_one_result(runs)
    assert [world.result(run)["status"] for run in runs] == ["completed"] * 2
    world.assert_nothing_pending()
    assert world.consumers() == {}


def test_nothing_new_is_taken(supervisor, world):
    running = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))
    drain(supervisor)
    waiting = world.publish()

    assert supervisor.wait_exit() == 0

    assert world.result(running)["status"] == "completed"
    assert world.results(waiting) == []
    (group,) = world.client.xinfo_groups(REQUESTS)
    assert (group["pending"], group["lag"]) == (0, 1)


def test_while_it_drains_it_is_not_ready_but_alive(supervisor, world):
    world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))
    drain(supervisor)

    assert supervisor.readiness() == (
        503,
        {"status": "not_ready", "error": "the supervisor is draining"},
    )
    assert supervisor.liveness()[0] == 200


def test_when_time_runs_out_runs_go_back_with_the_same_attempt(start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_DRAIN_S=0.5)
    slow = world.publish(plugin="sleeps", settings={"seconds": 60}, attempt=2)
    quick = world.publish(plugin="sleeps", settings={"seconds": 0.2})
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)
    pid = wait_until(lambda: supervisor.busy("sleeps"))

    assert supervisor.stop() == 4

    assert not is_alive(pid)
    world.assert_exactly_one_result([quick])
    assert world.pending() == []
    (_, fields) = world.entries()[-1]
    assert (fields["attempt"], slow in fields["payload"]) == ("2", True)
    assert supervisor.log_lines("run_handed_back", run=slow, because="leaving")


def test_another_supervisor_goes_on_with_it(start_supervisor, world):
    first = start_supervisor(CREWPOOL_DRAIN_S=0.3)
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: first.busy("sleeps"))
    assert first.stop() == 4

    start_supervisor()

    assert wait_until(lambda: world.result(run))["meta"]["attempt"] == 1
    world.assert_exactly_one_result([run])


def test_an_overrun_is_killed_on_time_while_it_drains(start_supervisor, world):
    supervisor = start_supervisor(CREW_TIMEOUT_SECONDS=1)
    run = world.publish(plugin="spins-in-c")
    wait_until(lambda: supervisor.busy("spins-in-c"))

    assert supervisor.stop() == 0

    assert world.result(run)["error"] == "Workflow exceeded 1s timeout"


def test_a_crash_while_it_drains_is_handed_back_for_others(supervisor, world):
    run = world.publish(plugin="sleeps", settings={"seconds": 60})
    pid = wait_until(lambda: supervisor.busy("sleeps"))
    drain(supervisor)
    kill(pid)

    assert supervisor.wait_exit() in (0, 4)
    assert world.pending() == []
    # After its backoff anybody may start it.
    assert world.client.zscore("crewpool:delayed", run)
    assert world.record(run)["state"] == "delayed"


def test_what_is_being_taken_at_that_moment_is_not_left_pending(start_supervisor, own_server):
    """The answer to the take is on its way when TERM comes."""
    world = RedisWorld(own_server.client)
    with Proxy(own_server) as proxy:
        supervisor = start_supervisor(proxy.url, CREWPOOL_WORKERS=1).wait_idle(1)
        proxy.delay_s = 0.15
        run = world.publish()
        wait_until(world.pending)
        supervisor.signal(signal.SIGTERM)

        code = supervisor.wait_exit()

    assert world.pending() == []
    if world.results(run):
        assert code == 0
    else:
        assert code == 4
        assert world.entries()[-1][1]["attempt"] == "1"


def test_a_drain_without_redis_ends_and_says_what_is_left(start_supervisor, own_server):
    world = RedisWorld(own_server.client)
    supervisor = start_supervisor(own_server.url, CREWPOOL_DRAIN_S=1).wait_idle()
    run = world.publish(plugin="sleeps", settings={"seconds": 0.5})
    wait_until(lambda: supervisor.busy("sleeps"))
    with own_server.paused():
        supervisor.signal(signal.SIGTERM)
        code = supervisor.wait_exit(20)

    assert code == 4
    assert supervisor.log_lines("undelivered")
    (row,) = world.client.xpending_range(REQUESTS, GROUP, "-", "+", 10)
    assert row["consumer"].startswith(supervisor.host)
    assert world.results(run) == []


def test_readiness_comes_back_nowhere_after_the_end(supervisor):
    supervisor.wait_idle()
    address = supervisor.http_address
    assert supervisor.stop() == 0

    host, port = address.split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0
    stays_true(lambda: not supervisor.is_running, 0.1)
