"""Runs wait for memory: a real cgroup with a real limit, in which nothing may be killed."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

MB = 2**20
V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
IS_V2 = (V2 / "cgroup.controllers").exists()
LIMIT_BYTES = 256 * MB
EATS = "x = b'x' * (60 * 2**20); time.sleep(0.4); return str(len(x))"


@pytest.fixture
def cgroup():
    """A memory cgroup of 256 MiB, or a skip with the reason."""
    group = (V2 if IS_V2 else V1) / f"crewpool-admission-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.max" if IS_V2 else "memory.limit_in_bytes")).write_text(str(LIMIT_BYTES))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), what="nobody is in it")
    group.rmdir()


def enter(group, supervisor):
    """Put all processes of a supervisor into a cgroup, as into a container."""
    for pid in (supervisor.pid, supervisor.zygote().pid, *supervisor.worker_pids().values()):
        (group / "cgroup.procs").write_text(str(pid))
    wait_until(
        lambda: supervisor.metric("crewpool_memory_limit_bytes") == LIMIT_BYTES,
        what="it knows its limit",
    )


def kills_in(group):
    text = (group / ("memory.events" if IS_V2 else "memory.oom_control")).read_text()
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])


def peak_of(group):
    name = "memory.peak" if IS_V2 else "memory.max_usage_in_bytes"
    return int((group / name).read_text())


@pytest.mark.alone
def test_in_a_small_container_runs_wait_and_none_is_killed(
    cgroup, start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path, "eats", EATS)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=6)
    supervisor.wait_idle(6)
    enter(cgroup, supervisor)

    # Six at a time would need 360 MiB.
    runs = [world.publish(plugin="eats") for _ in range(12)]
    wait_until(lambda: world.have_results(runs), 40, "all have a result")

    assert {world.result(run)["error"] for run in runs} == {""}
    assert {world.result(run)["meta"]["attempt"] for run in runs} == {1}
    assert kills_in(cgroup) == 0
    # Once it was known what they need, there was room for more than one.
    assert peak_of(cgroup) > 120 * MB
    assert supervisor.log_lines("admission_closed")
    assert not supervisor.log_lines("run_died")
    world.assert_exactly_one_result(runs)


def test_one_run_begins_above_the_mark_when_nothing_else_runs(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path, "waits", "time.sleep(0.3); return '# Waited'")
    supervisor = start_supervisor(
        plugin_dir=plugins, CREWPOOL_WORKERS=3, CREWPOOL_MEMORY_MARK="0.000001"
    )

    runs = [world.publish(plugin="waits") for _ in range(4)]
    most = 0

    def all_ended():
        nonlocal most
        most = max(most, supervisor.metric("crewpool_workers", state="busy"))
        return world.have_results(runs)

    wait_until(all_ended, 30, "all have a result")
    assert most == 1
    assert supervisor.log_lines("admission_closed", because="memory")
    assert supervisor.readiness()[0] == 200


@pytest.mark.alone
def test_a_run_that_waits_for_memory_goes_to_another_host_without_an_attempt(
    cgroup, start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path, "waits", "time.sleep(settings['s']); return '# Waited'")
    full = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=2)
    full.wait_idle(2)
    enter(cgroup, full)
    full.signal(signal.SIGSTOP)  # so that it finds both at once
    runs = [world.publish(plugin="waits", settings={"s": s}) for s in (60, 0.1)]
    full.signal(signal.SIGCONT)
    # Nobody knows yet what this plugin needs: beside the first there is no room.
    wait_until(lambda: full.log_lines("admission_closed", because="no_room"))
    wait_until(lambda: len(world.pending()) == 2, what="it has both")
    roomy = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)

    wait_until(lambda: world.result(runs[1]), 20, "the other host has run it")

    result = world.result(runs[1])
    assert (result["status"], result["meta"]["attempt"]) == ("completed", 1)
    assert result["meta"]["worker"].startswith(roomy.host)
    (back,) = full.log_lines("run_handed_back", run=runs[1])
    assert back["because"].startswith("no_room: ")
    assert full.metric("crewpool_handed_back_total", cause="no_room") == 1
