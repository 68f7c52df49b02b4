"""Waiting before the next start, and giving up."""

import pytest

from supervisor.pool.backoff import GIVE_UP_AFTER, LONGEST_S, Restarts, delay_s, is_hopeless

NOW = 1000.0


@pytest.fixture
def restarts():
    return Restarts()


def waits(restarts, slot, deaths, *, by_itself=True, has_served=False):
    return [
        restarts.note_death(slot, NOW, by_itself=by_itself, has_served=has_served)
        for _ in range(deaths)
    ]


def test_the_first_start_waits_for_nothing():
    assert delay_s(0) == 0


def test_waits_double_up_to_a_limit():
    assert [delay_s(n) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert delay_s(5000) == LONGEST_S


def test_so_many_failures_in_a_row_are_hopeless():
    assert not is_hopeless(GIVE_UP_AFTER - 1, has_workers=False)
    assert is_hopeless(GIVE_UP_AFTER, has_workers=False)


def test_nothing_is_hopeless_while_there_are_workers():
    assert not is_hopeless(100 * GIVE_UP_AFTER, has_workers=True)


def test_a_slot_may_start_at_any_time_at_first(restarts):
    assert restarts.not_before(3) == 0
    assert not restarts.are_failing


def test_the_first_death_is_mended_at_once_and_those_in_a_row_are_waited_for(restarts):
    assert waits(restarts, 0, 8) == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restarts.not_before(0) == NOW + 30
    assert waits(restarts, 1, 1) == [0], "another slot has its own row"


def test_a_run_that_ended_begins_a_new_row(restarts):
    waits(restarts, 0, 5)

    assert waits(restarts, 0, 1, has_served=True) == [0]
    assert waits(restarts, 0, 2) == [1, 2]


def test_our_own_kills_are_mended_at_once_and_end_no_row(restarts):
    waits(restarts, 0, 3)

    assert waits(restarts, 0, 2, by_itself=False) == [0, 0]
    assert restarts.not_before(0) == NOW
    assert waits(restarts, 0, 1) == [4]


def test_failed_boots_are_counted_by_slot_until_any_worker_boots(restarts):
    for slot in range(8):
        restarts.note_failed_boot(slot, NOW, "it died")
    assert restarts.failed_boots(range(8)) == 1, "one cause that hits all slots is one failure"
    restarts.note_failed_boot(5, NOW, "it was late")
    assert restarts.failed_boots([5]) == 2
    assert (restarts.not_before(0), restarts.not_before(5)) == (NOW + 1, NOW + 2)
    assert restarts.are_failing
    assert restarts.last_fault == "it was late"

    restarts.note_boot()

    assert not restarts.are_failing
    assert restarts.failed_boots(range(8)) == 0
    assert restarts.not_before(5) == NOW + 2, "the wait that was begun is waited"


def test_one_slot_that_always_fails_is_no_reason_to_give_the_others_up(restarts):
    for _ in range(3 * GIVE_UP_AFTER):
        restarts.note_failed_boot(0, NOW, "it died")
    assert restarts.failed_boots(range(2)) == 0, "slot 1 works, or has not failed yet"

    for _ in range(GIVE_UP_AFTER):
        restarts.note_failed_boot(1, NOW, "it died")

    assert restarts.failed_boots(range(2)) == GIVE_UP_AFTER
    assert restarts.failed_boots(range(3)) == 0
    assert restarts.failed_boots(()) == 0


def test_a_slot_waits_when_the_system_has_no_room(restarts):
    restarts.postpone(2, NOW)

    assert restarts.not_before(2) == NOW + 1
