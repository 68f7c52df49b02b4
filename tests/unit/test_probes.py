"""Liveness measures progress: of the loop, and of the tasks that work in Redis for it."""

from types import SimpleNamespace

import pytest

from supervisor.log import Log
from supervisor.phases import Phase
from supervisor.pool.handle import State
from supervisor.probes import Probes
from supervisor.standing import Standing
from supervisor.streams.link import Link


class Clock:
    """A clock that is moved by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("supervisor.probes.time.monotonic", clock)
    return clock


@pytest.fixture
def parts(clock):
    link = Link(clock, lambda: None, Log())
    link.note_up()
    handles = {
        0: SimpleNamespace(state=State.BUSY),
        1: SimpleNamespace(state=State.IDLE),
        2: SimpleNamespace(state=State.BOOTING),
    }
    spawner = SimpleNamespace(is_ready=True, coming=None, last_reason="")
    gauges = SimpleNamespace(lag={"a": 5, "b": 7})
    return SimpleNamespace(
        clock=clock,
        link=link,
        keeper=SimpleNamespace(came_round_at=clock.now, gauges=gauges),
        pool=SimpleNamespace(handles=handles, spawner=spawner),
    )


@pytest.fixture
def standing():
    standing = Standing(3, drain_s=30)
    standing.phase = Phase.RUNNING
    return standing


@pytest.fixture
def probes(parts, standing):
    return Probes(parts, standing)


def test_a_loop_that_does_not_come_round_is_not_alive(probes, parts, clock):
    clock.now += 60
    parts.keeper.came_round_at = clock.now
    assert probes.stalled_because() == ""
    clock.now += 15

    assert probes.stalled_because() == "the loop has made no progress for 75s"
    assert probes.vitals() is None

    probes.came_round()
    assert probes.stalled_because() == ""


def test_a_loop_that_turns_while_its_keeper_hangs_is_not_alive(probes, clock):
    clock.now += 61
    probes.came_round()

    assert probes.stalled_because() == "the keeper of leases has made no progress for 61s"


def test_a_question_that_is_never_answered_is_not_alive(probes, parts, clock):
    with parts.link.waiting("take"):
        clock.now += 90
        probes.came_round()
        parts.keeper.came_round_at = clock.now

        assert probes.stalled_because() == "the broker has made no progress for 90s"
        with parts.link.waiting("settle"):
            assert "90s" in probes.stalled_because(), "the longest counts"
    assert probes.stalled_because() == ""


def test_the_status_is_a_line_for_people(probes, parts, standing):
    assert probes.vitals().status == "running, 1 of 3 busy, lag 12"
    assert probes.vitals().is_ready

    standing.pause("new disk")
    vitals = probes.vitals()
    assert vitals.status == "not ready: the supervisor is paused: new disk; 1 of 3 busy, lag 12"
    assert not vitals.is_ready
    assert not vitals.is_leaving

    parts.pool.spawner.coming = object()
    assert probes.vitals().is_reloading
    parts.pool.spawner.is_ready = False
    assert not probes.vitals().is_reloading, "it is the first one, or a new one for a dead one"

    standing.phase = Phase.DRAINING
    assert probes.vitals().is_leaving
