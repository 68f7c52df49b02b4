"""What a run used, from facts alone; and its tokens by model, as the worker counts them."""

import json

import pytest

from supervisor.pool.deadlines import Deadline
from supervisor.pool.handle import Running
from supervisor.pool.usage import Usage
from supervisor.receipts import receipt_of
from supervisor.streams.wire import Entry
from worker.crew.progress import Tracker
from worker.protocol import MOST_MODELS, OTHER_MODELS, Outcome, Progress, Tokens, encode

USED = Usage(1.23456, 0.5, 100, 2, 300 << 20)
GPT = {"gpt-4o": Tokens(prompt=10, completion=5, calls=1)}


def running(**facts):
    run = Running("r-1", "echoes", 2, 100.0, Deadline(400.0, 300.0), Progress(run_id="r-1"))
    for name, value in facts.items():
        setattr(run, name, value)
    return run


def entry(published_at="1000"):
    return Entry("plugin:requests", "1-1", {"attempt": "2", "published_at": published_at}, 10)


def test_a_receipt_tells_what_the_kernel_counted():
    run = running(used=USED, ended_at=102.5)

    facts = receipt_of(entry(), run, 1004.25, 999.0).facts

    assert facts == {
        "wall_s": 2.5,
        "queue_wait_s": 4.25,
        "cpu_user_s": 1.235,
        "cpu_system_s": 0.5,
        "max_rss_bytes": 300 << 20,
        "minor_faults": 100,
        "major_faults": 2,
        "attempts": 2,
        "tokens": {},
    }


def test_without_the_time_of_publishing_no_wait_is_told():
    assert "queue_wait_s" not in receipt_of(entry("soon"), running(), 1004.0, 101.0).facts


def test_a_publisher_whose_clock_is_ahead_makes_no_wait_below_zero():
    assert receipt_of(entry("2000"), running(), 1004.0, 101.0).queue_wait_s == 0


def test_a_run_that_nobody_could_measure_has_its_length_all_the_same():
    receipt = receipt_of(entry(), running(), 1004.0, 103.0)

    assert (receipt.wall_s, receipt.cpu_user_s, receipt.max_rss_bytes) == (3.0, 0, 0)


@pytest.mark.parametrize(
    "said",
    [
        {"progress": Progress(run_id="r-1", models=GPT)},
        {"outcome": Outcome(run_id="r-1", ended="completed", models=GPT)},
    ],
    ids=["killed", "ended"],
)
def test_tokens_are_those_of_the_last_word(said):
    receipt = receipt_of(entry(), running(used=USED, **said), 1004.0, 103.0)

    shown = {"gpt-4o": {"prompt": 10, "completion": 5, "calls": 1}}
    assert receipt.facts["tokens"] == shown
    assert json.loads(receipt.fields["tokens_by_model"]) == shown
    assert "attempts" not in receipt.fields


def test_tokens_are_counted_in_all_and_by_model():
    tracker = Tracker("r-1", lambda _: None)
    usage = {"prompt_tokens": 10, "completion_tokens": 1}
    for model in ("gpt-4o", "gpt-4o-mini", "gpt-4o"):
        tracker.call_completed("c", usage, model)
    tracker.call_completed("c", None, "silent")

    assert tracker.tokens == Tokens(prompt=30, completion=3, calls=4)
    assert tracker.models["gpt-4o"] == Tokens(prompt=20, completion=2, calls=2)
    assert tracker.models["silent"] == Tokens(calls=1)


def test_a_crew_with_a_hundred_models_fits_into_its_words():
    words = []
    tracker = Tracker("r-1", words.append, lambda text: text.replace("sk-123456", "***"))
    for number in range(100):
        tracker.call_completed("c", {"prompt_tokens": 1}, f"m\x00{number} sk-123456 " + "x" * 300)

    assert len(tracker.models) == MOST_MODELS
    assert tracker.models[OTHER_MODELS] == Tokens(prompt=101 - MOST_MODELS, calls=101 - MOST_MODELS)
    assert "sk-" not in str(tracker.models)
    assert encode(Outcome(run_id="r-1", ended="completed", models=tracker.models))
