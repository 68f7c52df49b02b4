"""When a run must be over, with a clock that the test holds."""

import pytest

from supervisor.pool.deadlines import STACKS_S, Deadline, Step, timeout_text


def test_before_its_time_nothing_is_due():
    deadline = Deadline(at=10.0, timeout_s=2.0)

    assert deadline.step(9.999) is Step.NOTHING
    assert deadline.next_alarm() == 10.0


def test_at_its_time_the_stacks_come_first():
    assert Deadline(at=10.0, timeout_s=2.0).step(10.0) is Step.STACKS


def test_the_kill_follows_a_moment_later():
    deadline = Deadline(at=10.0, timeout_s=2.0).with_stacks(10.1)

    assert deadline.step(10.1 + STACKS_S / 2) is Step.NOTHING
    assert deadline.step(deadline.next_alarm()) is Step.KILL
    assert deadline.next_alarm() == pytest.approx(10.1 + STACKS_S)


def test_being_late_ourselves_does_not_skip_the_stacks():
    deadline = Deadline(at=10.0, timeout_s=2.0)

    assert deadline.step(99.0) is Step.STACKS
    assert deadline.with_stacks(99.0).step(99.0 + STACKS_S) is Step.KILL


def test_the_moment_for_the_stacks_is_short_against_the_promise():
    assert STACKS_S <= 0.02


@pytest.mark.parametrize(
    ("timeout_s", "text"),
    [(2, "2s"), (2.0, "2s"), (300, "300s"), (0.5, "0.5s"), (3600.0, "3600s"), (86400, "86400s")],
)
def test_the_text_is_that_of_the_contract(timeout_s, text):
    assert timeout_text(timeout_s) == f"Workflow exceeded {text} timeout"


def test_a_timeout_of_weeks_is_no_power_of_ten():
    assert timeout_text(1_209_600) == "Workflow exceeded 1209600s timeout"
