"""Credentials are hidden in whatever is shown or kept."""

import json

import pytest

from worker.redact import MASK, SHORTEST, redact, secrets_of, without_credentials

SECRET = "sk-0123456789abcdef"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n"


def hidden(text, settings=None, environ=None):
    return redact(text, secrets_of(settings or {}, environ or {}))


def test_settings_that_begin_with_an_underscore_are_not_for_eyes():
    assert without_credentials({"a": 1, "_b": 2, "_": 3, "c_d": 4}) == {"a": 1, "c_d": 4}


def test_their_values_are_hidden_wherever_they_stand():
    assert hidden(f"a {SECRET}, b={SECRET}", {"_key": SECRET}) == "a ***, b=***"


def test_values_inside_of_them_are_hidden_too():
    settings = {"_more": {"list": ["deep-secret-1", {"x": "deep-secret-2"}], "n": 7}}

    assert hidden("deep-secret-1 deep-secret-2 7", settings) == "*** *** 7"


def test_values_of_other_settings_are_shown():
    assert hidden(SECRET, {"topic": SECRET}) == SECRET


def test_variables_whose_name_says_so_are_hidden():
    names = ("OPENAI_API_KEY", "aws_secret_access_key", "DB_PASSWORD", "GH_TOKEN", "MY_CREDENTIAL")
    for name in names:
        assert hidden(f"x{SECRET}y", environ={name: SECRET}) == "x***y"
    assert hidden(SECRET, environ={"HOME": SECRET}) == SECRET


def test_a_short_value_does_not_blank_out_ordinary_words():
    short = "x" * (SHORTEST - 1)

    assert hidden(f"{short} true", {"_a": short, "_b": "true"}) == f"{short} true"


def test_one_secret_leaves_no_tail_of_a_longer_one():
    settings = {"_a": "secret-abc", "_b": "secret-abc-def"}

    assert hidden("secret-abc-def", settings) == "***"


def test_a_credential_of_several_lines_is_hidden_line_by_line():
    """A log is made of lines: the whole value never stands in one."""
    shown = "\n".join(hidden(line, {"_private_key": PEM}) for line in PEM.splitlines())

    assert "MIIEvQIBADANBgkqhkiG" not in shown
    assert "9w0BAQEFAASCBKcwggSj" not in shown


def test_a_credential_is_hidden_as_it_stands_in_json():
    for value in (PEM, 'with "quotes" inside', "back\\slash-secret", "umlaut-öäü-secret"):
        shown = hidden(json.dumps({"settings": {"_k": value}}), {"_k": value})
        assert json.dumps(value)[1:-1] not in shown


def test_no_secret_means_no_change():
    assert hidden("text") == "text"


@pytest.mark.parametrize(
    ("settings", "environ", "printed"),
    [
        ({"_key": "from-a-file-123\n"}, {}, "got from-a-file-123 here"),
        ({"_pin": 9876543210}, {}, "pin is 9876543210"),
        ({}, {"HTTP_PROXY": "http://bob:proxypass99@proxy:3128"}, "407 for proxypass99"),
    ],
)
def test_a_credential_is_hidden_in_the_shape_in_which_it_is_used(settings, environ, printed):
    assert MASK in redact(printed, secrets_of(settings, environ))
