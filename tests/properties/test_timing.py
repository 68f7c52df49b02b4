"""For every number of failures, every timeout and every moment."""

from hypothesis import given
from hypothesis import strategies as st

from supervisor.pool.backoff import LONGEST_S, delay_s, is_hopeless
from supervisor.pool.deadlines import STACKS_S, Deadline, Step, timeout_text

TIMES = st.floats(0, 1e9, allow_nan=False)


@given(st.integers(0, 10**9))
def test_a_backoff_is_clamped_and_never_shrinks(failures):
    assert 0 <= delay_s(failures) <= delay_s(failures + 1) <= LONGEST_S


@given(st.integers(0, 10**6))
def test_once_hopeless_always_hopeless_and_never_while_others_work(failures):
    now, later = (is_hopeless(n, has_workers=False) for n in (failures, failures + 1))
    assert now <= later
    assert not is_hopeless(failures, has_workers=True)


@given(
    at=TIMES,
    timeout_s=st.floats(0.1, 1e6),
    moments=st.lists(TIMES, max_size=20),
    has_told=st.booleans(),
)
def test_a_deadline_asks_for_stacks_once_and_then_for_the_kill(at, timeout_s, moments, has_told):
    deadline, steps = Deadline(at, timeout_s), []
    for now in sorted(moments):
        step = deadline.step(now, has_told=has_told)
        assert step is Step.NOTHING or now >= at
        if step is Step.STACKS:
            deadline = deadline.asked(now)
        if step is not Step.NOTHING:
            steps.append(step)

    assert steps.count(Step.STACKS) <= 1
    assert Step.STACKS not in steps[1:]


@given(at=TIMES, timeout_s=st.floats(0.1, 1e6), late_s=st.floats(0, 1e3))
def test_at_its_alarm_something_is_due(at, timeout_s, late_s):
    deadline = Deadline(at, timeout_s)
    assert deadline.step(deadline.next_alarm() + late_s, has_told=False) is Step.STACKS

    asked = deadline.asked(at + late_s)
    assert asked.step(at + late_s + 2 * STACKS_S + 1e-6, has_told=False) is Step.KILL


@given(st.floats(0.001, 1e7) | st.integers(1, 10**7))
def test_the_text_of_a_timeout_is_a_plain_number(timeout_s):
    text = timeout_text(timeout_s).removeprefix("Workflow exceeded ").removesuffix("s timeout")

    assert set(text) <= set("0123456789.")
    assert abs(float(text) - timeout_s) <= max(0.001, timeout_s * 1e-5)
