"""Runs asyncio code beside an application that has none; called by consumer.py."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

# The loop that code runs beside, a handler's thread too; None elsewhere.
_INSIDE: ContextVar[object] = ContextVar("_INSIDE", default=None)


def run_aside(
    task: Callable[[asyncio.Event], Coroutine[Any, Any, object]], name: str
) -> Callable[[], None]:
    """Run a task in a thread with a loop of its own; return how to stop it, and wait for that.

    Whoever stops it from inside, a handler, cannot wait for itself, and does not.
    """
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        _INSIDE.set(loop)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(task(stop))

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()

    def end() -> None:
        with suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(stop.set)
        if _INSIDE.get() is not loop:
            thread.join()

    return end
