"""A supervisor's phases go forward only, and the most urgent request wins."""

import itertools

import pytest

from supervisor.phases import Ask, Phase

STAYING = (Ask.STACKS, Ask.RELOAD, Ask.MORE, Ask.LESS, Ask.SNAPSHOT)


@pytest.mark.parametrize(
    ("before", "ask", "after"),
    [
        (Phase.RUNNING, Ask.DRAIN, Phase.DRAINING),
        (Phase.STARTING, Ask.DRAIN, Phase.DRAINING),
        (Phase.DRAINING, Ask.DRAIN, Phase.STOPPING),
        (Phase.STOPPING, Ask.DRAIN, Phase.STOPPING),
        (Phase.RUNNING, Ask.LEAVE, Phase.DRAINING),
        (Phase.DRAINING, Ask.LEAVE, Phase.DRAINING),
        (Phase.RUNNING, Ask.STOP, Phase.STOPPING),
        (Phase.DRAINING, Ask.STOP, Phase.STOPPING),
        (Phase.STOPPED, Ask.STOP, Phase.STOPPED),
    ],
)
def test_requests_to_leave_lead_on(before, ask, after):
    assert before.after(ask) is after


@pytest.mark.parametrize(("phase", "ask"), list(itertools.product(Phase, STAYING)))
def test_other_requests_change_no_phase(phase, ask):
    assert phase.after(ask) is phase


@pytest.mark.parametrize(("phase", "ask"), list(itertools.product(Phase, Ask)))
def test_no_phase_comes_back(phase, ask):
    assert phase.after(ask) >= phase


def test_from_the_drain_on_nothing_is_taken():
    assert [phase.is_leaving for phase in Phase] == [False, False, True, True, True]
