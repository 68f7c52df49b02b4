"""What each signal does to a supervisor."""

import shutil
import signal
import time

import pytest

from tests.support.linux import cpu_s, is_alive, kill
from tests.support.plugins import write_crew
from tests.support.waiting import stays_true, wait_until

pytestmark = pytest.mark.alone


def test_term_ends_an_idle_supervisor_within_a_second(supervisor):
    supervisor.wait_idle()
    began = time.monotonic()

    assert supervisor.stop() == 0

    assert time.monotonic() - began < 1
    assert supervisor.log_lines("stopped", exit=0)


def test_a_clean_end_leaves_nothing_in_redis_or_on_disk(supervisor, world):
    run = world.publish()
    wait_until(lambda: world.result(run))
    assert supervisor.stop() == 0

    assert list((supervisor.folder / "storage").iterdir()) == []
    assert not world.client.keys("crewpool:host:*")
    assert world.client.zcard("crewpool:hosts") == 0
    assert world.consumers() == {}


def test_int_stops_at_once_and_hands_back(supervisor, world):
    run = world.publish(plugin="sleeps")
    pid = wait_until(lambda: supervisor.busy("sleeps"))

    supervisor.signal(signal.SIGINT)

    assert supervisor.wait_exit(3) == 4
    assert not is_alive(pid)
    assert world.pending() == []
    assert world.results() == []
    (_, fields) = world.entries()[-1]
    assert run in fields["payload"]
    assert fields["attempt"] == "1"


def test_int_ends_an_idle_supervisor_with_zero(supervisor):
    supervisor.wait_idle()
    supervisor.signal(signal.SIGINT)

    assert supervisor.wait_exit(2) == 0


def test_a_second_term_does_not_wait_for_crews(supervisor, world):
    world.publish(plugin="sleeps")
    pid = wait_until(lambda: supervisor.busy("sleeps"))
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: supervisor.log_lines("asked", ask="drain"))
    assert is_alive(pid)

    supervisor.signal(signal.SIGTERM)

    assert supervisor.wait_exit(3) == 4
    assert world.pending() == []


def test_quit_shows_the_stacks_and_stops(supervisor, world):
    run = world.publish(plugin="spins-in-c")
    pid = wait_until(lambda: supervisor.busy("spins-in-c"))
    # Its title is there before its code is: a process that burns CPU is in the loop.
    wait_until(lambda: cpu_s(pid) > 0.5, what="it spins")

    supervisor.signal(signal.SIGQUIT)

    assert supervisor.wait_exit(3) == 4
    said = "\n".join(supervisor.said(run))
    assert "most recent call first" in said
    assert "in kickoff" in said


def test_ttin_and_ttou_change_the_number_of_workers(supervisor, world):
    supervisor.wait_idle(2)

    supervisor.signal(signal.SIGTTIN)
    supervisor.wait_idle(3)
    supervisor.signal(signal.SIGTTOU)
    supervisor.wait_idle(2)
    supervisor.signal(signal.SIGTTOU)
    supervisor.wait_idle(1)

    assert list(supervisor.worker_pids()) == [0]
    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_ttou_waits_for_the_run_of_the_surplus_worker(supervisor, world):
    runs = [world.publish(plugin="sleeps", settings={"seconds": 1}) for _ in range(2)]
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    supervisor.signal(signal.SIGTTOU)

    wait_until(lambda: world.have_results(runs))
    assert [world.result(run)["status"] for run in runs] == ["completed"] * 2
    supervisor.wait_idle(1)


def test_a_run_is_not_stranded_on_a_slot_that_ttou_takes_away(start_supervisor, world):
    """The slot waits for an entry in Redis when its worker goes."""
    supervisor = start_supervisor(CREWPOOL_WORKERS=1).wait_idle(1)
    supervisor.signal(signal.SIGTTOU)
    wait_until(lambda: supervisor.workers() == {})
    run = world.publish()
    supervisor.signal(signal.SIGTTIN)

    assert wait_until(lambda: world.result(run), 5)["status"] == "completed"
    assert world.result(run)["meta"]["attempt"] == 1


def test_what_a_slot_took_for_a_worker_that_left_is_run_by_another(start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_WORKERS=2).wait_idle(2)
    supervisor.signal(signal.SIGTTOU)
    supervisor.wait_idle(1)

    runs = [world.publish() for _ in range(6)]

    wait_until(lambda: world.have_results(runs), 5)
    world.assert_exactly_one_result(runs)
    world.assert_nothing_pending()


