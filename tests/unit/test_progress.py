"""Which model has been asked and has not answered yet."""

from worker.crew.progress import Tracker
from worker.protocol import Tokens


def told():
    words = []
    return words, Tracker("r-1", words.append, lambda text: text.replace("sk-123456", "***"))


def test_a_call_is_told_at_once_when_it_begins_and_when_it_ends():
    words, tracker = told()

    tracker.call_started("c-1", "openai/gpt-4o")
    tracker.call_completed("c-1", {"prompt_tokens": 3}, "openai/gpt-4o")

    assert [word.call for word in words] == ["openai/gpt-4o", ""]
    assert words[-1].tokens == Tokens(prompt=3, calls=1)


def test_a_call_that_failed_is_over_and_counts_nothing():
    words, tracker = told()

    tracker.call_started("c-1", "gpt-4o")
    tracker.call_failed("c-1")

    assert (words[-1].call, words[-1].tokens) == ("", Tokens())


def test_of_several_calls_the_last_that_began_is_told():
    words, tracker = told()

    tracker.call_started("c-1", "first")
    tracker.call_started("c-2", "second")
    tracker.call_completed("c-2", None, "second")

    assert [word.call for word in words] == ["first", "second", "first"]


def test_the_end_of_a_call_that_nobody_saw_begin_is_no_news():
    words, tracker = told()
    tracker.planned(1)

    tracker.call_failed("c-9")

    assert len(words) == 1


def test_a_models_name_has_no_credential_and_is_short():
    words, tracker = told()

    tracker.call_started("c-1", "http://x?key=sk-123456\n" + "x" * 1000)

    assert "sk-" not in words[0].call
    assert len(words[0].call) == 120
