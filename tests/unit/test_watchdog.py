"""What systemd is told, and when: the datagrams of sd_notify(3)."""

import os
from dataclasses import replace
from itertools import pairwise

import pytest

from supervisor.watchdog import PULSE_S, Vitals, Watchdog
from tests.support.systemd import Systemd

STARTING = Vitals(is_ready=False, is_reloading=False, is_leaving=False, status="not ready")
READY = replace(STARTING, is_ready=True, status="running")


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    name = tmp_path / "notify" if request.param == "path" else f"@crewpool-test-{os.getpid()}"
    systemd = Systemd(str(name))
    yield systemd
    systemd.close()


def watchdog(systemd, **more):
    return Watchdog({"NOTIFY_SOCKET": systemd.address, **more})


def words(datagrams):
    """The lines without the status."""
    return [[line for line in lines if not line.startswith("STATUS")] for lines in datagrams]


def test_a_start_is_extended_as_long_as_the_loop_turns_and_ends_with_ready(systemd):
    told = watchdog(systemd)
    for now in (0.0, 8.0, 16.0):
        told.beat(lambda: STARTING, now)
    told.beat(lambda: READY, 17.0)
    told.beat(lambda: READY, 18.0)

    assert words(systemd.heard()) == [
        *[["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"]] * 3,
        ["READY=1", "WATCHDOG=1"],
    ]


def test_ready_is_told_once_though_redis_comes_and_goes(systemd):
    told = watchdog(systemd)
    told.beat(lambda: READY, 0.0)
    told.beat(lambda: STARTING, 10.0)
    told.beat(lambda: READY, 20.0)

    assert words(systemd.heard()) == [["READY=1", "WATCHDOG=1"], ["WATCHDOG=1"], ["WATCHDOG=1"]]


def test_leaving_is_told_once_and_systemd_waits_for_it(systemd):
    told = watchdog(systemd)
    told.beat(lambda: READY, 0.0)
    leaving = replace(READY, is_ready=False, is_leaving=True)
    told.beat(lambda: leaving, 1.0)
    told.beat(lambda: replace(leaving, is_reloading=True), 2.0)
    told.beat(lambda: leaving, 20.0)

    assert words(systemd.heard())[1:] == [
        ["STOPPING=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"],
        ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"],
    ]


def test_a_reload_is_told_with_the_time_and_its_end_with_ready(systemd):
    told = watchdog(systemd)
    told.beat(lambda: READY, 0.0)
    told.beat(lambda: replace(READY, is_reloading=True), 1.0)
    told.beat(lambda: READY, 2.0)

    _, begun, ended = words(systemd.heard())
    assert begun[0] == "RELOADING=1"
    assert begun[1].removeprefix("MONOTONIC_USEC=").isdecimal()
    assert ended == ["READY=1", "WATCHDOG=1"]


def test_a_status_that_changes_is_told_once_a_second_at_most(systemd):
    told = watchdog(systemd)
    for tenth in range(21):
        told.beat(lambda t=tenth: replace(READY, status=f"{t} busy"), tenth / 10)

    assert [lines[-2] for lines in systemd.heard()] == [
        "STATUS=0 busy",
        "STATUS=10 busy",
        "STATUS=20 busy",
    ]


def test_a_status_is_one_line_whoever_wrote_the_reason(systemd):
    watchdog(systemd).beat(
        lambda: replace(STARTING, status="paused: x\nMAINPID=1\r\x1b[2J" + "y" * 1000), 0.0
    )

    (lines,) = systemd.heard()
    assert len(lines) == 3
    assert lines[0].startswith("STATUS=paused: x MAINPID=1  [2Jyyy")
    assert len(lines[0]) < 250


def test_without_signs_of_life_nothing_is_told(systemd):
    told = watchdog(systemd, WATCHDOG_USEC="10000000")
    told.beat(lambda: READY, 0.0)
    systemd.heard()

    told.beat(lambda: None, 100.0)

    assert systemd.heard() == []


@pytest.mark.parametrize(
    ("facts", "pulse_s"),
    [
        ({"WATCHDOG_USEC": "10000000"}, 5),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, PULSE_S),
        ({"WATCHDOG_USEC": "600000000"}, PULSE_S),
        ({"WATCHDOG_USEC": "0"}, PULSE_S),
        ({"WATCHDOG_USEC": "soon"}, PULSE_S),
        ({}, PULSE_S),
    ],
)
def test_the_pulse_is_half_of_what_systemd_waits_for(systemd, facts, pulse_s):
    assert watchdog(systemd, **facts).pulse_s == pulse_s


def test_whatever_wakes_the_loop_systemd_hears_of_us_in_time(systemd):
    """Also when it wakes just before the end of each half of a pulse."""
    told = watchdog(systemd, WATCHDOG_USEC="10000000")
    at, told_at = 0.0, []
    for wake_s in (0.0, 2.4, 5.0, 2.4, 5.0, 0.1, 5.0, 4.9):
        at += wake_s
        told.beat(lambda: READY, at)
        if systemd.heard():
            told_at.append(at)

    assert max(b - a for a, b in pairwise(told_at)) < 10


def test_what_could_not_be_told_is_told_later(tmp_path):
    path = tmp_path / "notify"
    told = Watchdog({"NOTIFY_SOCKET": str(path)})
    told.beat(lambda: READY, 0.0)
    systemd = Systemd(str(path))

    told.beat(lambda: READY, 0.1)

    assert words(systemd.heard()) == [["READY=1", "WATCHDOG=1"]]
    systemd.close()


def test_without_systemd_nobody_is_asked():
    told = Watchdog({"WATCHDOG_USEC": "1000000"})
    told.beat(lambda: pytest.fail("a look costs something"), 0.0)

    assert told.pulse_s == PULSE_S
