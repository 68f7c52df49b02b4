"""The zygote can go at any time, and nobody but new workers needs it."""

import os
import signal
from pathlib import Path

from tests.support.linux import is_alive, kill, living_below
from tests.support.plugins import write_crew
from tests.support.waiting import stays_true, wait_until


def test_when_it_is_killed_no_run_is_disturbed_and_a_new_one_comes(supervisor, world):
    runs = [world.publish(plugin="sleeps", settings={"seconds": 1.5}) for _ in range(2)]
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)
    before, workers = supervisor.zygote().pid, supervisor.worker_pids()

    kill(before)

    wait_until(lambda: (z := supervisor.zygote()) and z.pid != before)
    wait_until(lambda: world.have_results(runs))
    assert [world.result(run)["meta"]["attempt"] for run in runs] == [1, 1]
    assert supervisor.worker_pids() == workers
    assert supervisor.log_lines("zygote_died", pid=before, reason="it ended with SIGKILL")
    assert supervisor.metric("crewpool_zygote_restarts") == 1


def test_the_pool_is_whole_again_after_zygote_and_workers_were_killed(supervisor, world):
    supervisor.wait_idle()
    pids = [process.pid for process in living_below(supervisor.pid)]
    for pid in pids:
        kill(pid)

    wait_until(lambda: not any(map(is_alive, pids)))
    supervisor.wait_idle()

    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_polite_signals_do_not_end_it(supervisor):
    supervisor.wait_idle()
    zygote = supervisor.zygote().pid
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(zygote, signum)

    stays_true(lambda: is_alive(zygote), 0.3)


def test_one_that_hangs_is_replaced(start_supervisor, world):
    """Its order is never carried out: boot timeout, then a zygote that works."""
    supervisor = start_supervisor(CREWPOOL_BOOT_TIMEOUT_S=1, CREWPOOL_WORKERS=1).wait_idle(1)
    hung = supervisor.zygote().pid
    os.kill(hung, signal.SIGSTOP)
    kill(supervisor.worker_pids()[0])
    wait_until(lambda: supervisor.log_lines("worker_died"))

    supervisor.wait_idle(1, within_s=15)

    assert not is_alive(hung)
    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_a_worker_that_cannot_boot_is_tried_again_and_its_reason_is_in_the_log(start_supervisor):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1).wait_idle(1)
    # A worker enters the folder of its slot.
    storage = next((supervisor.folder / "storage").iterdir())
    moved = storage.with_name("moved")
    storage.rename(moved)
    storage.write_text("a file where a folder should be")
    kill(supervisor.worker_pids()[0])
    wait_until(lambda: supervisor.log_lines("worker_died", how="exit 70"))
    storage.unlink()
    moved.rename(storage)

    supervisor.wait_idle(1)

    assert "NotADirectoryError" in supervisor.log()


def test_reloads_that_fail_leave_the_pool_at_work(start_supervisor, world, tmp_path):
    module = tmp_path / "breaks_later.py"
    module.write_text("")
    supervisor = start_supervisor(PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="breaks_later").wait_idle()
    module.write_text("raise RuntimeError('broken by an update')")
    zygote = supervisor.zygote().pid

    for count in range(1, 7):
        supervisor.signal(signal.SIGHUP)
        wait_until(lambda c=count: len(supervisor.log_lines("zygote_died")) == c)
        assert supervisor.is_running

    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"
    assert supervisor.zygote().pid == zygote
    assert "broken by an update" in supervisor.log_lines("zygote_died")[-1]["reason"]


def test_it_leaves_when_its_supervisor_is_gone(supervisor):
    supervisor.wait_idle()
    zygote = supervisor.zygote().pid

    supervisor.kill()

    wait_until(lambda: not is_alive(zygote), 2)


def test_it_has_one_thread_and_no_file_of_its_own(supervisor):
    supervisor.wait_idle()
    zygote = supervisor.zygote()

    assert zygote.num_threads() == 1
    links = [str(fd.readlink()) for fd in Path(f"/proc/{zygote.pid}/fd").iterdir()]
    assert sum(link.startswith("socket:") for link in links) == 1
    assert not [link for link in links if "pipe:" in link]


def test_what_plugins_imported_is_shared_and_not_repeated(start_supervisor, world, tmp_path):
    (tmp_path / "counts.py").write_text(
        f"open({str(tmp_path / 'imports')!r}, 'a').write('import\\n')\n"
    )
    plugins = write_crew(tmp_path / "plugins", "quick", 'import counts; return "x"')
    supervisor = start_supervisor(
        plugin_dir=plugins, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="counts"
    ).wait_idle()
    for pid in supervisor.worker_pids().values():
        kill(pid)
    runs = [world.publish(plugin="quick") for _ in range(4)]

    wait_until(lambda: world.have_results(runs))

    assert (tmp_path / "imports").read_text() == "import\n"
