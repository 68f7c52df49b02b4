"""Why a crew failed: from the types and attributes of its exceptions, never from a text."""

import pickle
import urllib.error
from email.message import Message
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path

import httpx
import openai
import pytest

from worker.crew.causes import Failure, NeedsHuman, failure_of, retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")


def answer(status=429, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, request=REQUEST)


def shaped(name="ProviderError", base=Exception, **attributes):
    """Return an error as a provider's package makes it that is not installed here."""
    error = type(name, (base,), {})("something went wrong")
    vars(error).update(attributes)
    return error


def raised(raises):
    try:
        raises()
    except BaseException as error:  # noqa: BLE001  # it is what we came for
        return error
    raise AssertionError("nothing was raised")


def rate_limited(**headers):
    return openai.RateLimitError("Slow down", response=answer(**headers), body=None)


def botocore(code, status):
    return {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


LIMITED = {
    "openai": rate_limited(),
    "openai, of any class": openai.APIStatusError("x", response=answer(), body=None),
    "openai, in a stream": openai.APIError("x", REQUEST, body={"code": "rate_limit_exceeded"}),
    "a gateway's 200": openai.RateLimitError("x", response=answer(200), body=None),
    "httpx": httpx.HTTPStatusError("x", request=REQUEST, response=answer()),
    "anthropic": shaped("RateLimitError", status_code=429, response=answer()),
    "litellm": shaped("RateLimitError", status_code=429, response=None),
    "azure": shaped("HttpResponseError", status_code=429, response=object()),
    "google": shaped("ClientError", code=429, status="RESOURCE_EXHAUSTED"),
    "google, the older": shaped("TooManyRequests", code=HTTPStatus.TOO_MANY_REQUESTS),
    "aiohttp": shaped("ClientResponseError", status=429),
    "urllib": urllib.error.HTTPError("http://127.0.0.1", 429, "x", Message(), None),
    "bedrock": shaped("ClientError", response=botocore("ThrottlingException", 400)),
    "bedrock, by status": shaped("ClientError", response=botocore("?", 429)),
    "a plugin's own": shaped("RateLimitError"),
    "a plugin's subclass": shaped("Busy", base=type("RateLimitError", (RuntimeError,), {})),
}


@pytest.mark.parametrize("name", LIMITED)
def test_a_429_of_any_provider_is_rate_limited(name):
    assert failure_of(LIMITED[name], NOW).ended == "rate_limited"


OTHERS = {
    "a text": ValueError("Error code: 429 - RateLimitError: rate limit exceeded"),
    "a text of a runtime error": RuntimeError("429 Too Many Requests"),
    "another status": openai.APIStatusError("429", response=answer(500), body=None),
    "a number like it": shaped(status_code=4290),
    "its text as another attribute": shaped(message="429", reason="RateLimitError"),
    "true": shaped(status_code=True),
    "a name that holds it": shaped("NotARateLimitErrorAtAll"),
    "an exit code": SystemExit(429),
    "no arguments": Exception(),
    "overloaded": shaped("OverloadedError", status_code=529),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_only_speaks_of_429_is_an_exception(name):
    assert failure_of(OTHERS[name], NOW) == Failure("exception")


def test_a_429_is_found_below_what_was_made_of_it():
    def wrapped():
        try:
            raise rate_limited(retry_after="7")
        except openai.RateLimitError as error:
            raise RuntimeError("The agent failed") from error

    def meanwhile():
        try:
            wrapped()
        except RuntimeError:
            raise ValueError("and the cleaning up failed, too")  # noqa: B904  # that is the point

    assert failure_of(raised(wrapped), NOW) == Failure("rate_limited", 7)
    assert failure_of(raised(meanwhile), NOW) == Failure("rate_limited", 7)


def test_a_429_that_the_crew_put_aside_is_not_looked_for():
    def handled():
        try:
            raise rate_limited()
        except openai.RateLimitError:
            raise ValueError("no model is left") from None

    assert failure_of(raised(handled), NOW) == Failure("exception")


def test_one_of_a_group_is_enough():
    group = ExceptionGroup("tasks", [ValueError("a"), ExceptionGroup("b", [rate_limited()])])

    assert failure_of(group, NOW).ended == "rate_limited"


def test_the_headers_may_be_those_of_a_deeper_error():
    outer = shaped("RateLimitError", status_code=429, response=httpx.Response(429))
    outer.__cause__ = rate_limited(retry_after="11")

    assert failure_of(outer, NOW) == Failure("rate_limited", 11)


def test_headers_are_found_whatever_they_are_kept_in():
    as_dict = shaped("RateLimitError", headers={"Retry-After": "3"})
    bedrock = botocore("ThrottlingException", 429)
    bedrock["ResponseMetadata"]["HTTPHeaders"] = {"retry-after": "4"}

    assert failure_of(as_dict, NOW).retry_after_s == 3
    assert failure_of(shaped(response=bedrock), NOW).retry_after_s == 4


def test_an_answer_of_another_kind_gives_no_wait():
    def busy():
        raise rate_limited() from openai.APIStatusError(
            "x", response=answer(503, retry_after="9"), body=None
        )

    assert failure_of(raised(busy), NOW) == Failure("rate_limited", None)


def test_a_chain_that_bites_its_tail_comes_to_an_end():
    """CrewAI's providers raise e from e."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    alone = rate_limited()
    alone.__cause__ = alone

    assert failure_of(one, NOW) == Failure("exception")
    assert failure_of(alone, NOW).ended == "rate_limited"


def test_a_chain_of_thousands_is_not_walked_to_its_end():
    errors = [ValueError(str(n)) for n in range(5000)]
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    errors[-1].__cause__ = rate_limited()

    assert failure_of(errors[0], NOW) == Failure("exception")


def test_no_memory_is_oom_wherever_it_ran_out():
    def wrapped():
        raise RuntimeError("The tool failed") from MemoryError()

    assert failure_of(MemoryError(), NOW) == Failure("oom")
    assert failure_of(raised(wrapped), NOW) == Failure("oom")


def test_of_two_causes_the_outer_one_counts():
    def late():
        try:
            raise rate_limited()
        except openai.RateLimitError:
            raise MemoryError  # noqa: B904  # that is the point

    assert failure_of(raised(late), NOW) == Failure("oom")


def test_a_question_needs_a_human(monkeypatch):
    with Path("/dev/null").open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        asked = raised(input)

    assert failure_of(asked, NOW) == Failure("needs_human")
    assert failure_of(NeedsHuman("review"), NOW) == Failure("needs_human")


def test_another_end_of_a_file_needs_no_human():
    assert failure_of(raised(lambda: pickle.loads(b"")), NOW) == Failure("exception")
    assert failure_of(EOFError(), NOW) == Failure("exception")


class Lies(Exception):  # noqa: N818  # it does
    """Raises from whatever it is asked for."""

    @property
    def status_code(self):
        raise RuntimeError("no")

    @property
    def response(self):
        raise KeyError("no")


@pytest.mark.parametrize(
    "headers",
    [7, "retry-after", [1], {"retry-after": None}, {1: 2}, {"retry-after": ["1"]}, object()],
)
def test_an_error_that_lies_gives_no_wait_and_does_no_harm(headers):
    assert failure_of(Lies("x"), NOW) == Failure("exception")
    assert failure_of(shaped("RateLimitError", headers=headers), NOW) == Failure("rate_limited")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        ("1.5", 1.5),
        ("999999", 86_400),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:14:20", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("1_000", None),
        ("0x10", None),
        ("٣", None),
        ("soon", None),
        ("9" * 5000, None),
        ("Tue, 14 Nov 99999 22:14:20 GMT", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_a_day_at_most(text, seconds):
    assert retry_after_s({"retry-after": text}, NOW) == seconds


def test_milliseconds_are_the_exact_ones():
    assert retry_after_s({"retry-after-ms": "1500", "retry-after": "2"}, NOW) == 1.5
    assert retry_after_s({"retry-after-ms": "-1", "retry-after": "2"}, NOW) == 2
    assert retry_after_s({}, NOW) is None
