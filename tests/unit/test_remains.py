"""What a run left, counted from both sides."""

import os
import subprocess
import sys

from supervisor.pool.remains import NOT_TOLD, Lookout, Remains, of_run, open_fds
from supervisor.pool.usage import Usage
from tests.support.waiting import wait_until
from worker.protocol import MOST_NAMES, Left


def seen(threads):
    return Usage(threads=threads)


def test_a_worker_that_left_nothing_has_nothing():
    assert of_run(Left(standing=4), seen(5), (), 0) == Remains(standing=4)


def test_what_the_worker_tells_is_believed():
    told = Left(threads=("a", "b"), children=("9 sleep",), standing=1, fds=5, sockets=3)

    left = of_run(told, seen(4), {9}, 5)

    assert (left.threads, left.children) == (("a", "b"), ("9 sleep",))
    assert left.counts == {"threads": 2, "children": 1, "sockets": 3, "files": 2}


def test_a_thread_that_the_worker_does_not_tell_of_is_counted():
    left = of_run(Left(standing=2), seen(5), (), 0)

    assert (left.threads, left.all_threads) == ((NOT_TOLD,), 2)


def test_a_child_that_the_worker_does_not_tell_of_is_named_by_its_pid():
    left = of_run(Left(children=("9 sleep",)), seen(1), {9, 10}, 0)

    assert left.children == ("9 sleep", f"10 {NOT_TOLD}")
    assert left.all_children == 2


def test_threads_that_ended_in_the_meantime_are_no_fewer_than_none():
    left = of_run(Left(threads=("a",), standing=9), seen(2), (), 0)

    assert (left.threads, left.all_threads) == (("a",), 1)


def test_names_are_bounded_and_counts_are_not():
    left = of_run(Left(), seen(1), range(2, 502), 0)

    assert len(left.children) == MOST_NAMES
    assert left.all_children == 500


def test_more_sockets_than_descriptors_are_a_lie():
    assert of_run(Left(fds=1, sockets=9), seen(1), (), 0).counts["sockets"] == 1


def test_children_are_seen_and_the_dead_are_none():
    lookout = Lookout()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in lookout.children_of(os.getpid(), 0.0)
        process.stdin.close()
        # A zombie, as long as nobody waits for it.
        wait_until(lambda: process.pid not in Lookout().children_of(os.getpid(), 0.0))


def test_open_descriptors_are_counted():
    before = open_fds(os.getpid())
    read, write = os.pipe()

    assert open_fds(os.getpid()) == before + 2
    os.close(read)
    os.close(write)
    assert open_fds(2**22 + 1) == 0
