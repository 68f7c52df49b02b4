"""What was typed becomes settings: pure functions of supervisor/cli/request.py."""

import json

import pytest

from supervisor.cli.failures import UsageWrong
from supervisor.cli.request import credentials_typed, payload_of, settings_of, value_of
from supervisor.streams.wire import Request


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('["a"]', ["a"]),
        ('{"a": 1}', {"a": 1}),
        ('"42"', "42"),
        ("technology", "technology"),
        ("", ""),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("0123", "0123"),
        ("a=b", "a=b"),
        ("[" * 100_000, "[" * 100_000),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_value_is_json_if_it_parses_else_the_text_itself(text, value):
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("pairs", "settings"),
    [
        ([], {}),
        (["a=1", "b=x"], {"a": 1, "b": "x"}),
        (["t=a", "t=b", "t=c"], {"t": ["a", "b", "c"]}),
        (["a.b.c=1", "a.d=2"], {"a": {"b": {"c": 1}, "d": 2}}),
        (["a=x=y"], {"a": "x=y"}),
        (['a={"b": 1}', "a.c=2"], {"a": {"b": 1, "c": 2}}),
    ],
)
def test_pairs_make_values_lists_and_objects(pairs, settings):
    assert settings_of("", pairs, (), {}) == settings


def test_pairs_win_over_the_settings_as_a_whole():
    base = '{"topics": ["a"], "deep": {"kept": 1, "changed": 1}}'

    settings = settings_of(base, ["topics=b", "deep.changed=2"], (), {})

    assert settings == {"topics": "b", "deep": {"kept": 1, "changed": 2}}


def test_settings_without_a_bottom_are_refused_in_words():
    with pytest.raises(UsageWrong, match="nested deeper than 64 levels"):
        settings_of("[" * 200_000, [], (), {})


def test_secrets_come_from_variables_and_keep_their_text():
    settings = settings_of("", [], ["_key=NUMBER"], {"NUMBER": "123"})

    assert settings == {"_key": "123"}


@pytest.mark.parametrize(
    ("base", "pairs", "secrets"),
    [
        ("[]", [], []),
        ("{", [], []),
        ('{"a": NaN}', [], []),
        ("", ["=1"], []),
        ("", ["a"], []),
        ("", [], ["_a=UNSET"]),
        ("", [], ["a=HOME"]),
        ("", [], ["_a"]),
    ],
)
def test_what_makes_no_settings_is_refused(base, pairs, secrets):
    with pytest.raises(UsageWrong):
        settings_of(base, pairs, secrets, {"HOME": "x"})


def test_a_pair_without_a_value_is_not_quoted_for_it_may_be_a_credential():
    with pytest.raises(UsageWrong) as refused:
        settings_of("", ["sk-pasted-in-the-wrong-place"], (), {})

    assert "sk-pasted" not in str(refused.value)


def test_a_payload_is_checked_by_the_rules_of_the_wire_contract():
    whole = payload_of(Request("r-1", "hello", 1, {"a": "ü"}), 1000)

    assert json.loads(whole)["settings"] == {"a": "ü"}
    for request in (
        Request("r-1", "Hello", 1, {}),
        Request("", "hello", 1, {}),
        Request("r-1", "hello", 2**64, {}),
        Request("r-1", "hello", 1, {"a": "\udc80"}),
        Request("r-1", "hello", 1, {"a": float("inf")}),
        Request("r-1", "hello", 1, {"a": "x" * 1000}),
    ):
        with pytest.raises(UsageWrong):
            payload_of(request, 1000)


def test_credentials_that_were_typed_are_named_once_and_without_values():
    assert credentials_typed(["_a=1", "b=2", "_a=3", "_c=4"]) == ["_a", "_c"]
