"""Runs asyncio code beside an application that has none; called by consumer.py."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

Answer = TypeVar("Answer")
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


async def asleep(stop: asyncio.Event, length_s: float) -> None:
    """Sleep for so long, or until told to stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(length_s):
            await stop.wait()


async def unless(stop: asyncio.Event, reading: Coroutine[Any, Any, Answer]) -> Answer | None:
    """Read until told to stop. What a read that is given up brings stays pending under our name."""
    task, stopped = asyncio.ensure_future(reading), asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    while not task.done():
        # redis-py swallows one that comes while it sends, and reads on (asyncio.wait_for).
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
    return None if task.cancelled() else task.result()
