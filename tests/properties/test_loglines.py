"""For everything that a crew may print, in whatever pieces it arrives."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from supervisor.pool.loglines import BURST_LINES, LONGEST, LogLines


def fed(chunks, nows=None):
    lines, told = LogLines(), []
    for n, chunk in enumerate(chunks):
        lines.feed(chunk, told.append, nows[n] if nows else 0.0)
    return lines, told


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=10))
def test_how_it_was_cut_makes_no_difference(data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges) if b > a]

    assert fed([*pieces, b""])[1] == fed([data, b""] if data else [b""])[1]


@given(st.lists(st.binary(max_size=300), max_size=50))
def test_what_is_told_is_one_bounded_line_of_text(chunks):
    _, told = fed([*chunks, b""])

    for line in told:
        assert line
        assert "\n" not in line
        assert len(line) <= LONGEST
        line.encode()


@given(st.lists(st.sampled_from([b"x\n", b"x" * 20_000, b"\n" * 50, b"yy\n" * 700]), max_size=30))
def test_told_and_dropped_never_exceed_what_came(chunks):
    lines, told = fed([*chunks, b""])

    assert len(told) <= BURST_LINES
    assert len(told) + lines.dropped <= b"".join(chunks).count(b"\n") + len(chunks) + 1


@given(
    st.lists(
        st.tuples(st.binary(max_size=50), st.floats(0, 1e6, allow_nan=False)),
        max_size=20,
    )
)
def test_no_clock_breaks_it(steps):
    """Not even one that goes backwards."""
    lines, told = fed([chunk for chunk, _ in steps], [now for _, now in steps])

    assert lines.dropped >= 0
    assert len(told) <= 10_000
