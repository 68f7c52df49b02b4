"""Workers by the CPUs that there are, and where each of them runs."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.plugins import write_crew
from tests.support.supervisors import COMMAND, ROOT
from tests.support.waiting import wait_until

V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
OURS = """
import os, subprocess, sys, threading
own = [os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))]
code = "import os; print([os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))])"
child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
return str(own) + "|" + child.stdout.strip()
"""


@pytest.fixture
def cgroup():
    """A CPU cgroup with a quota of 1.5 CPUs, or a skip with the reason."""
    is_v2 = (V2 / "cgroup.controllers").exists()
    group = (V2 if is_v2 else V1) / f"crewpool-test-{os.getpid()}"
    try:
        group.mkdir()
        if is_v2:
            (group / "cpu.max").write_text("150000 100000")
        else:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("150000")
    except OSError as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no CPU cgroup can be made here: {error}")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text(), what="nobody is in it")
    group.rmdir()


def test_auto_counts_the_quota_of_a_real_cgroup(cgroup):
    def enter():
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))

    shown = subprocess.run(
        [COMMAND[0], "config", "show"],
        env={"PATH": os.environ["PATH"], "CREWPOOL_WORKERS": "auto"},
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=enter,  # it takes no lock
    )

    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("workers ")]
    assert line.split() == ["workers", "CREWPOOL_WORKERS", "environment", "1"]


def test_auto_starts_a_worker_for_each_cpu(start_supervisor):
    cpus = len(os.sched_getaffinity(0))
    supervisor = start_supervisor(CREWPOOL_WORKERS="auto")

    assert int(supervisor.log_lines("started")[0]["workers"]) <= cpus


def test_a_worker_is_nice_and_on_its_cpu_and_so_is_what_it_starts(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path, "tells", OURS)
    usable = sorted(os.sched_getaffinity(0))
    supervisor = start_supervisor(
        plugin_dir=plugins,
        CREWPOOL_WORKERS=3,
        CREWPOOL_WORKER_NICE=7,
        CREWPOOL_WORKER_AFFINITY="core",
    ).wait_idle(3)

    for slot, process in supervisor.workers().items():
        assert process.nice() == 7
        assert process.cpu_affinity() == [usable[slot % len(usable)]]
    assert psutil.Process(supervisor.pid).nice() == supervisor.zygote().nice() < 7
    assert sorted(supervisor.zygote().cpu_affinity()) == usable

    run = world.publish(plugin="tells")
    wait_until(lambda: world.result(run))
    own, child = world.output(run)["raw"].split("|")
    assert own == child
    assert own in {f"[7, [{cpu}]]" for cpu in usable}


def test_without_settings_a_worker_is_as_we_are(supervisor):
    supervisor.wait_idle()
    for process in supervisor.workers().values():
        assert process.nice() == psutil.Process(supervisor.pid).nice()
        assert sorted(process.cpu_affinity()) == sorted(os.sched_getaffinity(0))
