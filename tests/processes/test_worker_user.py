"""Workers that run as another user than a supervisor of root's."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support.linux import is_alive, living_below, pid_in
from tests.support.plugins import write_crew
from tests.support.supervisors import DRILLS
from tests.support.waiting import wait_until

USER, UID = "nobody", 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch")
# Where the interpreter lies in a folder of root's, that folder is laid open for the
# supervisor alone: in a mount namespace of its own, with nothing else in it.
LAY_OPEN = """
set -e
mount --bind "$1" "$3"
mount -t tmpfs -o mode=755 none "$2"
mkdir -p "$1"
mount --bind "$3" "$1"
shift 3
exec "$@"
"""
LOOKS = """
def tried(path):
    try:
        with open(path, "rb") as file:
            return len(file.read(100))
    except OSError as error:
        return error.strerror
found = {}
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        title = open(f"/proc/{name}/cmdline").read().replace(chr(0), " ").strip()
    except OSError:
        continue
    if title.startswith("crewpool ") and int(name) != os.getpid():
        found[" ".join(title.split()[:3])] = tried(f"/proc/{name}/environ")
try:
    os.kill(os.getppid(), 0)
    found["kill"] = "allowed"
except PermissionError:
    found["kill"] = "refused"
return json.dumps(found)
"""
STARTS = """
daemon = subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
with open("/tmp/" + settings["name"], "w") as file:
    file.write(str(daemon.pid))
time.sleep(600)
"""


@pytest.fixture
def open_to_all():
    """A folder that everybody may enter; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="worker-user-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "storage").mkdir()
    yield folder
    shutil.rmtree(folder)


def _wrapper(folder):
    base = Path(sys.base_prefix)
    closed = [path for path in (base, *base.parents) if not path.stat().st_mode & 0o001]
    if not closed:
        return ()
    (folder / "base").mkdir()
    lay_open = ("unshare", "-m", "sh", "-c", LAY_OPEN, "sh", base, closed[-1], folder / "base")
    if subprocess.run([*lay_open, "true"], check=False).returncode:
        pytest.skip(f"{closed[-1]} is closed to {USER}, and cannot be laid open")
    return lay_open


@pytest.fixture
def start(open_to_all, start_supervisor):
    plugins = open_to_all / "plugins"
    for name in ("sees", "sleeps"):
        shutil.copytree(DRILLS / name, plugins / name)
    write_crew(plugins, "looks", LOOKS)
    write_crew(plugins, "starts", STARTS)
    write_crew(
        plugins,
        "keeps",
        "open(settings['there'], 'w').close(); time.sleep(600)",
        manifest="env: [WIKI_TOKEN]\n",
    )
    for path in plugins.rglob("*"):
        path.chmod(0o755)

    def start(**options):
        return start_supervisor(
            plugin_dir=plugins,
            wrapper=_wrapper(open_to_all),
            CREWPOOL_STORAGE_DIR=open_to_all / "storage",
            CREWPOOL_WORKER_USER=USER,
            **options,
        )

    return start


def ended(world, plugin, **settings):
    run = world.publish(plugin=plugin, settings=settings)
    wait_until(lambda: world.result(run))
    return run


def test_zygote_and_workers_are_that_user_and_nothing_else(start, world, open_to_all):
    supervisor = start()

    facts = world.output(ended(world, "sees"))

    assert facts["uids"] == [UID] * 3
    assert set(facts["gids"]) == {UID}
    assert facts["home"].startswith(str(open_to_all / "storage"))
    assert facts["redis_url_in_parent_proc"] == "hidden"
    assert psutil.Process(supervisor.pid).uids().real == 0
    assert supervisor.zygote().uids().real == UID
    (root,) = (open_to_all / "storage").iterdir()
    assert root.stat().st_uid == UID
    wait_until(lambda: not any(root.glob("s*/*")))

    assert supervisor.stop() == 0
    assert not any((open_to_all / "storage").iterdir())


def test_the_supervisor_is_out_of_reach_and_so_are_secrets_in_other_workers(
    start, world, open_to_all
):
    (open_to_all / "shared").mkdir()
    (open_to_all / "shared").chmod(0o777)
    there = open_to_all / "shared" / "there"
    start(WIKI_TOKEN="tk-0123456789")
    world.publish(plugin="keeps", settings={"there": str(there)})
    wait_until(there.exists)

    found = json.loads(world.output(ended(world, "looks"))["raw"])

    by_kind = {title.split()[1]: told for title, told in found.items() if " " in title}
    assert by_kind["supervisor"] == "Permission denied"
    assert [told for title, told in found.items() if "keeps" in title] == ["Permission denied"]
    assert found["kill"] == "refused"


def test_an_overdue_crew_dies_with_its_daemon(start, world, open_to_all):
    supervisor = start(CREW_TIMEOUT_SECONDS=1)
    name = open_to_all.name + ".pid"

    result = world.result(ended(world, "starts", name=name))

    assert "timeout" in result["error"]
    file = Path("/tmp") / name
    assert not is_alive(pid_in(file))
    file.unlink()
    assert supervisor.is_running


def test_nothing_outlives_a_supervisor_that_was_killed(start, world, open_to_all):
    """Not even a daemon with an empty environment: the mark stands in a limit, too."""
    supervisor = start()
    name = open_to_all.name + ".pid"
    world.publish(plugin="starts", settings={"name": name})
    daemon = pid_in(Path("/tmp") / name)
    below = {process.pid for process in living_below(supervisor.pid)}
    assert daemon in below

    supervisor.kill()

    wait_until(lambda: not any(is_alive(pid) for pid in below), 1)
    (Path("/tmp") / name).unlink()


@pytest.mark.parametrize(
    ("user", "told"),
    [("nobody-knows-them", "There is no user"), ("root", "is root"), ("0", "is root")],
)
def test_a_user_that_cannot_be_is_refused_at_the_start(start_supervisor, user, told):
    supervisor = start_supervisor(wait=False, CREWPOOL_WORKER_USER=user)

    assert supervisor.wait_exit() == 2

    assert "CREWPOOL_WORKER_USER" in supervisor.log()
    assert told in supervisor.log()


def test_folders_that_the_user_may_not_enter_are_named_at_the_start(start, tmp_path):
    tmp_path.chmod(0o700)

    supervisor = start(wait=False, PLUGIN_DIR=str(tmp_path))

    assert supervisor.wait_exit() == 2
    assert f"nobody may not enter {tmp_path}" in supervisor.log()
