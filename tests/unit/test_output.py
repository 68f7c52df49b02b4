"""What a crew returned, as text that a JSONB column takes."""

import json
from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from worker.crew.output import as_json_text, clean, sections_of


def result(raw="", json_dict=None, pydantic=None):
    return SimpleNamespace(raw=raw, json_dict=json_dict, pydantic=pydantic)


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def decoded(value, secrets=()):
    text = as_json_text(value, secrets)
    assert "\\u0000" not in text
    text.encode()
    return json.loads(text, parse_constant=refuse)


def test_json_dict_comes_first():
    assert decoded(result("raw", {"a": 1}, SimpleNamespace(model_dump=None))) == {"a": 1}


def test_a_model_is_dumped():
    class Answer(BaseModel):
        value: int

    assert decoded(result("raw", None, Answer(value=7))) == {"value": 7}


def test_markdown_becomes_sections():
    text = "Intro line.\n\n# News\nAll\nwell.\n\n## Sport ##\nWon.\n"

    assert decoded(result(text)) == {
        "summary": "Intro line.",
        "sections": [
            {"title": "", "content": "Intro line."},
            {"title": "News", "content": "All\nwell."},
            {"title": "Sport", "content": "Won."},
        ],
        "raw": text,
    }


def test_the_summary_is_the_first_paragraph_that_says_something():
    assert sections_of("# A\n\n# B\none\ntwo\n\nthree")["summary"] == "one two"
    assert sections_of("# Only a title")["summary"] == "Only a title"
    assert len(sections_of("x" * 9000)["summary"]) == 500


def test_a_heading_in_code_is_code():
    sections = sections_of("# A\n```\n# no heading\n```\n# B")["sections"]

    assert [section["title"] for section in sections] == ["A", "B"]


@pytest.mark.parametrize("line", ["#nospace", "####### seven", "text # here", "#"])
def test_what_is_no_heading_is_text(line):
    assert [section["title"] for section in sections_of(line)["sections"]] == [""]


@pytest.mark.parametrize("nothing", ["", "\n\n", "   "])
def test_nothing_becomes_nothing(nothing):
    found = sections_of(nothing)

    assert (found["summary"], found["sections"]) == ("", [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"nan": float("nan"), "inf": [float("-inf")]}, {"nan": None, "inf": [None]}),
        ({"nul": "a\0b", "half": "\ud83d"}, {"nul": "a\ufffdb", "half": "\ufffd"}),
        ({1: "int", None: "none", (1, 2): "pair"}, {"1": "int", "None": "none", "(1, 2)": "pair"}),
        ({"set": {1}, "tuple": (1, 2)}, {"set": [1], "tuple": [1, 2]}),
        ({"decimal": Decimal("1.5"), "bytes": b"x"}, {"decimal": "1.5", "bytes": "b'x'"}),
        ([True, 0, None, 1.5, 2**64], [True, 0, None, 1.5, 2**64]),
        (OrderedDict(a=1), {"a": 1}),
        ({"enum": IntEnum("E", "A")["A"]}, {"enum": 1}),
    ],
)
def test_what_jsonb_refuses_is_replaced(value, expected):
    assert decoded(value) == expected


def test_none_is_a_text_too():
    assert decoded(None)["raw"] == "None"


def test_secrets_are_masked_inside_values_and_keys():
    secrets = ('se"cret', "other-secret")
    found = decoded({'se"cret': ['a se"cret b'], "x": {"y": "other-secret"}}, secrets)

    assert found == {"***": ["a *** b"], "x": {"y": "***"}}


def test_a_secret_that_looks_like_json_does_not_break_it():
    assert decoded({"a": "1", "b": [1]}, ('":', '"a"', "1, ")) is not None


def test_a_structure_without_an_end_is_an_error_of_the_crew():
    endless = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        as_json_text(endless)


def test_clean_text_stays_as_it_is():
    text = "ö \U0001f600 \u2028 \x7f"

    assert clean(text) == text
