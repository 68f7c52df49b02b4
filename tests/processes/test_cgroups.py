"""Where we may make control groups, nothing gets out of a worker's tree at all."""

import asyncio
import os
import re

import pytest

from supervisor.pool.cgroups import Cgroups, choose_folder, own_folder
from supervisor.pool.handle import Handle
from tests.support.linux import is_alive, pid_in
from tests.support.plugins import write_crew
from tests.support.waiting import eventually, wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(choose_folder() is None, reason="no cgroup v2 that we may write in"),
]

# A process that is a new one all the time, each in a session of its own, without an environment.
HOPS = """
import ctypes
libc = ctypes.CDLL(None)

def hop(until):
    while time.monotonic() < until:
        if os.fork():
            os._exit(0)
        os.setsid()

if os.fork() == 0:
    libc.clearenv()
    os.closerange(0, 1 << 16)
    hop(time.monotonic() + 20)
    os._exit(0)
"""
BARE_DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(settings["file"] + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(settings["file"] + ".new", settings["file"])
        os.closerange(0, 1 << 16)
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
"""

DIES_THEN = """
while not os.path.exists(settings["file"]):
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


def groups_of(supervisor):
    """The folders of a supervisor's groups that are there, by name."""
    own = own_folder()
    found = {}
    for folder in own.glob(f"crewpool-{supervisor.pid}-*/w*"):
        try:
            found[folder.name] = set(map(int, (folder / "cgroup.procs").read_text().split()))
        except OSError:
            continue  # removed meanwhile
    return found


def placed(supervisor, workers=1):
    """The groups once each worker stands in its own."""

    def found():
        groups = groups_of(supervisor)
        # And the process between has left, in which it was forked.
        pids = {pid for group in groups.values() for pid in group}
        is_whole = len(groups) == workers and pids == set(supervisor.worker_pids().values())
        return is_whole and all(groups.values()) and groups

    return wait_until(found)


def crew(tmp_path, code, **manifest):
    told = "".join(f"{name}: {value}\n" for name, value in manifest.items())
    return write_crew(tmp_path / "plugins", "drill", code, manifest=told)


def test_each_worker_stands_in_a_group_of_its_own(supervisor):
    groups = placed(supervisor, workers=2)

    assert sorted(groups.values(), key=min) == [
        {p} for p in sorted(supervisor.worker_pids().values())
    ]
    assert supervisor.zygote().pid not in set().union(*groups.values())


def test_a_worker_is_born_in_its_group(start_supervisor, world, tmp_path):
    """Its first run has begun before the kernel would have moved it there."""
    plugins = crew(tmp_path, 'return open("/proc/self/cgroup").read()')
    runs = [world.publish(plugin="drill") for _ in range(4)]
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1, CREWPOOL_MAX_RUNS_PER_WORKER=1)

    wait_until(lambda: world.have_results(runs))

    for run in runs:
        assert re.search(r"^0::.*/crewpool-\d+-\w+/w\d+$", world.output(run)["raw"], re.MULTILINE)


def test_what_hops_from_process_to_process_dies_with_its_run(start_supervisor, world, tmp_path):
    plugins = crew(tmp_path, HOPS + "time.sleep(60)", timeout_s=1)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    (before,) = placed(supervisor)
    run = world.publish(plugin="drill")

    wait_until(lambda: world.result(run))

    wait_until(lambda: before not in groups_of(supervisor), 2)
    supervisor.wait_idle(1)
    assert supervisor.titles() == ["crewpool s0 idle", "crewpool zygote"]


def test_a_crew_that_moves_its_worker_to_another_group_dies_as_well(
    start_supervisor, world, tmp_path
):
    """With a child, that the worker takes along."""
    leaves = f'open("{own_folder()}/cgroup.procs", "w").write("0"); os.fork(); time.sleep(60)'
    plugins = crew(tmp_path, leaves, timeout_s=1)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    placed(supervisor)

    run = world.publish(plugin="drill")

    assert wait_until(lambda: world.result(run), 5)["error"] == "Workflow exceeded 1s timeout"
    wait_until(lambda: supervisor.titles() == ["crewpool s0 idle", "crewpool zygote"])


