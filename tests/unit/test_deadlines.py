"""When a run must be over, with a clock that the test holds."""

import pytest

from supervisor.pool.deadlines import (
    LOOK_S,
    STACKS_S,
    WATCH_S,
    Deadline,
    Step,
    timeout_text,
)

AT_TEN = Deadline(at=10.0, timeout_s=2.0)
GENTLE = Deadline(at=10.0, timeout_s=2.0, grace_s=3.0)


def test_before_its_time_nothing_is_due():
    assert AT_TEN.step(9.999, has_told=False) is Step.NOTHING
    assert AT_TEN.next_alarm() == 10.0
    assert not AT_TEN.is_over


def test_at_its_time_the_stacks_come_first():
    assert AT_TEN.step(10.0, has_told=False) is Step.STACKS


def test_the_kill_follows_when_the_stacks_have_come():
    deadline = AT_TEN.asked(10.1)

    assert deadline.is_over
    assert deadline.step(10.1 + WATCH_S / 2, has_told=True) is Step.NOTHING
    assert deadline.step(10.1 + WATCH_S, has_told=False) is Step.NOTHING
    assert deadline.step(10.1 + WATCH_S, has_told=True) is Step.KILL


def test_stacks_that_do_not_come_are_not_waited_for_long():
    assert AT_TEN.asked(10.1).step(10.1 + STACKS_S, has_told=False) is Step.KILL


def test_meanwhile_we_look_again_and_again():
    deadline = AT_TEN.asked(10.1)

    assert deadline.next_alarm() == pytest.approx(10.1 + LOOK_S)
    assert deadline.looked(10.103).next_alarm() == pytest.approx(10.103 + LOOK_S)


def test_being_late_ourselves_does_not_skip_the_stacks():
    assert AT_TEN.step(99.0, has_told=False) is Step.STACKS
    assert AT_TEN.asked(99.0).step(99.0 + STACKS_S, has_told=False) is Step.KILL


def test_a_grace_begins_with_a_warning_and_ends_with_the_kill():
    told = GENTLE.asked(10.0)

    assert told.step(10.0 + WATCH_S, has_told=True) is Step.WARN
    assert not told.is_final

    warned = told.warned(10.1)
    assert warned.is_final
    assert warned.step(13.0, has_told=True) is Step.NOTHING
    assert warned.next_alarm() == pytest.approx(13.1)
    assert warned.step(warned.next_alarm(), has_told=True) is Step.KILL


def test_a_run_can_be_ended_before_its_time_and_without_a_grace():
    deadline = GENTLE.brought_forward(5.0, "cancelled")

    assert (deadline.at, deadline.because) == (5.0, "cancelled")
    assert deadline.step(5.0, has_told=False) is Step.STACKS
    assert deadline.asked(5.0).step(5.0 + STACKS_S, has_told=False) is Step.KILL


def test_what_is_over_keeps_its_reason_and_loses_the_rest_of_its_grace():
    deadline = GENTLE.asked(10.0).warned(10.02).brought_forward(10.5, "cancelled")

    assert deadline.because == "timeout"
    assert deadline.step(10.5, has_told=True) is Step.KILL


def test_to_bring_a_deadline_forward_twice_changes_nothing():
    once = AT_TEN.brought_forward(5.0, "cancelled")

    assert once.asked(5.0).brought_forward(5.01, "cancelled") == once.asked(5.0)
    assert AT_TEN.brought_forward(11.0, "cancelled").at == 10.0


def test_the_moment_for_the_stacks_is_short_against_the_promise():
    assert WATCH_S + LOOK_S < STACKS_S <= 0.025


@pytest.mark.parametrize(
    ("timeout_s", "text"),
    [(2, "2s"), (2.0, "2s"), (300, "300s"), (0.5, "0.5s"), (3600.0, "3600s"), (86400, "86400s")],
)
def test_the_text_is_that_of_the_contract(timeout_s, text):
    assert timeout_text(timeout_s) == f"Workflow exceeded {text} timeout"


def test_a_timeout_of_weeks_is_no_power_of_ten():
    assert timeout_text(1_209_600) == "Workflow exceeded 1209600s timeout"
