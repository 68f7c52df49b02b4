"""What becomes of a run, from facts alone."""

import json

import pytest

from supervisor import verdicts
from supervisor.streams.endings import Bury, Finish, HandBack
from supervisor.streams.wire import Entry, Rejected, Request
from supervisor.verdicts import Context, End
from worker.policies import Retry
from worker.protocol import Outcome, Tokens

RETRIES = {cause: Retry(attempts=3, backoff_s=4) for cause in ("crash", "lost", "rate_limited")}


def policy(cause):
    return RETRIES.get(cause, Retry())


CONTEXT = Context("host.s0", policy, lambda: 0.5)
BODY = {"plugin_run_id": "r-1", "plugin_name": "echoes", "user_id": 1}
REQUEST = Request("r-1", "echoes", 1, {"_llm_api_key": "sk-0123456789"})


def entry(attempt=1, payload=None, owner=""):
    fields = {"payload": json.dumps(BODY) if payload is None else payload, "attempt": str(attempt)}
    return Entry("plugin:requests", "1-1", fields, 10, owner=owner)


def test_a_completed_run_is_published():
    outcome = Outcome(run_id="r-1", ended="completed", output='{"a":1}')

    ending = verdicts.of_outcome(entry(), outcome, {"attempt": 1}, CONTEXT)

    assert isinstance(ending, Finish)
    assert (ending.result.status, ending.result.output) == ("completed", '{"a":1}')


def test_an_exception_is_buried_with_its_stack_and_not_tried_again():
    outcome = Outcome(run_id="r-1", ended="exception", error="ValueError: x", stack="secret stack")

    ending = verdicts.of_outcome(entry(), outcome, {}, CONTEXT)

    assert isinstance(ending, Bury)
    assert ending.cause == ending.letter.facts["class"] == "exception"
    assert ending.letter.facts["stack"] == "secret stack"
    assert (ending.result.status, ending.result.error) == ("failed", "ValueError: x")
    assert "stack" not in ending.result.payload()


def test_what_the_policy_allows_is_tried_again_whatever_its_cause():
    outcome = Outcome(run_id="r-1", ended="rate_limited", error="429", retry_after_s=30)

    ending = verdicts.of_outcome(entry(), outcome, {}, CONTEXT)

    assert isinstance(ending, HandBack)
    assert (ending.attempt, ending.cause) == (2, "rate_limited")
    # Retry-After is a floor, and half of the backoff's half comes on top of it.
    assert ending.delay_s == 31


def test_a_stack_of_megabytes_is_cut_at_its_beginning():
    end = End("r-1", "exception", "x", stack="a" * 1_000_000 + "the last frame")

    stack = verdicts.of_failed(entry(), end, CONTEXT).letter.facts["stack"]

    assert len(stack) == verdicts.MOST_STACK
    assert stack.endswith("the last frame")


def test_a_final_failure_says_its_cause_in_the_result():
    end = End("r-1", "needs_human", "input() was called", meta={"worker": "host.s0"})

    result = verdicts.of_failed(entry(2), end, CONTEXT).result

    assert result.meta == {"attempt": 2, "worker": "host.s0", "cause": "needs_human"}


def test_settings_that_do_not_fit_are_buried():
    outcome = Outcome(run_id="r-1", ended="invalid", error="topics is required")

    ending = verdicts.of_outcome(entry(), outcome, {}, CONTEXT)

    assert isinstance(ending, Bury)
    assert ending.letter.facts["reason"] == "invalid"
    assert ending.result.error == "topics is required"


def test_a_post_mortem_stands_in_the_result_and_in_the_letter_its_stacks_in_the_letter_only():
    seen = {"stall": "sleeping", "agent": "Dörte"}
    end = End("r-1", "timeout", "too long", stack="Thread 1", meta={"post_mortem": seen})

    ending = verdicts.of_failed(entry(), end, CONTEXT)

    assert ending.result.meta["post_mortem"] == seen
    assert json.loads(ending.letter.facts["post_mortem"]) == seen
    assert ending.letter.facts["stack"] == "Thread 1"
    assert "Thread 1" not in ending.result.payload()


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_crash_is_tried_again_while_attempts_are_left(attempt):
    ending = verdicts.of_crash(entry(attempt), End("r-1", "crash", "", "SIGSEGV"), CONTEXT)

    # 4 s and 8 s, of which a half is certain and a half is drawn.
    delay_s = 3.0 * attempt
    assert ending == HandBack("r-1", attempt + 1, "crash: SIGSEGV", "crash", delay_s)


@pytest.mark.parametrize("attempt", [3, 4, 99])
def test_the_last_crash_is_buried(attempt):
    ending = verdicts.of_crash(entry(attempt), End("r-1", "crash", "", "exit 1"), CONTEXT)

    assert isinstance(ending, Bury)
    assert ending.letter.facts["class"] == "crash"
    assert ending.letter.facts["reason"] == "attempts_exhausted"
    assert ending.letter.facts["attempts"] == str(attempt)
    assert "exit 1" in ending.result.error


def test_stopping_us_burns_no_attempt():
    for attempt in (1, 3, 7):
        assert verdicts.of_drained(entry(attempt), "r-1") == HandBack(
            "r-1", attempt, "leaving", "drained"
        )


def test_a_lapsed_run_is_handed_back_with_who_went_silent():
    ending = verdicts.of_lapsed(entry(1, owner="dead.s0"), REQUEST, CONTEXT)

    assert (ending.run_id, ending.attempt) == ("r-1", 2)
    assert "dead.s0" in ending.because


def test_a_run_that_was_lost_too_often_is_buried():
    ending = verdicts.of_lapsed(entry(3, owner="dead.s0"), REQUEST, CONTEXT)

    assert isinstance(ending, Bury)
    assert (ending.letter.facts["class"], ending.letter.facts["worker"]) == ("lost", "dead.s0")


def test_bad_input_that_lapsed_is_buried_at_once():
    ending = verdicts.of_lapsed(entry(1, payload="{"), Rejected("not_json", "bad"), CONTEXT)

    assert isinstance(ending, Bury)
    assert ending.result is None


def test_where_no_run_can_be_named_there_is_no_result():
    ending = verdicts.of_rejected(entry(), Rejected("not_json", "bad"), CONTEXT)

    assert (ending.result, ending.run_id) == (None, "")


def test_an_error_of_megabytes_is_cut_in_the_letter():
    rejected = Rejected("not_json", "x" * 1_000_000, "r-1")

    assert len(verdicts.of_rejected(entry(), rejected, CONTEXT).letter.facts["last_error"]) <= 2000


def test_extras_hold_nothing_of_the_settings():
    meta = verdicts.meta_of(
        REQUEST, 2, {"worker": "host.s0"}, Tokens(prompt=1, completion=2, calls=3)
    )

    assert meta == {
        "plugin": "echoes",
        "attempt": 2,
        "worker": "host.s0",
        "tokens": {"prompt": 1, "completion": 2},
        "llm_calls": 3,
    }


@pytest.mark.parametrize("output", ["not json", "", "NaN", "{", '{"a": 1} x'])
def test_an_output_that_is_no_json_never_reaches_the_reader(output):
    said = Outcome(run_id="r-1", ended="completed", output=output)

    ending = verdicts.of_outcome(entry(), said, {}, CONTEXT)

    assert ending.result.status == "failed"
    assert ending.result.output == ""


def test_an_error_has_no_nul_that_a_column_of_text_refuses():
    said = Outcome(run_id="r-1", ended="exception", error="a\0b")

    assert verdicts.of_outcome(entry(), said, {}, CONTEXT).result.error == "ab"
