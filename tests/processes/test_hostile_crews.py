"""What crews do to the supervisor's own helpers costs them their run, and nobody else anything."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.linux import is_alive, is_headless, kill
from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

PIDS = Path("/sys/fs/cgroup/pids")
# Where a supervisor can make no control groups, /proc is all it has to find a tree by.
HIDE_GROUPS = ("unshare", "-m", "sh", "-c", 'umount -a -t cgroup2; exec "$@"', "sh")
WITHOUT_GROUPS = HIDE_GROUPS if os.geteuid() == 0 else ()
# Takes the zygote's socket, and tells the supervisor that somebody else is one of its workers.
LIES = """
import ctypes, struct

def is_zygote(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as title:
            parent = stat.read().rpartition(")")[2].split()[1]
            return parent == str(os.getppid()) and title.read().startswith("crewpool zygote")
    except OSError:
        return False

(zygote,) = filter(is_zygote, filter(str.isdigit, os.listdir("/proc")))
folder = f"/proc/{zygote}/fd"
(line,) = (fd for fd in os.listdir(folder) if os.readlink(f"{folder}/{fd}").startswith("socket:"))
pidfd_getfd = 438
taken = ctypes.CDLL(None).syscall(pidfd_getfd, os.pidfd_open(int(zygote)), int(line), 0)
if taken < 0:
    return "# Not possible here\\n\\nNo pidfd_getfd.\\n"
for order in range(1, 9):
    word = json.dumps({"kind": "forked", "order": order, "pid": settings["pid"]}).encode()
    os.write(taken, struct.pack("!I", len(word)) + word)
open(settings["told"], "w").close()
while True:
    time.sleep(1)
"""
STORMS = """
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
except OSError:
    open(settings["full"], "w").close()
time.sleep(600)
"""
WAITS = """
while not os.path.exists(settings["until"]):
    time.sleep(0.01)
os._exit(3)
"""
HEADLESS = """
import ctypes, platform
if (pid := os.fork()) == 0:
    os.setsid()
    threading.Thread(target=time.sleep, args=(600,)).start()
    ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
with open(settings["file"], "w") as file:
    file.write(str(pid))
while settings.get("stays"):
    time.sleep(1)
return "# Done\\n\\nFine.\\n"
"""

# Its daemon never is below the worker, which does not adopt orphans any more.
HIDES = """
import ctypes
ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(settings["file"], "w") as file:
            file.write(str(os.getpid()))
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
os.wait()
return "# Done\\n\\nFine.\\n"
"""


@pytest.fixture
def few_pids():
    """A control group in which there is room for some more processes only."""
    folder = PIDS / f"crewpool-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no pids controller of version 1 that we may write to")
    (folder / "pids.max").write_text("50")
    yield folder
    wait_until(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def test_whoever_speaks_for_the_zygote_cannot_have_strangers_killed(
    start_supervisor, world, tmp_path
):
    write_crew(tmp_path / "plugins", "lies", LIES)
    supervisor = start_supervisor(
        plugin_dir=tmp_path / "plugins", CREW_TIMEOUT_SECONDS=3, wrapper=WITHOUT_GROUPS
    )
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        told = tmp_path / "told"
        run = world.publish(None, "lies", {"pid": stranger.pid, "told": str(told)})

        wait_until(lambda: world.have_results([run]))

        assert is_alive(stranger.pid)
        stranger.kill()
    assert told.exists(), world.result(run)
    assert supervisor.stop() == 0


def test_a_storm_of_forks_that_fills_the_host_ends_nobody_elses_run(
    start_supervisor, world, tmp_path, few_pids
):
    for name, code in (("storms", STORMS), ("waits", WAITS)):
        write_crew(tmp_path / "plugins", name, code)
    enter = ("sh", "-c", f'echo $$ > {few_pids}/cgroup.procs; exec "$@"', "sh")
    supervisor = start_supervisor(
        plugin_dir=tmp_path / "plugins",
        wrapper=enter,
        CREWPOOL_WORKERS=3,
        CREWPOOL_MAX_ATTEMPTS=1,
        CREW_TIMEOUT_SECONDS=4,
    )
    full = tmp_path / "full"
    dying = world.publish(None, "waits", {"until": str(full)})
    patient = world.publish(None, "waits", {"until": str(tmp_path / "never")})
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    storm = world.publish(None, "storms", {"full": str(full)})

    wait_until(lambda: world.have_results([dying, patient, storm]), 15)
    errors = {result["plugin_run_id"]: result["error"] for result in world.results()}
    assert errors == {
        dying: "Worker died (exit 3) on attempt 1 of 1",
        patient: "Workflow exceeded 4s timeout",
        storm: "Workflow exceeded 4s timeout",
    }
    assert supervisor.log_lines("no_worker")
    assert not supervisor.log_lines("zygote_died")
    supervisor.wait_idle(3)
    assert supervisor.stop() == 0


@pytest.mark.parametrize("stays", [True, False], ids=["overruns", "returns"])
def test_a_daemon_without_its_first_thread_goes_with_its_run(
    start_supervisor, world, tmp_path, stays
):
    write_crew(tmp_path / "plugins", "headless", HEADLESS)
    start_supervisor(
        plugin_dir=tmp_path / "plugins", wrapper=WITHOUT_GROUPS, CREW_TIMEOUT_SECONDS=1
    )
    file = tmp_path / "pid"
    run = world.publish(None, "headless", {"file": str(file), "stays": stays})

    wait_until(lambda: world.have_results([run]))

    wait_until(lambda: not is_headless(int(file.read_text())))


def test_a_daemon_that_never_was_below_its_worker_goes_with_its_run(
    start_supervisor, world, tmp_path
):
    write_crew(tmp_path / "plugins", "hides", HIDES)
    supervisor = start_supervisor(plugin_dir=tmp_path / "plugins", wrapper=WITHOUT_GROUPS)
    file = tmp_path / "pid"
    run = world.publish(None, "hides", {"file": str(file)})

    wait_until(lambda: world.have_results([run]))

    daemon = wait_until(lambda: file.exists() and int(file.read_text() or 0))
    wait_until(lambda: not is_alive(daemon), 2)
    assert supervisor.log_lines("strays_killed", pid=daemon)


@pytest.mark.parametrize("ask", [signal.SIGTERM, signal.SIGINT])
def test_a_zygote_that_hangs_does_not_keep_the_supervisor(supervisor, ask):
    os.kill(supervisor.zygote().pid, signal.SIGSTOP)
    kill(supervisor.worker_pids()[0])
    wait_until(lambda: supervisor.log_lines("worker_died"))

    supervisor.signal(ask)

    assert supervisor.wait_exit(5) == 0
