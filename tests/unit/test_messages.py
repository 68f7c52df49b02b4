"""What a message on a control stream may say, and what becomes of one that says anything else."""

import doctest
import json

import pytest

from supervisor.streams import messages
from supervisor.streams.keys import Keys
from supervisor.streams.messages import BadMessage, Order, Reply, parse, reply_of

KEYS = Keys("plugin:requests", "plugin:results", "plugin:requests:dlq", "workers", "readers")
REPLIES = "crewpool:messages:reply:0123456789abcdef"


def test_the_examples_in_docstrings_are_true():
    assert doctest.testmod(messages).failed == 0


@pytest.mark.parametrize(
    "order",
    [
        Order("ping", 1700, "a-1", REPLIES),
        Order("cancel", 1700, run="r-1"),
        Order("scale", 1700, "a_1", REPLIES, workers=0),
        Order("scale", 1700, workers=512),
        Order("pause", 1700, reason="new disk"),
    ],
)
def test_an_order_says_what_it_was_made_of(order):
    assert parse("1700-3", order.fields(), KEYS) == order


def test_what_does_not_belong_to_an_order_is_left_out():
    order = parse("1700-0", {"kind": "ping", "run": "r-1", "workers": "x", "else": "y"}, KEYS)

    assert order == Order("ping", 1700)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "kind must be one of"),
        ({"kind": "KILL"}, "kind must be one of"),
        ({"kind": "__init__"}, "kind must be one of"),
        ({"kind": "cancel"}, "run must be"),
        ({"kind": "cancel", "run": "x" * 129}, "run must be"),
        ({"kind": "cancel", "run": "a\nb"}, "run must be"),
        ({"kind": "cancel", "run": "\udcff"}, "run must be"),
        ({"kind": "scale"}, "workers must be"),
        ({"kind": "scale", "workers": "513"}, "workers must be"),
        ({"kind": "scale", "workers": "-1"}, "workers must be"),
        ({"kind": "scale", "workers": "1e2"}, "workers must be"),
        ({"kind": "scale", "workers": "٣"}, "workers must be"),
        ({"kind": "scale", "workers": "9" * 100_000}, "workers must be"),
        ({"kind": "scale", "workers": "3\n"}, "workers must be"),
    ],
)
def test_a_bad_message_is_told_to_whoever_asked(fields, told):
    bad = parse("1-0", {"id": "a-1", "reply_to": REPLIES, **fields}, KEYS)

    assert isinstance(bad, BadMessage)
    assert told in bad.problem
    assert len(bad.problem) < 500
    assert (bad.id, bad.reply_to) == ("a-1", REPLIES)


@pytest.mark.parametrize("asker", ["a b", "x" * 65, "a\n", "\udcff"])
def test_an_id_that_is_none_is_not_repeated(asker):
    bad = parse("1-0", {"kind": "ping", "id": asker, "reply_to": REPLIES}, KEYS)

    assert (bad.id, bad.reply_to) == ("", REPLIES)


@pytest.mark.parametrize(
    "reply_to",
    [
        "plugin:results",
        "plugin:requests",
        "crewpool:messages:all",
        "crewpool:messages:vm-1-4f2a",
        "crewpool:hosts",
        "crewpool:messages:reply:",
        "crewpool:messages:reply:xyz",
        "crewpool:messages:reply:0123456",
        "crewpool:messages:reply:" + "0" * 65,
        REPLIES + "\n",
        "x" + REPLIES,
        REPLIES.replace(":", "."),
        REPLIES.upper(),
    ],
)
def test_nobody_can_name_a_stream_that_is_none_of_replies(reply_to):
    bad = parse("1-0", {"kind": "ping", "id": "a-1", "reply_to": reply_to}, KEYS)

    assert isinstance(bad, BadMessage)
    assert bad.reply_to == ""


def test_streams_of_replies_follow_the_name_of_the_control_streams():
    keys = Keys("{c}:r", "{c}:s", "{c}:d", "workers", "readers", messages="{c}:messages")
    name = messages.new_reply_stream(keys)

    assert name.startswith("{c}:messages:reply:")
    assert messages.is_reply_stream(name, keys)
    assert not messages.is_reply_stream(name, KEYS)
    assert messages.new_reply_stream(keys) != name


def test_a_reason_is_one_line_of_a_bearable_length():
    order = parse("1-0", {"kind": "pause", "reason": "a\nb\x1b" + "c" * 1000}, KEYS)

    assert order.reason.startswith("a?b?ccc")
    assert len(order.reason) == messages.MOST_REASON


def test_a_reply_is_read_as_it_was_said():
    reply = Reply("vm-1-4f2a", "a-1", ok=False, text="no", facts={"name": "\udcff", "n": 1})
    fields = reply.fields()

    assert reply_of(fields) == reply
    assert all(text.isascii() for text in fields.values())


@pytest.mark.parametrize(
    "fields",
    [{}, {"id": "a"}, {"host": "h"}, {"id": "a", "host": "h", "data": "["}]
    + [{"id": "a", "host": "h", "data": json.dumps(data)} for data in ([], 1, None, "x")],
)
def test_what_is_no_reply_is_none(fields):
    assert reply_of(fields) is None
