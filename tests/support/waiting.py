"""The only way a test waits: for a fact, and not for time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_S = 0.01

T = TypeVar("T")


def wait_until(fact: Callable[[], T], within_s: float = 10, what: str = "") -> T:
    """Return the fact's value as soon as it is true; fail, naming it, when it stays false."""
    give_up_at = time.monotonic() + within_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() >= give_up_at:
            raise AssertionError(_sentence(fact, within_s, what, value))
        time.sleep(POLL_S)


async def eventually(
    fact: Callable[[], T | Awaitable[T]], within_s: float = 10, what: str = ""
) -> T:
    """Do as wait_until, while the event loop goes on. The fact may be a coroutine function."""
    give_up_at = time.monotonic() + within_s
    while True:
        value = fact()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() >= give_up_at:
            raise AssertionError(_sentence(fact, within_s, what, value))
        await asyncio.sleep(POLL_S)


def stays_true(fact: Callable[[], object], for_s: float, what: str = "") -> None:
    """Watch a fact for so long and fail as soon as it is false.

    For what must *not* happen: there is no fact to wait for, only a time in which it would
    have been seen.
    """
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        if not (value := fact()):
            raise AssertionError(f"no longer true: {what or _name_of(fact)} (seen: {value!r})")
        time.sleep(POLL_S)


async def keeps_true(fact: Callable[[], object], for_s: float, what: str = "") -> None:
    """Do as stays_true, while the event loop goes on."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        if not (value := fact()):
            raise AssertionError(f"no longer true: {what or _name_of(fact)} (seen: {value!r})")
        await asyncio.sleep(POLL_S)


def _sentence(fact: Callable[[], object], within_s: float, what: str, seen: object) -> str:
    return f"not within {within_s:g} s: {what or _name_of(fact)} (last seen: {seen!r})"


def _name_of(fact: Callable[[], object]) -> str:
    return getattr(fact, "__name__", repr(fact))
