"""Whether runs would be taken now; and what Redis and the records had to say, for the log."""

import asyncio
import time
from collections.abc import Callable

from supervisor.errors import RedisAway
from supervisor.gateway.hub import note
from supervisor.gateway.models import NotReady, Ready
from supervisor.log import Log
from supervisor.runs.publisher import PublishFailed
from supervisor.streams.inspect import Refused, ping
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from worker.errors import CrewpoolError

# Probes are for all: however many come, Redis is asked this often.
FRESH_S = 1.0
QUIET_S = 30.0


class Readiness:
    """Asks Redis when it is asked. With records, runs are taken without Redis too."""

    def __init__(
        self,
        queue: Queue,
        link: Link,
        log: Log,
        *,
        has_records: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._link = link
        self._log = log
        self._has_records = has_records
        self._clock = clock
        self._told: Ready | NotReady = NotReady(error="Redis was not asked yet")
        self._fresh_until = 0.0
        self._asking = asyncio.Lock()
        self._looking: asyncio.Future[Ready | NotReady] | None = None
        self._quiet_until: dict[str, float] = {}

    async def look(self) -> Ready | NotReady:
        """Return whether runs would be taken."""
        async with self._asking:
            if self._clock() >= self._fresh_until:
                self._told = await self._ask()
                self._fresh_until = self._clock() + FRESH_S
            return self._told

    def because(self) -> str:
        """Return why no run would be taken, "" when one would, and ask anew for the next time."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self.look())
        return self._told.error if isinstance(self._told, NotReady) else ""

    async def _ask(self) -> Ready | NotReady:
        try:
            await ping(self._queue)
        except (RedisAway, Refused) as error:
            note(self._link, error)
            if self._has_records:
                return Ready(redis="away")
            return NotReady(error="Redis is not reachable")
        note(self._link, None)
        return Ready(redis="connected")

    def note(self, error: CrewpoolError) -> None:
        """Log why a request could not be carried out, each reason twice a minute at most."""
        cause = error.__cause__ if isinstance(error, PublishFailed) else error
        if isinstance(cause, RedisAway | Refused):
            note(self._link, cause)
            return
        kind = type(cause).__name__
        if self._clock() >= self._quiet_until.get(kind, 0.0):
            self._quiet_until[kind] = self._clock() + QUIET_S
            self._log.error("gateway_refused", error=str(error))
