"""Ending a whole tree of real processes, from outside of any supervisor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.pool.hardkill import (
    children_of,
    descendants,
    kill_tree,
    kill_trees,
    stop_below,
)
from tests.support.linux import is_alive, is_headless
from tests.support.waiting import wait_until

# A root that is a subreaper, as workers are, with a child, a daemon and a process in between.
ROOT = """
import ctypes, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60 & wait"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(60)
"""

# Its child ends its first thread, and goes on in another one.
HEADLESS = """
import ctypes, os, platform, threading, time
if (pid := os.fork()) == 0:
    threading.Thread(target=time.sleep, args=(60,)).start()
    ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
print(pid, flush=True)
time.sleep(60)
"""


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def root():
    with subprocess.Popen([sys.executable, "-c", ROOT], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_everything_below_is_found_also_what_daemonized(root):
    below = wait_until(lambda: len(found := descendants(root.pid)) == 4 and found)

    assert root.pid not in below
    assert children_of(root.pid) < below
    assert len(children_of(root.pid)) == 2


def test_what_is_below_is_stopped_and_the_root_goes_on(root):
    below = wait_until(lambda: len(found := descendants(root.pid)) == 4 and found)

    stop_below([root.pid])

    wait_until(lambda: {state_of(pid) for pid in below} == {"T"})
    assert state_of(root.pid) == "S"
    kill_tree(root.pid)
    wait_until(lambda: not any(map(is_alive, [root.pid, *below])))


def test_everything_is_killed_and_nothing_else(root):
    below = wait_until(lambda: len(found := descendants(root.pid)) == 4 and found)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        assert kill_tree(root.pid) == 5

        wait_until(lambda: not any(map(is_alive, [root.pid, *below])))
        assert is_alive(bystander.pid)
        bystander.kill()


def test_several_trees_are_killed_at_once(root):
    below = wait_until(lambda: len(found := descendants(root.pid)) == 4 and found)
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as other:
        more = wait_until(lambda: descendants(other.pid))

        assert kill_trees([root.pid, other.pid]) == 7

        wait_until(lambda: not any(map(is_alive, [root.pid, other.pid, *below, *more])))


def test_what_is_stopped_is_killed_too(root):
    for pid in descendants(root.pid):
        os.kill(pid, 19)

    kill_tree(root.pid)

    wait_until(lambda: not is_alive(root.pid))


def test_a_process_that_is_gone_is_no_error(root):
    root.kill()
    root.wait()

    assert descendants(root.pid) == set()
    assert kill_tree(root.pid) == 1


def test_a_name_that_looks_like_a_status_line_misleads_nobody(tmp_path):
    program = tmp_path / ") S 1 ("
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        assert process.pid in children_of(os.getpid())
        process.kill()


def test_a_process_whose_first_thread_has_ended_is_killed_too():
    with subprocess.Popen([sys.executable, "-c", HEADLESS], stdout=subprocess.PIPE) as parent:
        daemon = int(parent.stdout.readline())
        wait_until(lambda: is_headless(daemon))

        assert kill_tree(parent.pid) == 2

        wait_until(lambda: not is_headless(daemon))
