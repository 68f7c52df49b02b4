"""So many at a time, and nobody waits for long: whoever gets no turn is told so.

A client of Redis that is out of connections says that Redis is away; and while Redis hangs, those
that wait for it would be waited for by all that come after them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from supervisor.gateway.problems import AWAY_RETRY_S, Refusal

CALLS = 32
WAIT_S = 5.0


class Turns:
    """Lets so many in at a time."""

    def __init__(self, at_a_time: int = CALLS) -> None:
        self._free = asyncio.Semaphore(at_a_time)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Have a turn. Raises Refusal where none comes in time."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            told = "Redis or the records answer too slowly now, and nothing was done: ask again."
            raise Refusal("away", told, retry_s=AWAY_RETRY_S) from None
        try:
            yield
        finally:
            self._free.release()