def test_what_a_run_leaves_is_seen_however_it_hides(start_supervisor, world, tmp_path):
    plugins = crew(tmp_path, HOPS + "return '# Done'")
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    (before,) = placed(supervisor)

    run = world.publish(plugin="drill")

    assert wait_until(lambda: world.result(run))["status"] == "completed"
    wait_until(lambda: before not in groups_of(supervisor), 2)
    wait_until(lambda: supervisor.titles() == ["crewpool s0 idle", "crewpool zygote"])


def test_a_daemon_of_a_worker_that_dies_by_itself_dies_too(start_supervisor, world, tmp_path):
    file = tmp_path / "pid"
    plugins = crew(tmp_path, BARE_DAEMON + DIES_THEN)
    placed(start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1, CREWPOOL_RETRY="{}"))

    world.publish(plugin="drill", settings={"file": str(file)})

    daemon = pid_in(file)
    wait_until(lambda: not is_alive(daemon), 2)


def test_nothing_outlives_a_supervisor_not_even_without_an_environment(
    start_supervisor, world, tmp_path
):
    file = tmp_path / "pid"
    plugins = crew(tmp_path, BARE_DAEMON + "time.sleep(60)")
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    placed(supervisor)
    world.publish(plugin="drill", settings={"file": str(file)})
    daemon = pid_in(file)

    supervisor.kill()

    wait_until(lambda: not is_alive(daemon), 1)
    # The zygote takes the groups along.
    wait_until(lambda: groups_of(supervisor) == {}, 2)


def test_a_supervisor_that_leaves_takes_its_groups_along(supervisor):
    placed(supervisor, workers=2)

    assert supervisor.stop() == 0

    assert list(own_folder().glob(f"crewpool-{supervisor.pid}-*")) == []


def test_the_next_start_removes_empty_groups_and_leaves_others_alone(supervisor):
    stale = own_folder() / "crewpool-1-dead"
    (stale / "w1").mkdir(parents=True)
    before = placed(supervisor, workers=2)

    choose_folder()

    assert not stale.exists()
    assert groups_of(supervisor) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch users")
async def test_a_zygote_of_another_user_may_kill_them_all():
    cgroups = Cgroups(choose_folder(), janitor_uid=65534)
    handle = Handle(slot=0, order=1, ordered_at=0.0, generation=1)
    handle.given_away()
    worker = await asyncio.create_subprocess_exec("sleep", "60")
    handle.pid = worker.pid
    cgroups.place(handle)
    await eventually(lambda: handle.is_grouped)

    kill = ("sh", "-c", f"echo 1 > {cgroups.folder}/cgroup.kill")
    killer = await asyncio.create_subprocess_exec(*kill, user=65534)

    assert await killer.wait() == 0
    assert await asyncio.wait_for(worker.wait(), 5) == -9
    cgroups.release(handle)
    cgroups.close()
    handle.close()
    assert not cgroups.folder.exists()


def test_what_a_run_starts_before_its_worker_stands_in_a_group_dies_too(
    start_supervisor, world, tmp_path
):
    """Where a worker is not born in its group the next run in a slot begins at once, while the
    kernel takes its time to move it.
    """
    file = tmp_path / "pid"
    plugins = crew(tmp_path, BARE_DAEMON + "time.sleep(60)", timeout_s=1)
    write_crew(plugins, "hasty", "time.sleep(60)", manifest="timeout_s: 0.3")
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    world.publish(plugin="hasty")

    run = world.publish(plugin="drill", settings={"file": str(file)})

    daemon = pid_in(file)
    wait_until(lambda: world.result(run))
    wait_until(lambda: not is_alive(daemon), 2)
