"""For every policy, every attempt and whatever a model may ask for."""

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor.retries import LONGEST_RETRY_AFTER_S, delay_s
from worker.crew.causes import retry_after_s
from worker.policies import Retry

SECONDS = st.floats(0, 86_400)
DRAWN = st.floats(0, 1, exclude_max=True)
ASKED = st.none() | st.floats(0, 86_400)
ATTEMPTS = st.integers(-5, 10**6)
# As the system's clock has it, until the year 9999.
NOW = st.floats(0, 253_402_300_799)


@st.composite
def policies(draw):
    longest = draw(SECONDS)
    return Retry(
        attempts=draw(st.integers(1, 100)),
        backoff_s=draw(st.floats(0, longest)),
        backoff_max_s=longest,
    )


@given(policies(), ATTEMPTS, ASKED, DRAWN)
def test_a_delay_is_finite_and_within_its_bounds(retry, attempt, asked, drawn):
    delay = delay_s(retry, attempt, asked, lambda: drawn)

    if delay is None:
        assert attempt >= retry.attempts
        return
    assert attempt < retry.attempts
    floor = min(asked or 0, LONGEST_RETRY_AFTER_S)
    assert math.isfinite(delay)
    assert floor <= delay <= floor + retry.backoff_max_s


@given(policies(), st.integers(1, 98), DRAWN, ASKED)
def test_a_later_start_waits_no_less_than_an_earlier_one(retry, attempt, drawn, asked):
    earlier, later = (delay_s(retry, n, asked, lambda: drawn) for n in (attempt, attempt + 1))

    assert later is None or earlier <= later


@given(policies(), st.integers(1, 99))
def test_half_of_the_backoff_is_certain_and_all_of_it_is_the_most(retry, attempt):
    least, most = (delay_s(retry, attempt, None, lambda d=d: d) for d in (0.0, 1.0))
    if least is None:
        return

    backoff = min(retry.backoff_s * 2 ** (attempt - 1), retry.backoff_max_s)
    assert math.isclose(least, backoff / 2)
    assert math.isclose(most, backoff)


@given(policies(), ATTEMPTS, st.floats(), DRAWN)
def test_no_odd_number_of_a_model_makes_an_odd_delay(retry, attempt, asked, drawn):
    delay = delay_s(retry, attempt, asked, lambda: drawn)

    assert delay is None or 0 <= delay <= LONGEST_RETRY_AFTER_S + retry.backoff_max_s


@given(st.text(max_size=64), st.sampled_from(["retry-after", "retry-after-ms"]), NOW)
def test_whatever_a_header_holds_it_asks_for_a_day_at_most(text, name, now):
    asked = retry_after_s({name: text}, now)

    assert asked is None or 0 <= asked <= 86_400


@given(st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9}.{0,6}\Z"))
def test_what_looks_like_a_date_is_one_or_nothing(text):
    asked = retry_after_s({"retry-after": text}, 1_700_000_000)

    assert asked is None or 0 <= asked <= 86_400


@given(st.integers(0, 86_400), st.integers(0, 2**31))
def test_seconds_are_taken_as_they_are(seconds, now):
    assert retry_after_s({"retry-after": str(seconds)}, now) == seconds
