"""Waiting before the next start, and giving up."""

from supervisor.pool.backoff import GIVE_UP_AFTER, LONGEST_S, delay_s, is_hopeless


def test_the_first_start_waits_for_nothing():
    assert delay_s(0) == 0


def test_waits_double_up_to_a_limit():
    assert [delay_s(n) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert delay_s(5000) == LONGEST_S


def test_so_many_failures_in_a_row_are_hopeless():
    assert not is_hopeless(GIVE_UP_AFTER - 1)
    assert is_hopeless(GIVE_UP_AFTER)
