"""What a crew prints, cut into lines within a budget."""

from supervisor.pool.loglines import BURST_LINES, LINES_PER_S, LONGEST, LogLines


def fed(*chunks, now=0.0, lines=None):
    lines, told = lines or LogLines(), []
    for chunk in chunks:
        lines.feed(chunk, told.append, now)
    return told


def test_lines_are_told_when_they_are_complete():
    assert fed(b"one\ntw", b"o\nthree") == ["one", "two"]


def test_what_is_left_is_told_at_the_end():
    assert fed(b"one\ntwo", b"") == ["one", "two"]
    assert fed(b"", b"") == []


def test_a_character_that_was_cut_in_two_is_whole():
    snowman = "\u2603".encode()

    assert fed(snowman[:1], snowman[1:] + b"\n") == ["\u2603"]


def test_bytes_that_are_no_text_are_shown_as_such():
    assert fed(b"a\xff\xfeb\n") == ["a\ufffd\ufffdb"]


def test_empty_lines_are_not_told_and_ends_are_trimmed():
    assert fed(b"\n \r\nx \t\r\n\n") == ["x"]


def test_a_line_without_end_is_cut_and_not_kept():
    lines = LogLines()

    told = fed(*[b"x" * 10_000] * 100, b"y\nz\n", lines=lines)

    assert all(len(line) <= LONGEST for line in told)
    assert sum(map(len, told)) <= 2 * LONGEST
    assert told[-1] == "z"


def test_above_the_budget_lines_are_dropped_and_counted():
    lines = LogLines()

    told = fed(b"x\n" * (BURST_LINES + 7), lines=lines)

    assert len(told) == BURST_LINES
    assert lines.is_flooding
    assert lines.take_dropped() == 7
    assert lines.take_dropped() == 0


def test_the_budget_comes_back_with_time():
    lines = LogLines()
    fed(b"x\n" * BURST_LINES, lines=lines, now=0.0)

    told = fed(b"x\n" * 1000, lines=lines, now=1.0)

    assert len(told) == LINES_PER_S


def test_the_budget_does_not_grow_above_its_size():
    lines = LogLines()
    fed(b"x\n", lines=lines, now=0.0)

    assert len(fed(b"x\n" * 10_000, lines=lines, now=10_000.0)) == BURST_LINES


def test_a_clock_that_stands_still_is_no_division():
    lines = LogLines()

    assert fed(b"a\n", b"b\n", lines=lines, now=5.0) == ["a", "b"]


def test_the_last_line_is_remembered_for_the_postmortem():
    lines = LogLines()
    fed(b"one\nImportError: no\n", lines=lines)

    assert lines.last == "ImportError: no"
