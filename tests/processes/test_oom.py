"""A real limit of memory, and the real kernel that kills for it."""

import os
from pathlib import Path

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@pytest.fixture
def cgroup():
    """A memory cgroup of ours, or a skip with the reason."""
    is_v2 = (V2 / "cgroup.controllers").exists()
    group = (V2 if is_v2 else V1) / f"crewpool-test-{os.getpid()}"
    limit = group / ("memory.max" if is_v2 else "memory.limit_in_bytes")
    try:
        group.mkdir()
        limit.write_text(str(200 * 2**20))
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), what="nobody is in it")
    group.rmdir()


def test_a_run_that_the_kernel_killed_is_oom_and_tried_again(
    start_supervisor, world, tmp_path, cgroup
):
    plugins = write_crew(tmp_path, "eats", "x = bytearray(400 * 2**20); return str(len(x))")
    retry = '{"oom": {"attempts": 2, "backoff_s": 0.1}}'
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1, CREWPOOL_RETRY=retry)
    supervisor.wait_idle(1)
    # As in a container: all in one group. The kernel takes the largest, which is the crew.
    for pid in (supervisor.pid, supervisor.zygote().pid, *supervisor.worker_pids().values()):
        (cgroup / "cgroup.procs").write_text(str(pid))

    run_id = world.publish(plugin="eats")

    wait_until(lambda: world.result(run_id), 30, "it has a result")
    causes = [line["cause"] for line in supervisor.log_lines("run_died", run=run_id)]
    result = world.result(run_id)
    supervisor.stop()
    assert causes == ["oom", "oom"]
    assert "for want of memory" in result["error"]
    (letter,) = world.dead_letters()
    assert (letter["class"], letter["attempts"]) == ("oom", "2")
