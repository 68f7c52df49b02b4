"""A run that overruns is dead on time, with all that it started; its slot goes on at once."""

import signal
from dataclasses import dataclass
from datetime import datetime

import psutil
import pytest

from tests.support.linux import is_alive, pid_in
from tests.support.plugins import write_crew
from tests.support.redis_world import RedisWorld, assert_keeps_the_contract
from tests.support.supervisors import SupervisorProcess
from tests.support.waiting import stays_true, wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.alone

OVERRAN = "Workflow exceeded 2s timeout"
PLUGINS = ("sleeps", "spins", "spins-in-c", "ignores-term")


@dataclass
class Overrun:
    """What one supervisor left that had one crew of each kind overrun, all at the same time."""

    supervisor: SupervisorProcess
    runs: dict
    alive: dict
    results: list
    letters: list
    pending: list


@pytest.fixture(scope="module")
def overrun(any_server, tmp_path_factory):
    any_server.empty()
    world = RedisWorld(any_server.client)
    with Yard(tmp_path_factory.mktemp("overrun")) as yard:
        supervisor = yard.start(any_server.url, CREW_TIMEOUT_SECONDS=2, CREWPOOL_WORKERS=4)
        runs = {plugin: world.publish(plugin=plugin) for plugin in PLUGINS}
        pids = {plugin: wait_until(lambda p=plugin: supervisor.busy(p)) for plugin in PLUGINS}
        wait_until(lambda: world.have_results(runs.values()))
        alive = {plugin: is_alive(pid) for plugin, pid in pids.items()}
        # Not kept running: it would take the runs of other tests.
        return Overrun(
            supervisor, runs, alive, world.results(), world.dead_letters(), world.pending()
        )


@pytest.fixture
def supervisor(start_supervisor):
    """Two workers, and two seconds a run."""
    return start_supervisor(CREW_TIMEOUT_SECONDS=2).wait_idle()


def seconds_between(earlier, later):
    times = [datetime.fromisoformat(line.raw.split()[0]) for line in (earlier, later)]
    return (times[1] - times[0]).total_seconds()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_whatever_a_crew_does_it_is_over_at_its_timeout(overrun, plugin):
    (result,) = [r for r in overrun.results if r["plugin_run_id"] == overrun.runs[plugin]]

    assert (result["status"], result["error"], result["output"]) == ("failed", OVERRAN, "")
    assert_keeps_the_contract(result)
    assert not overrun.alive[plugin]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_it_is_killed_neither_before_nor_long_after(overrun, plugin):
    run = overrun.runs[plugin]
    (started,) = overrun.supervisor.log_lines("run_started", run=run)
    (killed,) = overrun.supervisor.log_lines("worker_killed", because="timeout", run=run)

    assert 1.99 <= seconds_between(started, killed) < 3.5


@pytest.mark.parametrize("plugin", ["sleeps", "spins", "spins-in-c"])
def test_the_log_shows_the_stacks_of_a_crew_that_overran(overrun, plugin):
    said = "\n".join(overrun.supervisor.said(overrun.runs[plugin]))

    assert "most recent call first" in said
    assert "in kickoff" in said


def test_an_overrun_is_one_result_and_one_dead_letter(overrun):
    assert len(overrun.results) == len(PLUGINS)
    assert [letter["class"] for letter in overrun.letters] == ["timeout"] * len(PLUGINS)
    assert overrun.pending == []


def test_a_plugin_may_ask_for_another_timeout(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path, "hasty", "time.sleep(60)", manifest="timeout_s: 0.5")
    start_supervisor(plugin_dir=plugins, CREW_TIMEOUT_SECONDS=60)

    run = world.publish(plugin="hasty")

    result = wait_until(lambda: world.result(run))
    assert result["error"] == "Workflow exceeded 0.5s timeout"


