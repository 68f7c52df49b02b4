"""When cron lines are due, across changes of the clocks; and what is no cron line."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from supervisor.runs.cron import MOST_COUNTED, Cron, CronInvalid

BERLIN = "Europe/Berlin"


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def times(line, zone, start, count):
    """The next times, each worked out from the one before, as a scheduler does."""
    found, cron = [], Cron.read(line, zone)
    for _ in range(count):
        found.append(cron.after(found[-1] if found else start))
    return found


def test_a_line_is_in_its_time_zone():
    assert times("0 7 * * *", BERLIN, utc(2026, 7, 1), 1) == [utc(2026, 7, 1, 5)]
    assert times("0 7 * * *", BERLIN, utc(2026, 1, 1), 1) == [utc(2026, 1, 1, 6)]


def test_the_moment_itself_is_not_after_it():
    assert times("0 7 * * *", "UTC", utc(2026, 7, 1, 7), 1) == [utc(2026, 7, 2, 7)]


def test_a_time_that_the_clocks_leave_out_is_due_once_and_right_after():
    assert times("30 2 * * *", BERLIN, utc(2026, 3, 28, 12), 2) == [
        utc(2026, 3, 29, 1, 0),  # 3:00, the first moment after the gap
        utc(2026, 3, 30, 0, 30),
    ]


def test_a_time_that_comes_twice_is_due_once():
    assert times("30 2 * * *", BERLIN, utc(2026, 10, 24, 12), 2) == [
        utc(2026, 10, 25, 0, 30),
        utc(2026, 10, 26, 1, 30),
    ]


def test_a_schedule_made_in_the_second_of_two_hours_does_not_go_back():
    # 2:10 for the second time; 2:30 was due an hour ago less ten minutes.
    assert times("30 2 * * *", BERLIN, utc(2026, 10, 25, 1, 10), 1) == [utc(2026, 10, 26, 1, 30)]


def test_an_hourly_line_goes_by_the_time_that_passes():
    hours = times("0 * * * *", BERLIN, utc(2026, 10, 24, 22, 30), 5)

    assert [b - a for a, b in pairwise(hours)] == [timedelta(hours=1)] * 4


@pytest.mark.parametrize("line", ["30 2 * * *", "*/20 * * * *", "15,45 2-3 * * *", "0 */2 * * *"])
@pytest.mark.parametrize("day", [utc(2026, 3, 28, 20), utc(2026, 10, 24, 20)])
def test_the_times_of_such_a_night_are_the_same_from_wherever_one_looks(line, day):
    cron, end = Cron.read(line, BERLIN), day + timedelta(hours=12)
    all_times = {at for at in times(line, BERLIN, day, 40) if at < end}

    for minute in range(12 * 60):
        at = day + timedelta(minutes=minute, seconds=30)
        found = cron.after(at)
        assert found == min((t for t in all_times if t > at), default=found)


def test_of_the_times_that_have_come_the_latest_is_told_and_the_others_counted():
    cron = Cron.read("0 7 * * *", "UTC")
    due = cron.due(utc(2026, 7, 1, 7), utc(2026, 7, 4, 12))

    assert (due.at, due.missed) == (utc(2026, 7, 4, 7), 3)


def test_a_time_that_comes_in_time_misses_none():
    due = Cron.read("0 7 * * *", "UTC").due(utc(2026, 7, 1, 7), utc(2026, 7, 1, 7))

    assert (due.at, due.missed) == (utc(2026, 7, 1, 7), 0)


@pytest.mark.parametrize(
    ("line", "now", "latest"),
    [
        ("* * * * *", utc(2027, 7, 1, 0, 0, 30), utc(2027, 7, 1)),
        ("* * 1 * *", utc(2027, 7, 20), utc(2027, 7, 1, 23, 59)),
        ("* * 1 1 *", utc(2036, 7, 20), utc(2036, 1, 1, 23, 59)),
    ],
)
def test_after_years_the_latest_time_is_still_found_at_once(line, now, latest):
    due = Cron.read(line, "UTC").due(utc(2020, 1, 1), now)

    assert (due.at, due.missed) == (latest, MOST_COUNTED)


@pytest.mark.parametrize(
    ("line", "zone", "told"),
    [
        ("0 7 * *", "UTC", "has 4 fields, and a cron line has five"),
        ("60 7 * * *", "UTC", "'60' is no minute"),
        ("0 7 * foo *", "UTC", "'foo' is no month"),
        ("*/0 * * * *", "UTC", r"'\*/0' is no minute"),
        ("0 0 31 2 *", "UTC", "there is no day 31 in month 2"),
        ("0 7 * * *", "Mars/Olympus", "'Mars/Olympus' is no time zone"),
        ("0 7 * * 5-1", "UTC", "'5-1' is no day of the week"),
        ("0 7 32 * *", "UTC", "'32' is no day of the month"),
        ("0 24 * * *", "UTC", "'24' is no hour"),
        ("", "UTC", "has 0 fields"),
        ("0 0 0 7 * *", "UTC", "has 6 fields"),
        ("@daily", "UTC", "has one field,"),
        ("0 7 * * *", "../../etc/passwd", "is no time zone"),
        ("0 7 * * *", "Europe", "is no time zone"),
        ("0 7 * * *", "", "is no time zone"),
    ],
)
def test_what_is_no_cron_line_says_which_part_and_what_to_do(line, zone, told):
    with pytest.raises(CronInvalid, match=told) as caught:
        Cron.read(line, zone)

    assert caught.value.next_step


def test_a_zone_that_this_machine_does_not_know_is_told():
    with pytest.raises(CronInvalid, match="no time zone that this machine knows"):
        Cron("0 7 * * *", "Elsewhere/Town").after(utc(2026, 1, 1))
