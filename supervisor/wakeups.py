"""The one place where the loop sleeps."""

import asyncio
from collections.abc import Callable


class Wakeups:
    """A bell: it rings for descriptors, signals and facts, and when an alarm is due."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the sleep, now or when it begins."""
        self._rung.set()

    async def wait(self, until: float | None) -> None:
        """Sleep until the bell rings or the clock shows `until`; None waits for the bell.

        Yields to the other tasks in any case, so that a busy loop starves nobody.
        """
        if until is None:
            await self._rung.wait()
        else:
            timer = asyncio.get_running_loop().call_later(
                max(until - self._clock(), 0.0), self._rung.set
            )
            try:
                await self._rung.wait()
            finally:
                timer.cancel()
        self._rung.clear()
        await asyncio.sleep(0)
