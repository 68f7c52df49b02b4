"""Whether Redis is there. An outage is logged once when it begins and once when it ends."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from supervisor.errors import RedisAway
from supervisor.log import Log

# A refusal repeats twice a second; the log hears of it this often.
QUIET_S = 30.0


class Link:
    """Up or down, since when, and how often and how long it was down."""

    def __init__(self, clock: Callable[[], float], ring: Callable[[], None], log: Log) -> None:
        self.outages = 0
        self.outage_s = 0.0
        self.cause = "not connected yet"
        self._clock = clock
        self._ring = ring
        self._log = log
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._stirred = asyncio.Event()
        self._down_since: float | None = None
        self._quiet_until: dict[str, float] = {}
        self._waiting_since: dict[str, float] = {}

    @property
    def is_up(self) -> bool:
        """Whether the last command was answered."""
        return self._up.is_set()

    @property
    def waiting_s(self) -> float:
        """How long somebody has waited for an answer by now, for liveness.

        Commands have timeouts far below a minute: who waits longer is stuck.
        """
        now = self._clock()
        return max((now - since for since in self._waiting_since.values()), default=0.0)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Note that an answer is waited for; `what` is unique among those at a time."""
        self._waiting_since[what] = self._clock()
        try:
            yield
        finally:
            del self._waiting_since[what]

    async def wait_until_up(self) -> None:
        """Sleep while Redis is away."""
        await self._up.wait()

    async def wait_while_up(self, most_s: float) -> bool:
        """Sleep, but not into an outage that others notice meanwhile; return whether something
        stirred us.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._stirred.wait()
        was_stirred = self._stirred.is_set()
        self._stirred.clear()
        return was_stirred

    def stir(self) -> None:
        """Wake the keeper: something happened that is worth a look."""
        self._stirred.set()

    async def while_up(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do some work that may take long, and give it up in an outage that others notice.

        Returns whether it was done.
        """
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self._down.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                await tasks[0]
                return True
        finally:
            for task in tasks:
                task.cancel()
            # A library may need a moment to give up; what it says then is of no interest.
            await asyncio.gather(*tasks, return_exceptions=True)
        return False

    def note_up(self) -> None:
        """Redis answers, and our leases are renewed: others may go on."""
        if self._down_since is not None:
            away_s = self._clock() - self._down_since
            self.outage_s += away_s
            self._log.info("redis_back", away_s=away_s)
        self._down_since = None
        self._up.set()
        self._down.clear()
        self._ring()

    def note_refused(self, what: str, error: Exception) -> None:
        """Redis answered, and said no: for want of memory, of rights, or for a bug of ours."""
        now = self._clock()
        if now >= self._quiet_until.get(what, 0.0):
            self._quiet_until[what] = now + QUIET_S
            told = f"{type(error).__name__}: {error}"[:300]
            self._log.error("redis_refused", what=what, error=told)

    def note_down(self, error: RedisAway) -> None:
        """Redis did not answer."""
        self.cause = str(error)
        if self._down_since is None:
            self._down_since = self._clock()
            self.outages += int(self.is_up)
            self._log.warning("redis_away", error=error.cause, where=error.where)
        self._up.clear()
        self._down.set()
        self._stirred.set()
        self._ring()
