"""What a process has used, as the kernel tells it."""

import os
import subprocess
import sys
import threading

from supervisor.pool import usage
from supervisor.pool.reaper import Corpse
from supervisor.pool.usage import Usage
from tests.support.waiting import wait_until

SPIN = """
import os, sys, time
block = bytearray(64 << 20)
block[::4096] = bytes(len(block[::4096]))
del block
until = time.process_time() + 0.3
while time.process_time() < until:
    pass
sys.stdout.write("spun\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_living_process_shows_its_processor_time_and_its_peak():
    with subprocess.Popen(
        [sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        seen = usage.look(process.pid)
        process.communicate()

    assert 0.25 <= seen.cpu_user_s + seen.cpu_system_s <= 3
    assert seen.max_rss_bytes - seen.rss_bytes > 48 << 20
    assert seen.minor_faults > 1000
    assert seen.threads == 1


def test_to_begin_forgets_the_peak_so_far():
    with subprocess.Popen(
        [sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        before = usage.begin(process.pid)
        now = usage.look(process.pid)
        process.communicate()

    assert before.max_rss_bytes == now.max_rss_bytes
    assert now.max_rss_bytes - now.rss_bytes < 8 << 20


def test_threads_are_counted():
    before, done = usage.look(os.getpid()).threads, threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert usage.look(os.getpid()).threads == before + 1
    finally:
        done.set()
        thread.join()
    # Python's thread is over a moment before the kernel's.
    wait_until(lambda: usage.look(os.getpid()).threads == before)


def test_one_that_is_gone_shows_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert usage.look(process.pid) is None
    assert usage.begin(process.pid) == Usage()


def test_a_run_is_what_lies_between_two_looks():
    before = Usage(cpu_user_s=2, cpu_system_s=1, minor_faults=10, major_faults=1)
    corpse = Corpse(7, 9, 3.5, 1.25, 4096, 30, 1)

    used = usage.of_corpse(corpse).since(before)

    assert (used.cpu_user_s, used.cpu_system_s) == (1.5, 0.25)
    assert (used.minor_faults, used.major_faults, used.max_rss_bytes) == (20, 0, 4096)


def test_nothing_is_ever_less_than_nothing():
    used = Usage().since(Usage(cpu_user_s=1, cpu_system_s=1, minor_faults=1, major_faults=1))

    assert used == Usage()
