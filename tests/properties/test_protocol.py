"""For every way in which a line may be cut, or written to by somebody hostile."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.errors import FrameInvalid
from worker.protocol import HEADER, Assignment, Decoder, Outcome, Progress, Ready, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
WORDS = st.one_of(
    st.just(Ready()),
    st.builds(Progress, run_id=TEXT, task=st.integers(0, 9), agent=TEXT),
    st.builds(Outcome, run_id=TEXT, ended=st.just("completed"), output=TEXT, error=TEXT),
    st.builds(
        Assignment,
        run_id=TEXT,
        plugin=TEXT,
        attempt=st.integers(1, 99),
        user_id=st.integers(0, 2**64 - 1),
        settings=st.dictionaries(TEXT, JSON, max_size=3),
    ),
)


@given(words=st.lists(WORDS, max_size=5), cuts=st.lists(st.integers(0, 4000), max_size=20))
def test_words_come_out_whole_and_in_order_however_they_were_cut(words, cuts):
    stream, decoder = b"".join(map(encode, words)), Decoder()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    out = [word for start, end in pairwise(edges) for word in decoder.feed(stream[start:end])]

    # Compared as they travel: 1.0 and 1 are the same number in JSON.
    assert [word.model_dump_json() for word in out] == [word.model_dump_json() for word in words]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_rubbish_is_refused_or_waited_for_and_nothing_else(chunks):
    decoder = Decoder()
    told = ""
    try:
        for chunk in chunks:
            decoder.feed(chunk)
    except FrameInvalid as error:
        told = str(error)

    assert len(told) < 500


@given(st.binary(max_size=200))
def test_a_frame_of_rubbish_is_always_refused(body):
    try:
        words = Decoder().feed(HEADER.pack(len(body)) + body)
    except FrameInvalid:
        return
    assert all(hasattr(word, "kind") for word in words)
