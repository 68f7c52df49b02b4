"""Says why a crew failed, from the exception that it raised: the class that retries go by.

Called by the executor. Only types and attributes count, never a text: a crew may write "429"
into any sentence. Whatever is asked here was made by plugin code, and may raise or lie.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Literal

Ended = Literal["exception", "rate_limited", "needs_human", "oom"]

LONGEST_RETRY_AFTER_S = 86_400.0
# Of a chain or of groups; nobody looks at the hundredth.
MOST_ERRORS = 100
# As providers name it; compared in small letters and without underscores.
_CODES = {"429", "ratelimitexceeded", "ratelimiterror", "resourceexhausted"}
_CODES |= {"throttlingexception", "toomanyrequestsexception"}
_SECONDS = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)
MOST_HEADER = 64


class NeedsHuman(Exception):  # noqa: N818  # named for what happened
    """The crew wants to ask somebody, and nobody is there (trap C11)."""

    def __init__(self, task: str) -> None:
        super().__init__(
            f"Task {task[:80]!r} has human_input=True, but a run has no terminal. "
            "Remove it, or let the crew return the question as its output."
        )


@dataclass(frozen=True)
class Failure:
    """The class of a failure, and how long the model asked to be left alone."""

    ended: Ended
    retry_after_s: float | None = None


def failure_of(error: BaseException, now: float) -> Failure:
    """Return the class of the first error in the chain that has one. `now` is unix time."""
    errors = list(_chain(error))
    for one in errors:
        if isinstance(one, MemoryError):
            return Failure("oom")
        if isinstance(one, NeedsHuman) or is_end_of_input(one):
            return Failure("needs_human")
        if _says_429(one):
            # CrewAI's and LiteLLM's own errors may lack the headers that their cause has.
            told = (retry_after_s(_headers(e), now) for e in errors if _says_429(e))
            return Failure("rate_limited", next((s for s in told if s is not None), None))
    return Failure("exception")


def is_end_of_input(error: BaseException) -> bool:
    """Tell whether input() raised it, and not a file or a pickle that ended too soon."""
    return type(error) is EOFError and error.args == ("EOF when reading a line",)


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Return what Retry-After asks for, at most a day; None where it says nothing sensible.

    The header holds seconds or a date (RFC 9110, 10.2.3). OpenAI and Azure send
    retry-after-ms as well, which is the exact one.
    """
    if _SECONDS.fullmatch(text := headers.get("retry-after-ms", "")):
        return min(float(text) / 1000, LONGEST_RETRY_AFTER_S)
    text = headers.get("retry-after", "")
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER_S)
    with suppress(ValueError, TypeError, IndexError, OverflowError):
        date = parsedate_to_datetime(text)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        return min(max(at - now, 0.0), LONGEST_RETRY_AFTER_S)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what led to it, if that was not hidden, each of them once.

    CrewAI's providers `raise e from e`, which makes a chain without an end.
    """
    seen: dict[int, BaseException] = {}
    waiting = [error]
    while waiting and len(seen) < MOST_ERRORS:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen[id(one)] = one
        yield one
        hidden = one.__suppress_context__
        led = [one.__cause__, None if hidden else one.__context__, *_members(one)]
        waiting += [e for e in led if isinstance(e, BaseException)]


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def _says_429(error: BaseException) -> bool:
    if not isinstance(error, Exception):
        return False  # SystemExit has a `code`, too
    if any(kind.__name__ == "RateLimitError" for kind in type(error).__mro__):
        # Before the status: where a gateway hides the 429 in a 200, that says 200.
        return True
    response = _peek(error, "response")
    told = [_peek(error, name) for name in ("status_code", "status", "code")]
    if isinstance(response, Mapping):  # botocore
        told.append(_within(response, "ResponseMetadata", "HTTPStatusCode"))
        told.append(_within(response, "Error", "Code"))
    else:
        told.append(_peek(response, "status_code"))
    return any(map(_is_429, told))


def _is_429(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < MOST_HEADER and value.lower().replace("_", "") in _CODES
    return isinstance(value, int) and int(value) == 429


def _headers(error: BaseException) -> dict[str, str]:
    """Return the headers of the answer, with names in small letters."""
    response = _peek(error, "response")
    found: Any = _peek(response, "headers") or _peek(error, "headers")
    if isinstance(response, Mapping):  # botocore
        found = _within(response, "ResponseMetadata", "HTTPHeaders")
    headers: dict[str, str] = {}
    with suppress(Exception):
        for name, value in found.items():
            headers[str(name)[:MOST_HEADER].lower()] = str(value)[:MOST_HEADER].strip()
    return headers


def _within(mapping: Mapping[Any, Any], *steps: str) -> Any:
    value: Any = mapping
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _peek(thing: Any, name: str) -> Any:
    """Return an attribute, or None: it may be a property that raises."""
    with suppress(Exception):
        return getattr(thing, name, None)
    return None
