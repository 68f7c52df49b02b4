"""What a crew writes is its own for the time of its run, and gone afterwards."""

import json
from pathlib import Path

import pytest

from tests.support.linux import is_alive, kill, living_below
from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

LEAVES = """
import tempfile
os.makedirs("deep/er")
open("deep/er/file", "w").close()
os.symlink(settings["kept"], "link")
os.mkfifo("pipe")
os.chmod("deep/er", 0)
open(os.environ["CREWAI_STORAGE_DIR"] + "/file", "w").close()
return json.dumps({"storage": os.environ["CREWAI_STORAGE_DIR"], "cwd": os.getcwd(),
                   "tmp": tempfile.mkdtemp(), "there": os.listdir("..")})
"""
HANGS = LEAVES.replace("return json.dumps", "time.sleep(600); json.dumps")
FILLS = """
for n in range(6_000):
    if n % 300 == 0:
        os.mkdir(f"d{n}")
        os.chdir(f"d{n}")
    open(str(n), "w").close()
"""
REMOVES = """
import shutil
slot = os.path.realpath("../..")
assert slot.endswith("/s0"), slot
shutil.rmtree(slot)
"""
REPLACES = """
slot = os.path.realpath("../..")
assert slot.endswith("/s0"), slot
os.rename(slot, slot + "-away" + os.path.basename(os.path.realpath("..")))
os.symlink(settings["kept"], slot)
"""


@pytest.fixture
def plugins(tmp_path):
    folder = tmp_path / "plugins"
    write_crew(folder, "leaves", LEAVES)
    write_crew(folder, "hangs", HANGS, manifest="timeout_s: 0.5\n")
    write_crew(folder, "removes", REMOVES)
    write_crew(folder, "replaces", REPLACES)
    write_crew(folder, "fills", FILLS)
    return folder


@pytest.fixture
def kept(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "file").write_text("somebody else's")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["file"]


def ended(world, plugin, kept=""):
    run = world.publish(plugin=plugin, settings={"kept": str(kept)})
    wait_until(lambda: world.result(run))
    return world.result(run)


def slot_folder(supervisor):
    (root,) = (supervisor.folder / "storage").iterdir()
    return root / "s0"


def is_clean(supervisor):
    return not any(slot_folder(supervisor).iterdir())


def test_nothing_of_a_run_is_there_for_the_next_one(start_supervisor, world, plugins, kept):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    seen = []

    for _ in range(2):
        result = ended(world, "leaves", kept)
        seen.append(json.loads(json.loads(result["output"])["raw"]))
        wait_until(lambda: is_clean(supervisor))

    for facts in seen:
        assert sorted(facts["there"]) == ["storage", "tmp"]
        assert facts["tmp"].startswith(facts["cwd"] + "/")
        assert not Path(facts["cwd"]).exists()
        assert not Path(facts["storage"]).exists()
    assert seen[0]["cwd"] != seen[1]["cwd"]


def test_what_a_killed_crew_left_goes_with_the_next_worker_of_its_slot(
    start_supervisor, world, plugins, kept
):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)

    assert "timeout" in ended(world, "hangs", kept)["error"]

    wait_until(lambda: is_clean(supervisor))


@pytest.mark.parametrize("plugin", ["removes", "replaces"])
def test_a_crew_that_takes_its_folder_away_harms_nobody_else(
    start_supervisor, world, plugins, kept, plugin
):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    for _ in range(2):
        assert ended(world, plugin, kept)["status"] == "completed"
        assert ended(world, "leaves", kept)["status"] == "completed"
    assert ended(world, plugin, kept)["status"] == "completed"

    kill(supervisor.worker_pids()[0])
    wait_until(lambda: supervisor.log_lines("worker_died"))

    assert ended(world, "leaves", kept)["status"] == "completed"


@pytest.mark.alone
def test_much_to_remove_does_not_keep_the_next_run_waiting(start_supervisor, world, plugins, kept):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    first = world.publish(plugin="fills")
    second = world.publish(plugin="leaves", settings={"kept": str(kept)})
    wait_until(lambda: world.have_results([first, second]))

    assert world.result(second)["status"] == "completed"
    wait_until(lambda: is_clean(supervisor))


def test_the_folders_of_all_go_with_the_supervisor(start_supervisor, world, plugins, kept):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    world.publish(plugin="hangs", settings={"kept": str(kept)})
    wait_until(lambda: any(slot_folder(supervisor).glob("run-*/tmp/deep/er")))
    below = living_below(supervisor.pid)

    supervisor.kill()

    wait_until(lambda: not any(is_alive(process.pid) for process in below))
    wait_until(lambda: not any((supervisor.folder / "storage").iterdir()))