def test_without_workers_it_costs_no_processor_time(supervisor):
    supervisor.wait_idle()
    # One by one: two signals of a kind that come at once are one for the kernel.
    supervisor.signal(signal.SIGTTOU)
    supervisor.wait_idle(1)
    supervisor.signal(signal.SIGTTOU)
    wait_until(lambda: supervisor.workers() == {})
    kill(supervisor.zygote().pid)
    wait_until(lambda: supervisor.log_lines("zygote_died"))

    before = cpu_s(supervisor.pid)
    stays_true(lambda: supervisor.is_running, 1)
    assert cpu_s(supervisor.pid) - before < 0.3


def test_usr1_writes_what_is_going_on_to_the_log(supervisor, world):
    run = world.publish(plugin="sleeps")
    wait_until(lambda: supervisor.busy("sleeps"))

    supervisor.signal(signal.SIGUSR1)

    lines = wait_until(lambda: supervisor.log_lines("snapshot"))
    assert {line["state"] for line in lines} == {"busy", "idle"}
    (busy,) = [line for line in lines if line["state"] == "busy"]
    assert (busy["run"], busy["plugin"], busy["attempt"]) == (run, "sleeps", "1")
    assert supervisor.is_running


def test_hup_brings_changed_code_while_a_busy_worker_finishes(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path, "says", 'time.sleep(settings["s"]); return "old"')
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    before = supervisor.worker_pids()
    zygote = supervisor.zygote().pid
    busy = world.publish(plugin="says", settings={"s": 2})
    busy_pid = wait_until(lambda: supervisor.busy("says"))
    # Not of the same length: with the same second it would be the same file to the importer.
    write_crew(tmp_path, "says", 'time.sleep(settings["s"]); return "newer"')

    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: len(supervisor.log_lines("zygote_ready")) == 2)
    wait_until(lambda: set(supervisor.worker_pids().values()) - set(before.values()))
    after = world.publish(plugin="says", settings={"s": 0})

    wait_until(lambda: world.result(after))
    assert world.output(after)["summary"] == "newer"
    assert world.result(busy) is None
    assert is_alive(busy_pid)
    wait_until(lambda: world.result(busy))
    assert world.output(busy)["summary"] == "old"
    wait_until(lambda: not set(supervisor.worker_pids().values()) & set(before.values()))
    supervisor.wait_idle()
    assert not is_alive(zygote)


def test_hup_brings_a_new_plugin_and_no_old_worker_gets_a_run_of_it(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path / "plugins", "old", 'return "old"')
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=4).wait_idle(4)
    write_crew(plugins, "fresh", 'return "fresh"')

    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: len(supervisor.log_lines("zygote_ready")) == 2)
    # Now, while workers that have never heard of it are still there.
    runs = [world.publish(plugin="fresh") for _ in range(8)]

    wait_until(lambda: world.have_results(runs))
    assert [world.output(run)["summary"] for run in runs] == ["fresh"] * 8


def test_hup_takes_a_removed_plugin_away(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path, "gone", 'return "x"')
    write_crew(tmp_path, "stays", 'return "x"')
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    shutil.rmtree(plugins / "gone")
    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: len(supervisor.log_lines("zygote_ready")) == 2)

    run = world.publish(plugin="gone")

    assert "gone" in wait_until(lambda: world.result(run))["error"]
    assert supervisor.log_lines("reloaded", changed="gone")
    assert world.dead_letters()[0]["reason"] == "unknown_plugin"


def test_many_hups_at_once_end_with_a_whole_pool(supervisor, world):
    supervisor.wait_idle()
    for _ in range(5):
        supervisor.signal(signal.SIGHUP)

    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"
    wait_until(lambda: len(supervisor.log_lines("zygote_ready")) >= 2)
    wait_until(lambda: len(supervisor.titles()) == 3)
    supervisor.wait_idle()


def test_hup_while_draining_does_not_bring_it_back(supervisor, world):
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))
    supervisor.signal(signal.SIGTERM)
    wait_until(lambda: supervisor.log_lines("asked", ask="drain"))
    supervisor.signal(signal.SIGHUP)

    assert supervisor.wait_exit() == 0
    assert world.result(run)["status"] == "completed"
