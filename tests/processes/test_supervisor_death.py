"""kill -9 of the supervisor: nothing of ours lives on, and its runs are finished by another."""

import os
import signal

import pytest

from tests.support.linux import is_alive, kill, living_below
from tests.support.plugins import write_crew
from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import stays_true, wait_until

# The promise is one second; the rest is for a machine that has other things to do.
WITHIN_S = 2


def everything_below(supervisor):
    return [process.pid for process in living_below(supervisor.pid)]


def test_no_process_is_left_of_an_idle_supervisor(supervisor):
    supervisor.wait_idle()
    pids = everything_below(supervisor)
    assert len(pids) == 3

    supervisor.kill()

    wait_until(lambda: not any(map(is_alive, pids)), WITHIN_S)


@pytest.mark.parametrize("plugin", ["sleeps", "spins-in-c", "ignores-term"])
def test_no_crew_lives_on(supervisor, world, plugin):
    for _ in range(2):
        world.publish(plugin=plugin)
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)
    pids = everything_below(supervisor)

    supervisor.kill()

    wait_until(lambda: not any(map(is_alive, pids)), WITHIN_S)


def test_no_crew_lives_on_when_the_zygote_is_killed_too(supervisor, world):
    """Then nobody sweeps up: the kernel alone must do it."""
    for plugin in ("spins-in-c", "ignores-term"):
        world.publish(plugin=plugin)
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)
    pids = everything_below(supervisor)

    supervisor.signal(signal.SIGSTOP)
    kill(supervisor.zygote().pid)
    supervisor.kill()

    wait_until(lambda: not any(map(is_alive, pids)), WITHIN_S)


def test_no_daemon_with_an_empty_environment_lives_on(start_supervisor, world, tmp_path):
    """The mark by which it is found stands in a limit, too."""
    file = tmp_path / "daemon.pid"
    daemon = "subprocess.Popen(['sleep', '600'], start_new_session=True, env={})"
    plugins = write_crew(
        tmp_path / "plugins",
        "sheds",
        f"open({str(file)!r}, 'w').write(str({daemon}.pid)); time.sleep(600)",
    )
    supervisor = start_supervisor(plugin_dir=plugins)
    world.publish(plugin="sheds")
    pid = wait_until(lambda: file.exists() and file.read_text()) and int(file.read_text())

    supervisor.kill()

    wait_until(lambda: not is_alive(pid), WITHIN_S)


def test_no_daemon_of_a_crew_lives_on(supervisor, world, tmp_path):
    files = [tmp_path / "forked.pid", tmp_path / "spinning.pid"]
    world.publish(plugin="forks", settings={"pid_file": str(files[0]), "then": "sleep"})
    world.publish(plugin="spins-in-c", settings={"pid_file": str(files[1]), "daemon": True})
    wait_until(lambda: all(file.exists() for file in files))
    pids = everything_below(supervisor)
    assert {int(file.read_text()) for file in files} < set(pids)

    supervisor.kill()

    wait_until(lambda: not any(map(is_alive, pids)), WITHIN_S)


