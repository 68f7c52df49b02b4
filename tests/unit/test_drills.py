"""The drills that fail on purpose do what other tests rely on, each in a process of its own."""

import json
import signal
import subprocess
import sys

import pytest

from tests.support.supervisors import DRILLS
from worker.plugins import discover
from worker.policies import Limits, Rate

RUN = """
import json, sys, tempfile, threading, time
from pathlib import Path
from worker.crew.executor import Executor
from worker.crew.folders import Folders
from worker.plugins import discover
from worker.protocol import Assignment

ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        time.sleep(0.01)

threading.Thread(target=tick, daemon=True).start()
plugin, settings = sys.argv[1], json.loads(sys.argv[2])
run = Assignment(run_id="r-1", plugin=plugin, attempt=1, user_id=1, settings=settings)
with tempfile.TemporaryDirectory() as slot:
    executor = Executor(discover(Path(sys.argv[3])), {}, 1_000_000, Folders(Path(slot)))
    outcome = executor.execute(run, lambda progress: None).model_dump()
before = len(ticks)
while len(ticks) == before:
    time.sleep(0)
gap = max((b - a for a, b in zip(ticks, ticks[1:])), default=0)
print("OUTCOME" + json.dumps({**outcome, "longest_gap_s": gap}))
"""


def run(plugin, **settings):
    """Return the outcome, or how the process ended without one."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, plugin, json.dumps(settings), str(DRILLS)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    said = done.stdout.rpartition("OUTCOME")[2]
    return json.loads(said) if done.returncode == 0 else done.returncode


def test_flaky_fails_in_the_ways_it_was_told_and_then_completes(tmp_path):
    fails = ["exception", "rate_limited", "oom", "needs_human", "exit", "crash"]
    settings = {"fails": fails, "memory": str(tmp_path / "starts"), "retry_after": "7"}

    ends = [run("flaky", **settings) for _ in range(len(fails) + 1)]

    ended = [end if isinstance(end, int) else end["ended"] for end in ends]
    assert ended == [*fails[:4], 3, -signal.SIGKILL, "completed"]
    assert [end["retry_after_s"] for end in ends[:4]] == [None, 7, None, None]
    assert (tmp_path / "starts").read_text() == "......."


@pytest.mark.parametrize(
    ("how", "signum"),
    [("abort", signal.SIGABRT), ("segfault", signal.SIGSEGV), ("kill", signal.SIGKILL)],
)
def test_crashes_ends_by_a_signal(how, signum):
    assert run("crashes", how=how) == -signum


def test_gil_lets_no_other_thread_run_and_completes():
    outcome = run("gil", seconds=1)

    assert outcome["ended"] == "completed"
    assert outcome["longest_gap_s"] > 0.9


@pytest.mark.parametrize("plugin", ["limited", "rated"])
def test_those_with_limits_mark_their_start_and_their_end(tmp_path, plugin):
    outcome = run(plugin, seconds=0, marks=str(tmp_path / "marks"))

    lines = (tmp_path / "marks").read_text().splitlines()
    assert outcome["ended"] == "completed"
    assert [line.split()[0] for line in lines] == ["start", "end"]


def test_the_limits_are_those_that_their_names_promise():
    plugins = discover(DRILLS).plugins

    assert plugins["limited"].manifest.limits == Limits(max_concurrency=1)
    assert plugins["rated"].manifest.limits == Limits(rate=Rate(starts=5, period_s=1))
    assert plugins["flaky"].manifest.retry["exception"].attempts == 10
