"""Whatever a crew, an application or a caller writes, a record can be written and read again."""

import json

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from supervisor.runs.answers import RunFilter
from supervisor.runs.models import PluginRun
from supervisor.streams.wire import Result

DEEP = "[" * 900 + "]" * 900
HOSTILE = [
    '"\\u0000"',
    '"a\\\\u0000b"',
    '{"\\u0000k\\u0000": ["\\ud800", "\\udc00\\ud800", "\\ud83d\\ude00"]}',
    '{"n": 1e308, "big": 123456789012345678901234567890, "small": -0.0}',
    '{"a": 1, "a": 2}',
    "null",
    '""',
    "0",
    '"\\b\\f\\u007f\\u009f\\u2028"',
]
AS_TEXT = ["", "no JSON", "NaN", "[1e999]", '{"n": -Infinity}', DEEP, "{", "[" + "9" * 5000 + "]"]


@pytest.mark.parametrize("output", HOSTILE)
def test_an_output_of_odd_json_is_kept_as_json(store, added, output):
    run_id = added()
    assert store.apply_result(Result(run_id, "completed", output)) == "applied"

    found = store.get(run_id)
    assert found.status == "completed"
    assert found.output is not None
    assert "\x00" not in json.dumps(found.output, ensure_ascii=False)
    json.dumps(found.output, ensure_ascii=False).encode()


@pytest.mark.parametrize("output", AS_TEXT)
def test_an_output_that_is_no_json_to_be_kept_is_kept_as_text(store, added, output):
    run_id = added()
    store.apply_result(Result(run_id, "completed", output))

    assert store.get(run_id).output == {"raw": output}


def test_what_can_be_kept_is_kept_as_it_is(store, added):
    run_id = added()
    output = {"a\\u0000": "\U0001f600 \\ud800 ü", "n": [1, 1.5, True, None, {}]}
    store.apply_result(Result(run_id, "completed", json.dumps(output)))

    assert store.get(run_id).output == output


def test_a_large_output_is_kept(store, added):
    run_id = added()
    store.apply_result(Result(run_id, "completed", json.dumps({"raw": "ü" * 2_000_000})))

    assert len(store.get(run_id).output["raw"]) == 2_000_000


def test_nested_as_deep_as_is_allowed_but_with_brackets_in_texts(store, added):
    run_id = added()
    output = ["[" * 5000 + '"\\' + "{" * 5000, [[1]]]
    store.apply_result(Result(run_id, "completed", json.dumps(output)))

    assert store.get(run_id).output == output


@pytest.mark.parametrize("error", ["a\x00b", "\ud800", "x" * 100_000, ""])
def test_an_odd_error_is_kept(store, added, error):
    run_id = added()
    store.apply_result(Result(run_id, "failed", error=error))
    found = store.get(run_id)

    assert found.status == "failed"
    assert found.error_message == error.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


@pytest.mark.parametrize(
    "meta",
    [
        {"attempt": "2"},
        {"attempt": -1},
        {"attempt": 10**30},
        {"attempt": True},
        {"duration_s": float("nan")},
        {"duration_s": -5},
        {"duration_s": 1e300},
        {"duration_s": "5"},
        {"receipt": "text"},
        {"receipt": {"n": float("inf")}},
        {"receipt": json.loads(f'{{"a": {DEEP}}}')},
        {"receipt": {"a": object()}},
        {"receipt": [1]},
    ],
)
def test_odd_extras_of_a_result_are_left_out(store, added, meta):
    run_id = added()
    assert store.apply_result(Result(run_id, "completed", "{}", meta=meta)) == "applied"
    found = store.get(run_id)

    assert (found.attempts, found.started_at, found.receipt) == (0, None, None)


def test_a_receipt_of_odd_texts_is_kept(store, added):
    run_id = added()
    store.apply_result(Result(run_id, "completed", "{}", meta={"receipt": {"\x00": "\ud800"}}))

    assert store.get(run_id).receipt == {"\ufffd": "\ufffd"}


def test_settings_of_odd_texts_are_kept(store, added):
    run_id = added(settings={"a\x00": ["\x00", {"deep": "\U0001f600"}]})

    assert store.get(run_id).input == {"a\ufffd": ["\ufffd", {"deep": "\U0001f600"}]}


@pytest.mark.parametrize("run_id", ["", "\x00", "\ud800", "x" * 100_000, "' OR 1=1 --", "%"])
def test_a_run_id_that_is_none_is_nobody(store, added, clock, run_id):
    added()

    assert store.get(run_id) is None
    assert store.apply_result(Result(run_id, "completed", "{}")) == "unknown"
    assert not store.mark_processing(run_id, clock.now)
    assert not store.fail(run_id, "no")
    assert store.mark_published([run_id]) == []


@pytest.mark.parametrize("text", ["\x00", "\ud800", "' OR 1=1 --", "x" * 100_000])
def test_a_filter_for_what_cannot_be_finds_nothing(store, added, text):
    added()

    assert store.list(RunFilter(plugin=text)).runs == []
    assert store.list(RunFilter(statuses=(text,))).runs == []
    assert store.list(RunFilter(user_id=10**40)).runs == []


def test_what_is_shown_of_a_run_is_fit_for_json_and_shows_nothing_sealed(store, added):
    run_id = added(settings={"_llm_api_key": "sk-secret", "in": {"_deep": ["sk-secret"]}})
    data = store.get(run_id).as_data()

    assert "sk-secret" not in json.dumps(data)
    assert data["input"] == {"_llm_api_key": "***", "in": {"_deep": "***"}}
    assert "payload" not in data
    assert data["created_at"] == "2026-11-22T12:00:00+00:00"


def test_an_error_of_a_database_tells_no_value_of_a_run(store, added):
    added()
    statement = update(PluginRun).values(status="nonsense", error_message="for one user only")
    with pytest.raises(IntegrityError) as caught:
        store.database.change(statement)

    # PostgreSQL itself quotes the row that it refuses.
    assert "for one user only" not in str(caught.value).replace(str(caught.value.orig), "")
