"""Which runs begin, by how much memory there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.container import Level
from supervisor.peaks import KEPT, UNKNOWN_BYTES, Peaks
from supervisor.room import MEMORY, NO_ROOM, STALL, Marks, Waiter, admits, choose

MARKS = Marks(0.9, 10.0)


def level(used, limit=1000, stall=0.0):
    return Level("here", limit, used, stall)


@pytest.mark.parametrize(
    ("seen", "need", "because"),
    [
        (level(899), 0, ""),
        (level(900), 0, ""),
        (level(901), 0, MEMORY),
        (level(500), 400, ""),
        (level(500), 401, NO_ROOM),
        (level(0, stall=10.0), 0, ""),
        (level(0, stall=10.1), 0, STALL),
        (None, 10**12, ""),
    ],
)
def test_a_run_is_admitted_when_it_fits_below_the_mark(seen, need, because):
    assert admits(seen, MARKS, need) == because


def test_without_a_mark_for_stalls_they_do_not_count():
    assert admits(level(0, stall=99.0), Marks(0.9, 0.0)) == ""


def test_as_many_begin_as_fit_with_what_others_still_come_to_need():
    waiters = [Waiter(slot, 200) for slot in range(5)]

    begin, because = choose(waiters, level(100), MARKS, 300, is_idle=False)

    assert (begin, because) == ({0, 1}, NO_ROOM)


def test_a_small_one_goes_past_a_large_one_that_waits_for_the_first_time():
    begin, because = choose([Waiter(0, 500), Waiter(1, 100)], level(600), MARKS, 0, is_idle=False)

    assert (begin, because) == ({1}, NO_ROOM)


def test_nothing_begins_before_one_that_has_come_again():
    waiters = [Waiter(1, 100), Waiter(0, 500, since=9.0, stays=True)]

    assert choose(waiters, level(600), MARKS, 0, is_idle=False) == (set(), NO_ROOM)
    assert choose(waiters, level(200), MARKS, 0, is_idle=False) == ({0, 1}, "")


@pytest.mark.parametrize("seen", [level(100), level(990), level(0, stall=50.0)])
def test_one_begins_when_nothing_runs_whatever_is_free(seen):
    waiters = [Waiter(0, 10**6, since=2.0), Waiter(1, 10**6, since=1.0)]

    begin, because = choose(waiters, seen, MARKS, 0, is_idle=True)

    assert begin == {1}
    assert because


@given(
    needs=st.lists(st.integers(0, 2000), max_size=8),
    used=st.integers(0, 1200),
    owed=st.integers(0, 500),
    is_idle=st.booleans(),
)
def test_what_begins_together_never_needs_more_than_there_is(needs, used, owed, is_idle):
    waiters = [Waiter(slot, need) for slot, need in enumerate(needs)]

    begin, _ = choose(waiters, level(used), MARKS, owed, is_idle=is_idle)

    if len(begin) > 1 or (begin and not is_idle):
        assert used + owed + sum(needs[slot] for slot in begin) <= 900
    if is_idle and needs:
        assert begin


# ---- what is learned


def test_what_is_not_known_is_taken_for_much_or_for_what_its_limits_say():
    peaks = Peaks()

    assert peaks.expected("new") == UNKNOWN_BYTES
    assert peaks.expected("new", soft_bytes=700) == 700
    assert peaks.expected("new", hard_bytes=500) == 500


def test_a_plugin_needs_the_95th_percentile_of_what_its_runs_had():
    peaks = Peaks()
    for peak in range(1, 41):
        peaks.learn("much", peak)

    assert peaks.expected("much") == 38


def test_of_few_runs_the_largest_counts():
    peaks = Peaks()
    for peak in (10, 500, 20, -5):
        peaks.learn("few", peak)

    assert peaks.expected("few") == 500


def test_old_runs_are_forgotten():
    peaks = Peaks()
    peaks.learn("shrinks", 10**9)
    for _ in range(KEPT):
        peaks.learn("shrinks", 10)

    assert peaks.expected("shrinks") == 10
