"""Picking stacks from what comes on a log pipe."""

import faulthandler
import threading

import pytest

from supervisor.pool.lastwords import MOST_CHARACTERS, LastWords
from supervisor.pool.loglines import BURST_LINES, LogLines

CURRENT = [
    "Current thread 0x00007f1e2c3fd000 (most recent call first):",
    '  File "/plugins/spins/crew/crew.py", line 14 in kickoff',
    '  File "<frozen runpy>", line 88 in _run_code',
]
OTHER = [
    "Thread 0x00007f1e2b1ff640 (most recent call first):",
    '  File "/usr/lib/python3.11/threading.py", line 320 in wait',
]


def heard(*lines):
    words = LastWords()
    for line in lines:
        words.hear(line)
    return words


def test_the_thread_that_runs_the_crew_stands_first():
    words = heard(*OTHER, "", *CURRENT)

    assert words.text() == "\n".join([*CURRENT, "", *OTHER])


def test_what_the_crew_prints_meanwhile_is_no_stack():
    words = heard("Traceback", *CURRENT[:2], "Thought: I should spin", "  File a", CURRENT[2])

    assert words.text() == "\n".join(CURRENT)


def test_nothing_has_begun_before_a_thread_is_named():
    assert not heard("working", *CURRENT[1:]).have_begun
    assert heard("working", CURRENT[0]).have_begun
    assert heard("working").text() == ""


def test_stacks_without_end_are_cut_and_the_crews_thread_stays():
    endless = [OTHER[1]] * 100_000

    text = heard(OTHER[0], *endless[:1500], *CURRENT, *endless).text()

    assert text.startswith("\n".join(CURRENT))
    assert len(text) == MOST_CHARACTERS


def test_they_are_heard_behind_a_flood():
    lines = LogLines()
    lines.feed(b"flood\n" * (BURST_LINES + 100), lambda _: None, 0.0)
    assert lines.is_flooding
    words = lines.overhear = LastWords()

    lines.feed("\n".join([*CURRENT, ""]).encode(), pytest.fail, 0.0)

    assert words.text() == "\n".join(CURRENT)


def test_what_this_python_writes_is_understood(tmp_path):
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    with (tmp_path / "stacks").open("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        written = file.read()
    done.set()
    other.join()

    words = heard(*written.splitlines())

    text = words.text()
    assert sorted(text.split("\n\n")) == sorted(written.strip().split("\n\n"))
    assert text.startswith("Current thread")
