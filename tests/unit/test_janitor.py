"""By which marks a zygote finds what its pool started."""

import subprocess
import sys

from tests.support.linux import is_headless
from tests.support.waiting import wait_until
from worker import janitor

MARK = "7f3a-of-this-test"


def wear():
    janitor.wear(MARK)


def sleeper(*, mark="", **environment):
    return subprocess.Popen(
        ["sleep", "600"],
        env=environment,
        preexec_fn=(lambda: janitor.wear(mark)) if mark else None,  # noqa: PLW1509  # no lock
    )


def test_the_environment_and_the_limit_are_marks_and_each_is_enough():
    by_environment, by_limit = sleeper(CREWPOOL_TREE=MARK), sleeper(mark=MARK)
    others = [sleeper(), sleeper(mark="another"), sleeper(CREWPOOL_TREE="another")]
    mine = [by_environment, by_limit]
    try:
        wait_until(lambda: janitor.marked(MARK) == {process.pid for process in mine})

        assert janitor.sweep(MARK) == 2

        assert [process.wait(5) for process in mine] == [-9, -9]
        assert [process.poll() for process in others] == [None] * 3
    finally:
        for process in [*mine, *others]:
            process.kill()
            process.wait()


def test_what_is_dead_and_waits_for_its_parent_is_not_found():
    """It has its limits still; the sweep would wait for it in vain."""
    process = sleeper(mark=MARK)
    wait_until(lambda: janitor.marked(MARK) == {process.pid})
    process.kill()

    wait_until(lambda: janitor.marked(MARK) == set())

    process.wait()


def test_what_looks_dead_and_runs_on_in_a_thread_is_found():
    program = """if True:
        import ctypes, platform, threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
        ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
    """
    process = subprocess.Popen([sys.executable, "-c", program], preexec_fn=wear)  # noqa: PLW1509  # no lock
    wait_until(lambda: is_headless(process.pid))

    assert janitor.sweep(MARK) == 1

    assert process.wait(5) == -9


def test_an_empty_mark_kills_nothing():
    assert janitor.sweep("") == 0