def test_no_program_that_a_crew_started_lives_on(start_supervisor, world, tmp_path):
    """A program that was exec'd in a session of its own, and daemonized."""
    plugins = write_crew(
        tmp_path,
        "starts",
        """
        subprocess.Popen(["sh", "-c", "sleep 600 & echo $! > pid.new; mv pid.new pid"],
                         start_new_session=True, cwd=settings["folder"])
        time.sleep(60)
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins)
    world.publish(plugin="starts", settings={"folder": str(tmp_path)})
    program = int(wait_until(lambda: (f := tmp_path / "pid").exists() and f.read_text()))
    assert is_alive(program)

    supervisor.kill()

    wait_until(lambda: not is_alive(program), WITHIN_S)


def test_nothing_lives_on_of_a_supervisor_that_was_killed_at_its_start(start_supervisor, tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(30)")
    supervisor = start_supervisor(
        wait=False, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="slow_to_import"
    )
    wait_until(lambda: "crewpool zygote importing" in supervisor.titles())
    pids = everything_below(supervisor)

    supervisor.kill()

    wait_until(lambda: not any(map(is_alive, pids)), WITHIN_S)


def test_another_supervisor_finishes_the_runs(start_supervisor, world):
    first = start_supervisor(**QUICK_LEASES)
    runs = [world.publish(plugin="sleeps", settings={"seconds": 1}) for _ in range(2)]
    waiting = [world.publish() for _ in range(2)]
    wait_until(lambda: len(world.pending()) == 2)
    first.kill()

    second = start_supervisor(**QUICK_LEASES)

    wait_until(lambda: world.have_results(runs + waiting), 15)
    world.assert_exactly_one_result(runs + waiting)
    world.assert_nothing_pending()
    assert [world.result(run)["meta"]["attempt"] for run in runs] == [2, 2]
    reclaimed = second.log_lines("run_reclaimed")
    assert {line["run"] for line in reclaimed} == set(runs)
    assert second.stop() == 0
    assert [name for name in world.consumers() if name.startswith(second.host)] == []


def test_runs_that_are_lost_again_and_again_become_dead_letters(start_supervisor, world):
    """What kills whole hosts must not go round for ever."""
    run = world.publish(plugin="sleeps", settings={"seconds": 600})
    for _ in range(2):
        host = start_supervisor(**QUICK_LEASES, CREWPOOL_MAX_ATTEMPTS=2)
        wait_until(lambda h=host: h.busy("sleeps"), 15)
        host.kill()

    start_supervisor(**QUICK_LEASES, CREWPOOL_MAX_ATTEMPTS=2)

    result = wait_until(lambda: world.result(run), 15)
    assert result["error"] == "Lost with its supervisor on attempt 2 of 2"
    (letter,) = world.dead_letters()
    assert (letter["class"], letter["attempts"]) == ("lost", "2")
    world.assert_exactly_one_result([run])


def test_a_supervisor_that_was_stopped_too_long_gives_its_run_up(start_supervisor, world):
    """SIGSTOP, a paused container, a laptop that slept: the lease lapses, another runs it."""
    frozen = start_supervisor(**QUICK_LEASES, CREWPOOL_WORKERS=1)
    run = world.publish(plugin="sleeps", settings={"seconds": 3})
    pid = wait_until(lambda: frozen.busy("sleeps"))
    frozen.signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    other = start_supervisor(**QUICK_LEASES, CREWPOOL_WORKERS=1)
    wait_until(lambda: other.busy("sleeps"), 15)

    frozen.signal(signal.SIGCONT)

    wait_until(lambda: frozen.log_lines("lease_lost", run=run))
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: world.result(run), 15)
    assert world.result(run)["meta"]["attempt"] == 2
    world.assert_exactly_one_result([run])
    assert frozen.is_running


def test_a_supervisor_does_not_reclaim_its_own_runs_after_it_was_stopped(start_supervisor, world):
    supervisor = start_supervisor(**QUICK_LEASES, CREWPOOL_WORKERS=1)
    run = world.publish(plugin="sleeps", settings={"seconds": 3})
    wait_until(lambda: supervisor.busy("sleeps"))
    supervisor.signal(signal.SIGSTOP)
    stays_true(lambda: len(world.pending()) == 1, 2.5)
    supervisor.signal(signal.SIGCONT)

    assert wait_until(lambda: world.result(run))["meta"]["attempt"] == 1
    assert supervisor.log_lines("run_reclaimed") == []


def test_the_next_supervisor_removes_what_a_killed_one_left_on_disk(start_supervisor, tmp_path):
    storage = tmp_path / "shared"
    storage.mkdir()
    first = start_supervisor(CREWPOOL_STORAGE_DIR=storage)
    first.kill()
    (left,) = storage.iterdir()

    start_supervisor(CREWPOOL_STORAGE_DIR=storage)

    (now,) = storage.iterdir()
    assert now != left


def test_no_worker_stays_that_was_being_forked_at_that_moment(start_supervisor):
    for _ in range(4):
        supervisor = start_supervisor(CREWPOOL_WORKERS=4).wait_idle(4)
        zygote = supervisor.zygote().pid
        for pid in supervisor.worker_pids().values():
            kill(pid)
        wait_until(lambda s=supervisor: s.log_lines("worker_died"))
        supervisor.kill()
        wait_until(lambda z=zygote: not is_alive(z), WITHIN_S)

        wait_until(lambda: not living_below(os.getpid(), "crewpool"), WITHIN_S)
