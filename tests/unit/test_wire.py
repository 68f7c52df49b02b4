"""The wire contract: what a producer may write, and what may be kept of it."""

import json

import pytest

from supervisor.streams.wire import (
    Entry,
    Rejected,
    Request,
    Result,
    entry_fields,
    parse,
    request_payload,
    run_id_in,
    safe_payload,
)

SECRET = "sk-0123456789abcdef"
CAP = 1000


def entry(payload=None, **fields):
    given = {} if payload is None else {"payload": payload}
    return Entry("plugin:requests", "1-1", given | fields, len(payload or ""))


def body(**changes):
    whole = {"plugin_run_id": "r-1", "plugin_name": "echoes", "user_id": 42, "settings": {"a": 1}}
    return json.dumps({k: v for k, v in (whole | changes).items() if v is not ...})


def test_a_request_is_read_as_it_was_written():
    assert parse(entry(body()), CAP) == Request("r-1", "echoes", 42, {"a": 1})


@pytest.mark.parametrize("settings", [None, {}, ...])
def test_settings_may_be_null_empty_or_absent(settings):
    assert parse(entry(body(settings=settings)), CAP).settings == {}


def test_unknown_keys_and_fields_are_no_fault():
    assert isinstance(parse(entry(body(trace="x"), attempt="2", tenant="t"), CAP), Request)


@pytest.mark.parametrize("user_id", [0, 1, 2**63, 2**64 - 1])
def test_every_unsigned_integer_is_a_user(user_id):
    assert parse(entry(body(user_id=user_id)), CAP).user_id == user_id


@pytest.mark.parametrize("run_id", ["x", "550e8400-e29b-41d4-a716-446655440000", "ö " * 64])
def test_a_run_id_is_any_printable_text_of_up_to_128_characters(run_id):
    assert parse(entry(body(plugin_run_id=run_id)), CAP).run_id == run_id


def test_payload_is_the_only_field_that_is_required():
    assert isinstance(parse(entry(body()), CAP), Request)
    assert parse(entry(), CAP).reason == "no_payload"


@pytest.mark.parametrize("version", ["", "v0", "v2", "V1", "v1 ", "\udcff"])
def test_another_version_is_not_guessed_at(version):
    rejected = parse(entry(body(), schema_version=version), CAP)

    assert (rejected.reason, rejected.run_id) == ("unsupported_schema", "r-1")


def test_where_two_keys_are_the_same_the_answer_goes_to_one_run():
    rejected = parse(entry('{"plugin_run_id":"r-1","plugin_run_id":"r-2","user_id":0}'), CAP)

    assert isinstance(rejected, Rejected)
    assert rejected.run_id in ("r-1", "r-2")


@pytest.mark.parametrize(
    ("text", "run_id"),
    [
        ('{"plugin_run_id": "r-1"', "r-1"),
        ('{"plugin_run_id"  :\n"r-1"', "r-1"),
        ('xx"plugin_run_id":"r-1"xx', "r-1"),
        ('{"plugin_run_id": "r-1', ""),
        ('{"plugin_run_id": 7}', ""),
        ('{"plugin_run_id": "a\\"b"}', ""),
        ('{"plugin_run_id": ""}', ""),
        ('{"plugin_run_id": "' + "x" * 129 + '"}', ""),
        ('{"plugin_run_id": "\ud83d"}', ""),
        ("", ""),
    ],
)
def test_the_run_can_be_named_where_its_id_can_be_read(text, run_id):
    assert run_id_in(text) == run_id


@pytest.mark.parametrize(
    ("text", "attempt"),
    [("1", 1), ("7", 7), ("", 1), ("0", 1), ("-1", 1), ("x", 1), ("1" * 9, 1), ("٣", 1)],
)
def test_an_attempt_that_is_no_number_is_the_first(text, attempt):
    assert entry(body(), attempt=text).attempt == attempt


@pytest.mark.parametrize(
    ("text", "when"),
    [("1771000000", 1771000000.0), ("1771000000.5", 1771000000.5), ("", None), ("nan", None)],
)
def test_a_time_that_is_no_number_is_unknown(text, when):
    assert entry(body(), published_at=text).published_at == when


def test_a_result_has_the_four_fields_and_extras_under_meta_only():
    plain = json.loads(Result("r-1", "failed", error="x").payload())
    more = json.loads(Result("r-1", "completed", "{}", meta={"attempt": 1}).payload())

    assert plain == {"plugin_run_id": "r-1", "status": "failed", "output": "", "error": "x"}
    assert set(more) == {*plain, "meta"}
    assert isinstance(more["output"], str)


def test_requests_of_ours_are_as_the_application_writes_them():
    request = Request("r-1", "echoes", 42, {"a": "ö"})

    fields = entry_fields(request_payload(request))

    assert set(fields) == {"payload", "published_at", "schema_version"}
    assert parse(Entry("s", "1-1", fields, 1), CAP) == request


def test_json_keeps_its_shape_with_credentials_masked():
    settings = {"_llm_api_key": SECRET, "a": [{"_deep": {"k": [SECRET]}}], "topics": ["x"]}

    safe = json.loads(safe_payload(entry(body(settings=settings))))

    assert safe["settings"] == {"_llm_api_key": "***", "a": [{"_deep": "***"}], "topics": ["x"]}
    assert safe["plugin_run_id"] == "r-1"


@pytest.mark.parametrize(
    "payload",
    [
        f'{{"plugin_run_id": "r-1", "settings": {{"_llm_api_key": "{SECRET}"',
        f'{{"settings": {{"\\u005fllm_api_key": "{SECRET}"',
        f'{{"settings": {{"\\u005Fllm_api_key": "{SECRET}"',
        f"{{'settings': {{'_llm_api_key': '{SECRET}'}}}}",
        f"settings:\n  _llm_api_key: {SECRET}",
        body(settings=json.dumps({"_llm_api_key": SECRET})),
        body(settings=" " + json.dumps({"a": {"_llm_api_key": SECRET}})),
        json.dumps(body(settings={"_llm_api_key": SECRET})),
        json.dumps([json.dumps({"_k": SECRET})]),
        json.dumps({"_llm_api_key": SECRET, "plugin_run_id": "r-1"}),
        "[" * 5000 + f'{{"_key": "{SECRET}"}}',
    ],
)
def test_no_credential_is_kept_of_what_cannot_be_a_request(payload):
    assert SECRET not in safe_payload(entry(payload))


def test_an_excerpt_is_never_taken_for_json():
    """Head and tail of a large payload, glued together, may look like it."""
    excerpt = '{"plugin_run_id":"r-1","text":"' + "a" * 4096 + SECRET + '","topics":[]}'
    glued = Entry("s", "1-1", {"payload": excerpt}, 5_000_000, is_whole=False)

    safe = safe_payload(glued)

    assert SECRET not in safe
    assert safe.startswith('{"plugin_run_id":"r-1"')
    assert "5000000 bytes" in safe


def test_text_without_credentials_is_kept_to_a_length():
    assert safe_payload(entry("hello")) == "hello"
    assert len(safe_payload(entry("h" * 100_000))) < 1000


def test_nothing_is_kept_of_nothing():
    assert safe_payload(entry()) == ""


def test_two_run_ids_in_a_broken_payload_are_none_of_them_answered():
    text = '{"plugin_run_id": "mine", "settings": {"plugin_run_id": "somebody-elses"'

    assert run_id_in(text) == ""
    assert run_id_in(text.replace("somebody-elses", "mine")) == "mine"
