"""Lengths and moments as they are typed: supervisor/times.py."""

import doctest
from datetime import datetime

import pytest

from supervisor import times

NOW = 1_800_000_000.0


def test_the_examples_in_docstrings_are_true():
    assert doctest.testmod(times).failed == 0


@pytest.mark.parametrize(
    ("text", "length_s"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400), (" 1.5 h ", 5400), ("0.5s", 0.5)],
)
def test_a_length_is_a_number_and_a_unit(text, length_s):
    assert times.length_of(text) == length_s


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "-3s", "1w", "1h30m", "0s", "nan s", "1e3s", "٣s", "367d", "9" * 30 + "d"],
)
def test_what_is_no_length_is_refused_with_the_form(text):
    with pytest.raises(ValueError, match="must be a number and a unit: 30s, 10m, 2h or 1d"):
        times.length_of(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1800000060", NOW + 60),
        ("1800000060.5", NOW + 60.5),
        ("2027-01-15T08:01:00Z", NOW + 60),
        ("2027-01-15T10:01:00+02:00", NOW + 60),
        ("2027-01-15 08:01:00.25+00:00", NOW + 60.25),
    ],
)
def test_a_moment_is_unix_time_or_iso_8601(text, at):
    assert times.moment_of(text, NOW) == at


def test_without_a_zone_it_is_local_time():
    local = datetime.fromtimestamp(NOW + 3600)  # noqa: DTZ006  # without a zone on purpose

    assert times.moment_of(local.isoformat(), NOW) == NOW + 3600
    assert times.moment_of(times.clock(NOW + 3600), NOW) == NOW + 3600


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be 2026-11-22T18:00"),
        ("soon", "must be 2026-11-22T18:00"),
        ("18:00", "must be 2026-11-22T18:00"),
        ("2027-13-01", "must be 2026-11-22T18:00"),
        ("1800000060000", "must be 2026-11-22T18:00"),
        ("180000006000", "more than 366 days away"),
        ("9999-12-31T23:59:59Z", "more than 366 days away"),
        ("0001-01-01T00:00:00Z", "ago: nothing"),
        ("1799999000", "16m 40s ago: nothing can be started in the past"),
        ("1800000000", "0s ago"),
    ],
)
def test_what_is_no_moment_to_come_is_refused_with_the_reason(text, told):
    with pytest.raises(ValueError, match=told):
        times.moment_of(text, NOW)


def test_a_moment_that_is_none_can_be_told():
    assert times.clock(1e300) == times.clock(float("nan")) == "a time that is none"
