"""Redis goes away and comes back: crews run on, kills are on time, each run has one result."""

import pytest

from tests.support.linux import is_alive, kill
from tests.support.redis_world import RedisWorld
from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import stays_true, wait_until

pytestmark = pytest.mark.alone


@pytest.fixture
def world(own_server):
    return RedisWorld(own_server.client)


def away(supervisor, within_s=12):
    """Wait until the supervisor knows."""
    wait_until(lambda: supervisor.readiness()[0] == 503, within_s, "it is not ready")


def test_while_redis_is_stopped_it_is_alive_and_not_ready(start_supervisor, own_server):
    supervisor = start_supervisor(own_server.url).wait_idle()
    own_server.stop()
    away(supervisor)

    status, body = supervisor.readiness()
    assert (status, body["status"]) == (503, "not_ready")
    assert f"127.0.0.1:{own_server.port}" in body["error"]
    assert supervisor.liveness() == (200, {"status": "alive"})
    assert supervisor.metric("crewpool_redis_up") == 0

    own_server.start()
    supervisor.wait_ready()
    assert supervisor.metric("crewpool_redis_up") == 1
    assert supervisor.metric("crewpool_redis_outages") == 1


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_crews_run_on_and_their_results_come_after_its_return(
    start_supervisor, own_server, world, how
):
    supervisor = start_supervisor(
        own_server.url, CREW_TIMEOUT_SECONDS=2, CREWPOOL_WORKERS=3
    ).wait_idle(3)
    ends = world.publish(plugin="sleeps", settings={"seconds": 1})
    spins = world.publish(plugin="spins-in-c")
    breaks = world.publish(plugin="exits")
    wait_until(lambda: len(supervisor.log_lines("run_started")) >= 3)
    wait_until(lambda: len(world.pending()) == 2)
    spinning = wait_until(lambda: supervisor.busy("spins-in-c"))
    getattr(own_server, how)()

    wait_until(lambda: not is_alive(spinning), 5)
    wait_until(lambda: supervisor.log_lines("run_completed", run=ends))
    assert supervisor.log_lines("worker_killed", because="timeout", run=spins)
    away(supervisor)
    own_server.start()
    world = RedisWorld(own_server.client)

    wait_until(lambda: world.have_results([ends, spins, breaks]), 20)
    world.assert_exactly_one_result([ends, spins, breaks])
    wait_until(lambda: not world.pending())
    world.assert_nothing_pending()
    assert world.result(ends)["meta"]["attempt"] == 1
    assert world.result(spins)["error"] == "Workflow exceeded 2s timeout"
    assert supervisor.log_lines("run_reclaimed") == []


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(start_supervisor, own_server):
    supervisor = start_supervisor(own_server.url).wait_idle()
    own_server.stop()
    away(supervisor)
    stays_true(lambda: len(supervisor.log_lines("redis_away")) == 1, 1)
    own_server.start()

    supervisor.wait_ready()

    assert len(supervisor.log_lines("redis_away")) == 1
    (back,) = supervisor.log_lines("redis_back")
    assert float(back["away_s"]) > 1


@pytest.mark.slow
def test_a_frozen_server_is_an_outage_too(start_supervisor, own_server, world):
    """Connections stay open and nothing is answered."""
    supervisor = start_supervisor(own_server.url, CREW_TIMEOUT_SECONDS=2).wait_idle()
    ends = world.publish(plugin="sleeps", settings={"seconds": 1})
    spins = world.publish(plugin="spins-in-c")
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)
    spinning = wait_until(lambda: supervisor.busy("spins-in-c"))
    with own_server.paused():
        wait_until(lambda: not is_alive(spinning), 5)
        away(supervisor)
        assert supervisor.liveness()[0] == 200

    wait_until(lambda: world.have_results([ends, spins]), 20)
    supervisor.wait_ready()
    world.assert_exactly_one_result([ends, spins])
    world.assert_nothing_pending()
    assert world.result(ends)["meta"]["attempt"] == 1


