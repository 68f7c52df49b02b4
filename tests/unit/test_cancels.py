"""Which cancels are meant for a run that is in hand."""

from types import SimpleNamespace

import pytest

from supervisor.cancels import MOST_KEPT, Cancels
from supervisor.inhand import Stage


def held(run_id, entry_id, stage=Stage.RUNNING):
    return SimpleNamespace(run_id=run_id, entry=SimpleNamespace(id=entry_id), stage=stage)


@pytest.fixture
def cancels():
    return Cancels()


def test_a_run_is_cancelled_that_comes_into_hand_after_its_cancel(cancels):
    cancels.note("r-1", 1000)

    assert cancels.among({}) == []
    assert cancels.among({0: held("r-2", "900-0"), 3: held("r-1", "900-0")}) == ["r-1"]
    assert cancels.among({3: held("r-1", "1000-7", Stage.WAITING)}) == ["r-1"]


def test_a_run_that_was_asked_for_again_is_not_meant(cancels):
    cancels.note("r-1", 1000)

    assert cancels.among({0: held("r-1", "1001-0")}) == []


def test_the_entry_that_was_in_hand_is_meant_whatever_its_id_says(cancels):
    """A producer may choose ids itself, and clocks may jump."""
    cancels.note("r-1", 1000, "99999999999999-0")

    assert cancels.among({0: held("r-1", "99999999999999-0")}) == ["r-1"]
    assert cancels.among({0: held("r-1", "99999999999999-1")}) == []


def test_a_run_that_is_being_ended_is_left_alone(cancels):
    cancels.note("r-1", 1000)

    assert cancels.among({0: held("r-1", "900-0", Stage.SETTLING)}) == []


def test_only_the_last_ones_are_kept(cancels):
    for number in range(MOST_KEPT + 1):
        cancels.note(f"r-{number}", 1000)
        cancels.note("r-0", 1000)

    assert cancels.among({0: held("r-0", "1-0")}) == ["r-0"]
    assert cancels.among({0: held("r-1", "1-0")}) == []
    assert cancels.among({0: held("r-2", "1-0")}) == ["r-2"]


def test_an_entry_without_a_run_is_never_cancelled(cancels):
    cancels.note("r-1", 1000)

    assert cancels.among({0: held("", "1-0")}) == []
