"""For every tangle of exceptions that a crew may raise."""

from hypothesis import given
from hypothesis import strategies as st

from worker.crew.causes import Failure, failure_of

INDEX = st.none() | st.integers(0, 7)
# Of each: what it is, and which others were its cause, its context, and whether that is hidden.
NODES = st.lists(
    st.tuples(st.sampled_from(["plain", "429", "oom"]), INDEX, INDEX, st.booleans()),
    min_size=1,
    max_size=8,
)


class RateLimitError(Exception):
    """As a provider raises it."""


KINDS = {"plain": ValueError, "429": RateLimitError, "oom": MemoryError}


def tangle(nodes):
    """Return the errors, linked as the nodes say, also in rings."""
    errors = [KINDS[kind]() for kind, *_ in nodes]
    for error, (_, cause, context, hidden) in zip(errors, nodes, strict=True):
        error.__cause__ = None if cause is None else errors[cause % len(errors)]
        error.__context__ = None if context is None else errors[context % len(errors)]
        error.__suppress_context__ = hidden
    return errors


def led_there(nodes):
    """Return the nodes below the first: causes, and contexts that are not hidden."""
    reached, waiting = set(), [0]
    while waiting:
        at = waiting.pop()
        if at in reached:
            continue
        reached.add(at)
        _, cause, context, hidden = nodes[at]
        waiting += [] if cause is None else [cause % len(nodes)]
        waiting += [] if context is None or hidden else [context % len(nodes)]
    return reached


@given(NODES)
def test_the_class_is_that_of_an_error_that_led_there(nodes):
    failure = failure_of(tangle(nodes)[0], 0)

    shown = {nodes[at][0] for at in led_there(nodes)}
    if shown == {"plain"}:
        assert failure == Failure("exception")
    else:
        assert failure.ended in {
            {"429": "rate_limited", "oom": "oom"}[k] for k in shown - {"plain"}
        }


@given(NODES)
def test_the_outermost_one_has_the_say(nodes):
    kind = nodes[0][0]
    ended = failure_of(tangle(nodes)[0], 0).ended

    assert kind != "429" or ended == "rate_limited"
    assert kind != "oom" or ended == "oom"


@given(st.text(max_size=200))
def test_no_text_makes_a_429(text):
    for error in (ValueError(text), RuntimeError(text), EOFError(text + "!"), SystemExit(text)):
        error.add_note(text)
        assert failure_of(error, 0) == Failure("exception")