@pytest.mark.slow
def test_after_an_outage_longer_than_a_lease_nobody_takes_runs_from_the_living(
    start_supervisor, own_server, world
):
    """Idle time ran on while Redis was away: every lease looks lapsed (trap R10)."""
    hosts = [
        start_supervisor(own_server.url, **QUICK_LEASES, CREWPOOL_WORKERS=1).wait_idle(1)
        for _ in range(2)
    ]
    runs = [world.publish(plugin="sleeps", settings={"seconds": 6}) for _ in range(2)]
    for host in hosts:
        wait_until(lambda h=host: h.busy("sleeps"))
    own_server.stop()
    for host in hosts:
        away(host)
    stays_true(lambda: all(host.busy("sleeps") for host in hosts), 2.2)
    own_server.start()
    world = RedisWorld(own_server.client)

    wait_until(lambda: world.have_results(runs), 20)

    assert [world.result(run)["meta"]["attempt"] for run in runs] == [1, 1]
    world.assert_exactly_one_result(runs)
    for host in hosts:
        assert host.log_lines("run_reclaimed") == []
        assert host.log_lines("lease_lost") == []


def test_after_the_server_lost_everything_new_runs_are_taken(start_supervisor, redis_server):
    """FLUSHALL, or a restart without persistence (trap R13)."""
    world = RedisWorld(redis_server.client)
    supervisor = start_supervisor().wait_idle()
    world.client.flushall()
    runs = [world.publish() for _ in range(3)]

    wait_until(lambda: world.have_results(runs))

    world.assert_exactly_one_result(runs)
    world.assert_nothing_pending()
    assert supervisor.is_running


def test_a_run_whose_entry_was_flushed_away_is_stopped(start_supervisor, redis_server):
    world = RedisWorld(redis_server.client)
    supervisor = start_supervisor(**QUICK_LEASES).wait_idle()
    world.publish(plugin="sleeps")
    pid = wait_until(lambda: supervisor.busy("sleeps"))

    world.client.flushall()

    wait_until(lambda: not is_alive(pid))
    assert world.results() == []
    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_a_run_whose_entry_was_trimmed_still_has_its_result(start_supervisor, redis_server):
    """MAXLEN by a producer cuts pending entries too (trap R7)."""
    world = RedisWorld(redis_server.client)
    supervisor = start_supervisor(**QUICK_LEASES).wait_idle()
    run = world.publish(plugin="sleeps", settings={"seconds": 1.5})
    wait_until(lambda: supervisor.busy("sleeps"))
    world.client.xtrim("plugin:requests", maxlen=0, approximate=False)

    result = wait_until(lambda: world.result(run))

    assert result["status"] == "completed"
    assert supervisor.log_lines("entries_trimmed")
    assert supervisor.metric("crewpool_entries_trimmed_total") == 1
    world.assert_exactly_one_result([run])
    wait_until(lambda: not world.pending())


def test_a_run_whose_entry_was_trimmed_and_whose_worker_dies_is_answered(
    start_supervisor, redis_server
):
    world = RedisWorld(redis_server.client)
    supervisor = start_supervisor().wait_idle()
    run = world.publish(plugin="sleeps")
    pid = wait_until(lambda: supervisor.busy("sleeps"))
    world.client.xtrim("plugin:requests", maxlen=0, approximate=False)
    kill(pid)

    result = wait_until(lambda: world.result(run))
    assert result["status"] == "failed"
    assert "removed from its stream" in result["error"]
    world.assert_exactly_one_result([run])
    assert world.pending() == []


def test_a_server_without_memory_gets_the_result_later(start_supervisor, own_server, world):
    supervisor = start_supervisor(own_server.url, **QUICK_LEASES).wait_idle()
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))
    world.client.config_set("maxmemory", 1)
    wait_until(lambda: supervisor.log_lines("redis_refused", what="settle"))
    stays_true(lambda: supervisor.is_running and not world.results(), 2.5)

    world.client.config_set("maxmemory", 0)

    result = wait_until(lambda: world.result(run))
    assert (result["status"], result["meta"]["attempt"]) == ("completed", 1)
    world.assert_exactly_one_result([run])
    assert len(supervisor.log_lines("redis_refused")) < 20
