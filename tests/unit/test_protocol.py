"""The words on a worker's line, and the frames they travel in."""

import pytest
from pydantic import ValidationError

from worker.errors import FrameInvalid
from worker.policies import CAUSES
from worker.protocol import (
    HEADER,
    MAX_FRAME_BYTES,
    Alone,
    Assignment,
    Decoder,
    Forked,
    Outcome,
    Progress,
    Ready,
    Refused,
    Spawn,
    Tokens,
    ZygoteReady,
    encode,
)

WORDS = [
    Assignment(run_id="r", plugin="p", attempt=1, user_id=2**64 - 1, settings={"a": [1, None]}),
    Ready(),
    Progress(run_id="r", task=1, tasks=3, agent="ö", tokens=Tokens(prompt=1)),
    Outcome(run_id="r", ended="completed", output="{}"),
    Outcome(run_id="r", ended="rate_limited", retry_after_s=7.5),
    Spawn(slot=0, order=1),
    Spawn(slot=0, order=2, berth=1, is_ahead=True),
    Alone(),
    Forked(order=1, pid=8),
    Refused(reason="no"),
    ZygoteReady(modules=1, import_s=0.1, lazy={"p": "thread"}, code={"q": "0123456789ab"}),
]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.kind)
def test_a_word_comes_out_as_it_went_in(word):
    assert Decoder().feed(encode(word)) == [word]


def test_words_come_out_in_order_however_they_were_cut():
    stream, decoder = b"".join(map(encode, WORDS)), Decoder()

    words = [word for i in range(len(stream)) for word in decoder.feed(stream[i : i + 1])]

    assert words == WORDS


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff\xff\xff\xff",
        HEADER.pack(MAX_FRAME_BYTES + 1),
        HEADER.pack(0),
        HEADER.pack(2) + b"{}",
        HEADER.pack(4) + b"null",
        HEADER.pack(2) + b"[]",
        HEADER.pack(5) + b"\xff\xfe{}\x00",
        HEADER.pack(16) + b'{"kind":"other"}',
        HEADER.pack(35) + b'{"kind":"forked","order":1,"pid":0}',
        HEADER.pack(30) + b'{"kind":"ready","pid":9,"x":1}',
        HEADER.pack(26) + b'{"kind":"ready","pid":"x"}',
    ],
)
def test_what_is_no_frame_of_ours_is_refused(bad):
    with pytest.raises(FrameInvalid, match="Broken frame"):
        Decoder().feed(bad)


def test_a_refusal_does_not_quote_what_was_sent():
    body = b'{"kind":"ready","pid":"sk-0123456789abcdef"}'
    with pytest.raises(FrameInvalid) as told:
        Decoder().feed(HEADER.pack(len(body)) + body)

    assert "sk-0123" not in str(told.value)


def test_words_before_a_broken_one_are_not_lost_with_it():
    decoder = Decoder()
    assert decoder.feed(encode(Ready())) == [Ready()]
    with pytest.raises(FrameInvalid):
        decoder.feed(HEADER.pack(2) + b"{}")


def test_a_frame_above_the_cap_is_not_sent():
    word = Outcome(run_id="r", ended="completed", output="x" * MAX_FRAME_BYTES)

    with pytest.raises(FrameInvalid, match="above the cap"):
        encode(word)


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_no_word_names_a_pid_that_must_not_be_killed(pid):
    """0 is our own process group, 1 the system's first process, -1 everybody."""
    with pytest.raises(ValidationError):
        Forked(order=1, pid=pid)


def test_words_cannot_be_changed():
    word = Ready()
    with pytest.raises(ValidationError):
        word.pid = 8


def test_large_integers_of_settings_travel_unharmed():
    word = Assignment(run_id="r", plugin="p", attempt=1, user_id=1, settings={"n": 10**4000})

    assert Decoder().feed(encode(word)) == [word]


@pytest.mark.parametrize(
    "facts",
    [
        {"tokens": {"prompt": -1}},
        {"tokens": {"completion": 10**4000}},
        {"duration_s": float("nan")},
        {"duration_s": -1},
        {"retry_after_s": -1},
        {"retry_after_s": float("nan")},
        {"retry_after_s": float("inf")},
        {"retry_after_s": 86_401},
        {"ended": "lost"},
        {"ended": "cancelled"},
    ],
)
def test_counts_that_would_break_metrics_and_records_are_no_frame(facts):
    with pytest.raises(ValidationError):
        Outcome(**{"run_id": "r-1", "ended": "completed", **facts})


@pytest.mark.parametrize(
    "ended", ["completed", "exception", "invalid", "rate_limited", "needs_human", "oom"]
)
def test_a_run_ends_in_one_of_the_ways_that_retries_know(ended):
    assert Decoder().feed(encode(Outcome(run_id="r-1", ended=ended)))[0].ended == ended
    assert ended == "completed" or ended in CAUSES
