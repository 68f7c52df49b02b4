"""So many at a time, and nobody waits for long: whoever gets no turn is told so.

A client of Redis that is out of connections says that Redis is away; and while Redis hangs, those
that wait for it would be waited for by all that come after them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from supervisor.gateway.problems import AWAY_RETRY_S, Refusal

# Calls to Redis, and those to the records: these take a thread each, and a burst of them longer.
CALLS, WAIT_S = 32, 5.0
RECORDED, RECORDED_WAIT_S = 8, 15.0
# More than these: names are looked up in threads too.
THREADS = 16


class Turns:
    """Lets so many in at a time."""

    def __init__(self, at_a_time: int = CALLS, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(at_a_time)
        self._wait_s = wait_s

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Have a turn. Raises Refusal where none comes in time."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            told = "Redis or the records answer too slowly now, and nothing was done: ask again."
            raise Refusal("away", told, retry_s=AWAY_RETRY_S) from None
        try:
            yield
        finally:
            self._free.release()
