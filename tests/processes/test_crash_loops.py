"""Workers that die again and again: each slot waits longer, and what is hopeless ends."""

import os
import signal

import pytest

from tests.support.linux import kill
from tests.support.waiting import wait_until


def waits(supervisor):
    return [line["wait_s"] for line in supervisor.log_lines("slot_backs_off")]


def test_a_slot_backs_off_until_a_run_ends_in_it(start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_MAX_ATTEMPTS=1).wait_idle(1)

    def crash():
        run = world.publish(plugin="crashes", settings={"how": "kill"})
        assert wait_until(lambda: world.result(run))["status"] == "failed"
        # Its death is told before the next worker is ordered.
        supervisor.wait_idle(1)

    crash()
    assert waits(supervisor) == []
    crash()
    crash()
    assert waits(supervisor) == ["1", "2"]

    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"
    crash()
    assert waits(supervisor) == ["1", "2"]


def test_our_own_kills_are_no_crash_loop(start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREW_TIMEOUT_SECONDS=0.2)
    runs = [world.publish(plugin="sleeps") for _ in range(4)]

    wait_until(lambda: world.have_results(runs))

    assert {world.result(run)["error"] for run in runs} == {"Workflow exceeded 0.2s timeout"}
    assert waits(supervisor) == []


def test_orders_that_died_with_their_zygote_are_no_failures_of_workers(start_supervisor, world):
    """More of them at once than failures in a row are borne."""
    supervisor = start_supervisor(CREWPOOL_WORKERS=8).wait_idle(8)
    zygote = supervisor.zygote().pid
    os.kill(zygote, signal.SIGSTOP)
    for pid in supervisor.worker_pids().values():
        kill(pid)
    wait_until(lambda: supervisor.metric("crewpool_workers", state="booting") == 8)

    kill(zygote)

    supervisor.wait_idle(8)
    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_what_was_asked_for_a_slot_that_cannot_boot_is_run_in_others(
    start_supervisor, world, tmp_path
):
    ill = tmp_path / "ill"
    (tmp_path / "stillborn.py").write_text(
        "import os\n"
        "zygote = os.getpid()\n"
        "def die():\n"
        f"    if os.getppid() != zygote and os.path.exists({str(ill)!r}):\n"
        "        os._exit(7)\n"
        "os.register_at_fork(after_in_child=die)\n"
    )
    supervisor = start_supervisor(PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="stillborn").wait_idle()
    ill.touch()
    kill(supervisor.worker_pids()[0])
    wait_until(lambda: len(supervisor.log_lines("worker_died", how="exit 7")) == 2)

    runs = [world.publish() for _ in range(4)]
    wait_until(lambda: world.have_results(runs))

    assert {world.result(run)["meta"]["worker"] for run in runs} == {f"{supervisor.host}.s1"}
    assert {world.result(run)["meta"]["attempt"] for run in runs} == {1}
    ill.unlink()
    supervisor.wait_idle()


@pytest.mark.slow
def test_workers_that_cannot_boot_end_it_with_3_and_their_reason(start_supervisor, tmp_path):
    """The zygote can, and so can the process between: a worker is forked twice."""
    (tmp_path / "stillborn.py").write_text(
        "import os\n"
        "zygote = os.getpid()\n"
        "os.register_at_fork(after_in_child=lambda: os.getppid() == zygote or os._exit(7))\n"
    )
    supervisor = start_supervisor(wait=False, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="stillborn")

    assert supervisor.wait_exit(60) == 3
    (told,) = supervisor.log_lines("gave_up")
    assert "after 5 failures in a row: a worker ended at boot with exit 7" in told["reason"]
    assert supervisor.log_lines("zygote_died") == []
