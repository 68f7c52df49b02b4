"""How the offline model fills schemas: arguments of tools, structured answers."""

import json
import time

import jsonschema
import pytest

from supervisor.embedded.answer import answer
from supervisor.embedded.conversation import NOTE
from supervisor.embedded.wire import Message, Request, Tool
from tests.support.offline import ASK, CONTEXT, RESULT, say, tool


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "solar power"),
        ({"type": "string", "enum": ["year", "week"]}, "week"),
        ({"type": "string", "const": "x"}, "x"),
        ({"type": "string", "maxLength": 5}, "solar"),
        ({"type": ["string", "null"]}, None),
        ({"$ref": "#/$defs/word"}, "solar power"),
        ({"allOf": [{"$ref": "#/$defs/word"}]}, "solar power"),
        ({"type": "array", "items": {"type": "string"}}, ["solar power"]),
        ({"type": "array", "items": {"enum": ["week", "day"]}}, ["week"]),
        ({"type": "boolean"}, False),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "exclusiveMaximum": 0}, -1.0),
        ({"type": "object", "properties": {}}, {}),
        ({}, "solar power"),
    ],
)
def test_an_argument_fits_its_schema(schema, value):
    parameters = {
        "properties": {"query": schema},
        "required": ["query"],
        "$defs": {"word": {"type": "string"}},
    }

    call = say(
        "Find what was written this week about solar power", tools=[Tool("t", "", parameters)]
    )

    assert {"query": value} == call.call.arguments


def test_labels_numbers_addresses_and_dates_of_the_prompt_become_arguments():
    text = (
        "Search. Country: Norway. Show at most 7 results since 2026-02-01 from "
        "https://a.example.com/feed and write them to out/list.md"
    )
    string = {"type": "string"}
    properties = {
        "country": string,
        "results": {"type": "integer"},
        "since": string,
        "url": string,
        "file_path": string,
        "sites": {"type": "array", "items": string},
        "feed_urls": {"type": "array", "items": string},
    }

    assert say(text, tools=[tool("search", **properties)]).call.arguments == {
        "country": "Norway",
        "results": 7,
        "since": "2026-02-01",
        "url": "https://a.example.com/feed",
        "file_path": "out/list.md",
        "sites": [],
        "feed_urls": ["https://a.example.com/feed"],
    }


def test_an_optional_argument_is_left_to_the_tool_unless_the_prompt_gives_it():
    schema = {"properties": {"query": {"type": "string"}, "page": {"type": "integer"}}}
    search = Tool("search", "", {**schema, "required": ["query"]})

    assert say("Search about bees", tools=[search]).call.arguments == {"query": "bees"}
    assert say("About bees; page 3", tools=[search]).call.arguments == {"query": "bees", "page": 3}


SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "summary": {"type": "string"},
        "stories": {"type": "array", "items": {"$ref": "#/$defs/Story"}, "minItems": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "mood": {"enum": ["good", "bad"]},
        "count": {"type": "integer"},
        "valid": {"type": "boolean"},
        "feedback": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["title", "summary", "stories", "tags", "mood", "count", "valid", "feedback"],
    "additionalProperties": False,
    "$defs": {
        "Story": {
            "type": "object",
            "properties": {
                "headline": {"type": "string"},
                "source_name": {"type": "string"},
                "published": {"type": "string", "format": "date"},
                "rank": {"type": "integer"},
            },
            "required": ["headline", "source_name", "published", "rank"],
        }
    },
}


def test_a_structured_answer_fits_the_schema_and_holds_what_was_found():
    reply = say(ASK, Message("tool", RESULT, "read_feeds"), schema=SCHEMA)
    data = json.loads(reply.text)

    jsonschema.validate(data, SCHEMA)
    story = {"headline": "Ferries run on sodium", "source_name": "Herald"}
    assert [story | {"published": "2026-02-13", "rank": 1}] == data["stories"]
    assert (data["count"], data["valid"], data["feedback"]) == (1, True, None)
    assert NOTE in data["summary"]


def test_any_object_will_do_where_no_schema_is_given():
    data = json.loads(say(ASK + CONTEXT + RESULT, schema={}).text)

    assert data["note"] == NOTE
    assert data["items"][0]["title"] == "Ferries run on sodium"


def test_a_forced_tool_is_filled_from_what_the_prompt_says():
    wanted = tool("Story", headline={"type": "string"})
    request = Request((Message("user", f"Extract:\n\n{RESULT}"),), (wanted,), forced="Story")

    assert {**answer(request).call.arguments} == {"headline": "Ferries run on sodium"}


def test_json_that_is_there_already_is_passed_on():
    schema = {"properties": {"a": {"type": "integer"}}, "required": ["a"]}

    assert say(ASK + CONTEXT + '{"a": 5}', schema=schema).text == '{"a": 5}'


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"allOf": [{"$ref": "#"}]},
        {"type": 5, "properties": [], "required": {}, "enum": {}, "items": 7},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 10**9},
        {"type": "string", "minLength": 10**12},
        {"type": "integer", "minimum": float("inf")},
        {"properties": {str(n): {"$ref": "#"} for n in range(50)}},
        {"properties": {"a": True, "b": None, "c": []}},
    ],
)
def test_a_hostile_schema_neither_breaks_nor_blocks(schema):
    started = time.process_time()
    text = say(ASK + CONTEXT + RESULT, schema=schema).text
    say(ASK, tools=[Tool("t", "", schema)])

    assert time.process_time() - started < 5
    assert len(text) < 1_000_000
