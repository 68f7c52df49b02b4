"""Many workers are killed at once, each with all that it has started."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from supervisor.pool import hardkill
from supervisor.pool.cgroups import Cgroups
from supervisor.pool.handle import Handle
from supervisor.pool.kills import Kills
from tests.support.waiting import wait_until

# Stays, with a child in a session of its own.
PARENT = """
import os, signal
if os.fork() == 0:
    os.setsid()
signal.pause()
"""


@pytest.fixture
def kills():
    return Kills(SimpleNamespace(zygotes=[], cgroups=Cgroups(None)))


@pytest.fixture
def workers():
    processes = [
        subprocess.Popen([sys.executable, "-S", "-c", PARENT], start_new_session=True)
        for _ in range(6)
    ]
    handles = [Handle(slot, slot, 0.0, 1) for slot in range(len(processes))]
    for handle, process in zip(handles, processes, strict=True):
        handle.pid = process.pid
    wait_until(lambda: all(hardkill.descendants(process.pid) for process in processes))
    yield handles
    for handle, process in zip(handles, processes, strict=True):
        for pid in (*hardkill.descendants(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        handle.given_away()
        handle.close()


def walks_of(kills, handles, monkeypatch):
    walks = []
    processes = hardkill.processes
    monkeypatch.setattr(hardkill, "processes", lambda: walks.append(1) or processes())
    kills.workers(handles)
    monkeypatch.setattr(hardkill, "processes", processes)
    return len(walks)


def test_all_die_with_what_they_have_started(kills, workers):
    pids = {handle.pid for handle in workers}
    below = {pid for root in pids for pid in hardkill.descendants(root)}
    assert len(below) == len(pids)

    kills.workers(workers)

    wait_until(lambda: not (pids | below) & hardkill.processes().keys())


def test_many_cost_no_more_looks_than_one(kills, workers, monkeypatch):
    alone = walks_of(kills, workers[:1], monkeypatch)

    assert walks_of(kills, workers[1:], monkeypatch) <= alone + 1


def test_the_others_live_on(kills, workers):
    kills.workers(workers[:1])

    assert {handle.pid for handle in workers[1:]} <= hardkill.processes().keys()


def test_a_worker_without_a_pid_dies_with_the_zygote_that_owes_it(kills, workers):
    zygote, other = workers[0].pid, workers[1].pid
    kills = Kills(
        SimpleNamespace(
            zygotes=[SimpleNamespace(pid=zygote), SimpleNamespace(pid=other)], cgroups=Cgroups(None)
        )
    )
    unborn = Handle(9, 9, 0.0, 1)
    unborn.zygote_pid = zygote

    kills.workers([unborn])

    wait_until(lambda: zygote not in hardkill.processes())
    assert other in hardkill.processes()
    unborn.given_away()
    unborn.close()
