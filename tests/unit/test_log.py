"""The log: one line an event, which nobody can forge."""

import io
import logging
import re
import sys

import pytest

from supervisor.log import Log, to_stderr


@pytest.fixture
def line(monkeypatch):
    """Log one event; return the line as it was written."""
    written = io.StringIO()
    # The handlers of pytest stay out of it: to_stderr() closes those that it replaces.
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    monkeypatch.setattr(sys, "stderr", written)
    to_stderr("INFO")

    def write(event, level="info", **facts):
        written.seek(0)
        written.truncate()
        getattr(Log(), level)(event, **facts)
        return written.getvalue()

    return write


def test_a_line_has_time_level_event_and_facts(line):
    written = line("run_started", run="r-1", slot=0, empty=None)

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    run_started run=r-1 slot=0\n", written
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\nb\r\x1b[2J", '"a\\nb\\r\\u001b[2J"'),
        ("\u2028\u202e", '"\\u2028\\u202e"'),
        ("ö", '"\\u00f6"'),
        ("\ud83d", '"\\ud83d"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        (2.0, "2"),
        (0.5, "0.5"),
        (0.0004, "0"),
        (0, "0"),
        (True, "True"),
        (["a"], "\"['a']\""),
    ],
)
def test_values_are_quoted_where_they_could_be_misread(line, value, shown):
    assert line("event", fact=value).endswith(f" event fact={shown}\n")


def test_a_value_of_megabytes_is_cut(line):
    assert len(line("event", fact="x" * 1_000_000)) < 2100


def test_percent_signs_are_text(line):
    assert "100%s" in line("event", fact="100%s %d")


def test_errors_and_warnings_say_so(line):
    assert "Z WARNING odd" in line("odd", level="warning")
    assert "Z ERROR   broken" in line("broken", level="error")
