"""What systemd hears of a real supervisor: ready, alive only with progress, leaving."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.systemd import Systemd
from tests.support.waiting import stays_true, wait_until

pytestmark = pytest.mark.alone


@pytest.fixture
def systemd():
    systemd = Systemd(f"@crewpool-test-{os.getpid()}")
    yield systemd
    systemd.close()


class Heard:
    """All that was heard so far."""

    def __init__(self, systemd):
        self._systemd = systemd
        self._lines = []

    def count(self, line):
        """How often a line that begins so has come."""
        for lines in self._systemd.heard():
            self._lines += lines
        return sum(heard.startswith(line) for heard in self._lines)


@pytest.fixture
def heard(systemd):
    return Heard(systemd)


@pytest.fixture
def watched(start_supervisor, systemd):
    """Start a supervisor under a watchdog of one second."""

    def start(*args, **options):
        facts = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": 1_000_000}
        return start_supervisor(*args, **facts, **options)

    return start


def test_an_idle_one_is_alive_and_a_stopped_one_is_not(watched, heard):
    supervisor = watched().wait_idle()
    wait_until(lambda: heard.count("READY=1"))
    before = heard.count("WATCHDOG=1")
    wait_until(lambda: heard.count("WATCHDOG=1") >= before + 3, 3, "it goes on without events")

    supervisor.signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(supervisor.pid).status() == psutil.STATUS_STOPPED)
    before = heard.count("WATCHDOG=1")
    stays_true(lambda: heard.count("WATCHDOG=1") == before, 1.2, "nobody speaks for the loop")
    supervisor.signal(signal.SIGCONT)

    wait_until(lambda: heard.count("WATCHDOG=1") > before)
    assert heard.count("READY=1") == 1


def test_a_start_without_redis_is_waited_for(watched, heard, own_server):
    own_server.stop()
    supervisor = watched(own_server.url, wait=False).wait_idle()
    wait_until(lambda: heard.count("EXTEND_TIMEOUT_USEC="))
    wait_until(lambda: heard.count("STATUS=not ready: Redis at 127.0.0.1"))
    assert heard.count("READY=1") == 0

    own_server.start()
    supervisor.wait_ready()

    wait_until(lambda: heard.count("READY=1") == 1)
    wait_until(lambda: heard.count("STATUS=running, 0 of 2 busy, lag 0"))


def test_a_drain_is_told_and_goes_on_being_alive(watched, heard, world):
    supervisor = watched()
    world.publish(plugin="sleeps", settings={"seconds": 2})
    wait_until(lambda: supervisor.busy("sleeps"))
    wait_until(lambda: heard.count("STATUS=running, 1 of 2 busy"))

    supervisor.signal(signal.SIGTERM)

    wait_until(lambda: heard.count("STOPPING=1") == 1)
    before = heard.count("WATCHDOG=1")
    wait_until(lambda: heard.count("WATCHDOG=1") > before, what="it is watched while it drains")
    assert supervisor.wait_exit() == 0
    assert heard.count("STOPPING=1") == 1


def test_a_reload_is_told_until_it_is_over(watched, heard):
    supervisor = watched().wait_idle()

    supervisor.signal(signal.SIGHUP)

    wait_until(lambda: heard.count("RELOADING=1") == 1)
    wait_until(lambda: heard.count("READY=1") == 2)


def test_neither_zygote_nor_workers_can_speak_to_systemd(watched):
    supervisor = watched().wait_idle()

    for pid in (supervisor.zygote().pid, *supervisor.worker_pids().values()):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG" not in environment
