"""What crews leave on disk goes, whatever it is, and nothing else does."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from worker import leftovers
from worker.leftovers import empty, remove

NOBODY = 65534


@pytest.fixture
def folder():
    """A folder of nobody's, where pytest's own would be closed to others."""
    path = Path(tempfile.mkdtemp(prefix="leftovers-", dir="/tmp"))
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", path], check=False)
    shutil.rmtree(path)


def as_anybody(act):
    """Do something as somebody without privileges, to whom permissions mean something."""
    if (child := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
            os._exit(0)
        except BaseException:  # noqa: BLE001  # nothing may return into pytest
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


def test_files_folders_links_and_pipes_go(folder, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("somebody else's")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "file").write_text("x")
    (folder / "deep" / "link").symlink_to(kept)
    (folder / "link").symlink_to(kept)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "deep" / "pipe")

    assert empty(folder)

    assert list(folder.iterdir()) == []
    assert (kept / "file").read_text() == "somebody else's"


def test_what_is_spared_stays(folder):
    for name in ("mine", "theirs"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")

    assert empty(folder, {"mine"})

    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert (folder / "mine" / "file").exists()


def test_a_link_in_the_place_of_the_folder_is_not_followed(folder, tmp_path):
    (tmp_path / "file").write_text("x")
    (folder / "slot").symlink_to(tmp_path)

    assert not empty(folder / "slot")
    remove(folder / "slot")

    assert (tmp_path / "file").exists()


def test_a_folder_that_is_not_there_is_empty(folder):
    assert empty(folder / "none")
    remove(folder / "none")


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o300])
def test_folders_without_permissions_go(folder, mode):
    def act():
        inner = folder / "a" / "b" / "c"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        for path in (inner, inner.parent, inner.parent.parent, folder):
            path.chmod(mode)
        assert empty(folder)

    as_anybody(act)

    assert list(folder.iterdir()) == []


def test_a_tree_that_is_deeper_than_any_path_goes(folder):
    def act():
        os.chdir(folder)
        for _ in range(5000):
            Path("d" * 20).mkdir()
            os.chdir("d" * 20)
        Path("file").touch()
        os.chdir("/")
        few = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 8
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
        assert empty(folder)

    as_anybody(act)

    assert list(folder.iterdir()) == []


def test_whoever_is_interrupted_goes_on_another_time(folder):
    for n in range(300):
        (folder / str(n % 10) / str(n)).mkdir(parents=True)
    asked = iter(range(10**6))
    rounds = 1

    while not empty(folder, (), lambda: next(asked) % 40 == 39):
        rounds += 1

    assert rounds > 2
    assert list(folder.iterdir()) == []


def test_time_that_is_up_is_up(folder):
    (folder / "file").touch()

    assert not empty(folder, (), lambda: True)
    assert (folder / "file").exists()
    assert leftovers.after(0)()
    assert not leftovers.after(60)()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_another_file_system_is_left_alone(folder):
    inner = folder / "a" / "mounted"
    inner.mkdir(parents=True)
    (folder / "a" / "file").touch()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", inner], check=False)
    if mounted.returncode:
        pytest.skip("not even root may mount here")
    try:
        (inner / "file").touch()
        inner.chmod(0o500)

        assert not empty(folder, (), leftovers.after(5))

        assert (inner / "file").exists()
        assert inner.stat().st_mode & 0o777 == 0o500
        assert not (folder / "a" / "file").exists()
    finally:
        subprocess.run(["umount", inner], check=True)


@pytest.mark.parametrize("where", ["", "a", "a/b"], ids=["itself", "in it", "below"])
def test_what_is_mounted_of_the_same_file_system_stays(folder, tmp_path, where):
    there, inner = tmp_path / "there", folder / where
    (there / "sub").mkdir(parents=True)
    (there / "file").touch()
    inner.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "--bind", there, inner], check=False)
    if mounted.returncode:
        pytest.skip("not even root may mount here")
    try:
        assert not empty(folder, (), leftovers.after(5))

        assert {path.name for path in there.iterdir()} == {"sub", "file"}
    finally:
        # Below, the folder that it is mounted on may have been moved up.
        points = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
        for point in (line.split()[4] for line in points if f" {folder}" in line):
            subprocess.run(["umount", point], check=True)


@pytest.mark.alone
def test_nothing_to_remove_costs_next_to_nothing(folder):
    (folder / "run").mkdir()
    began = time.perf_counter()
    for _ in range(100):
        assert empty(folder, {"run"})

    assert (time.perf_counter() - began) / 100 < 0.001