def test_the_slot_runs_the_next_crew_by_a_fork_and_not_by_an_import(supervisor, world):
    zygote, before = supervisor.zygote().pid, supervisor.worker_pids()
    overrunning = [world.publish(plugin="spins-in-c") for _ in range(2)]
    waiting = [world.publish() for _ in range(2)]

    wait_until(lambda: world.have_results(overrunning + waiting))

    assert supervisor.zygote().pid == zygote
    assert len(supervisor.log_lines("zygote_ready")) == 1
    assert not set(before.values()) & set(supervisor.worker_pids().values())
    killed = supervisor.log_lines("worker_killed", because="timeout")[-1]
    started = [supervisor.log_lines("run_started", run=run)[0] for run in waiting]
    assert all(seconds_between(killed, line) < 1 for line in started)
    assert [world.result(run)["status"] for run in waiting] == ["completed"] * 2


def test_a_daemonized_grandchild_dies_with_its_run(supervisor, world, tmp_path):
    file = tmp_path / "daemon.pid"
    run = world.publish(plugin="spins-in-c", settings={"daemon": True, "pid_file": str(file)})
    daemon = pid_in(file)
    # It stays below its worker, whatever it did to get away; once its parent has left, that is.
    wait_until(lambda: psutil.Process(daemon).ppid() == supervisor.busy("spins-in-c"), 1.5)

    wait_until(lambda: world.result(run))

    assert not is_alive(daemon)


@pytest.mark.usefixtures("supervisor")
def test_a_daemon_of_a_crew_that_sleeps_dies_with_its_run(world, tmp_path):
    file = tmp_path / "daemon.pid"
    run = world.publish(plugin="forks", settings={"pid_file": str(file), "then": "sleep"})
    daemon = pid_in(file)

    wait_until(lambda: world.result(run))

    assert not is_alive(daemon)


def test_a_storm_of_forks_is_over_at_the_timeout(start_supervisor, world, tmp_path):
    """Hundreds of processes, new ones all the time, each in a session of its own."""
    plugins = write_crew(
        tmp_path,
        "storms",
        """
        end = time.monotonic() + 20
        for _ in range(8):
            if os.fork() == 0:
                while time.monotonic() < end:
                    if os.fork() == 0:
                        os.setsid()
                        time.sleep(20)
                        os._exit(0)
                    time.sleep(0.02)
                os._exit(0)
        time.sleep(60)
        """,
        manifest="timeout_s: 1.5",
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    run = world.publish(plugin="storms")
    pid = wait_until(lambda: supervisor.busy("storms"))

    wait_until(lambda: world.result(run), 20)

    assert not is_alive(pid)
    wait_until(lambda: supervisor.titles() == ["crewpool s0 idle", "crewpool zygote"])


def test_a_process_that_is_never_the_same_for_long_does_not_get_away(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(
        tmp_path,
        "hops",
        """
        end = time.monotonic() + 15
        if os.fork() == 0:
            while time.monotonic() < end:
                if os.fork():
                    os._exit(0)
            os._exit(0)
        time.sleep(60)
        """,
        manifest="timeout_s: 1",
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    run = world.publish(plugin="hops")

    wait_until(lambda: world.result(run))

    wait_until(lambda: supervisor.titles() == ["crewpool s0 idle", "crewpool zygote"], 5)


def test_a_run_that_ends_in_time_is_not_killed(supervisor, world):
    runs = [world.publish(plugin="sleeps", settings={"seconds": 1.5}) for _ in range(2)]

    wait_until(lambda: world.have_results(runs))

    assert [world.result(run)["status"] for run in runs] == ["completed"] * 2
    assert supervisor.log_lines("worker_killed") == []


def test_a_supervisor_that_was_stopped_does_not_kill_a_run_that_ended_in_time(supervisor, world):
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    pid = wait_until(lambda: supervisor.busy("sleeps"))
    supervisor.signal(signal.SIGSTOP)
    # Its title says that the crew is over; the supervisor cannot have heard of it.
    wait_until(lambda: not supervisor.busy("sleeps"), 5)
    stays_true(lambda: is_alive(pid), 1.5)
    supervisor.signal(signal.SIGCONT)

    assert wait_until(lambda: world.result(run))["status"] == "completed"
    assert supervisor.log_lines("worker_killed") == []
