"""Carries runs and results between Redis and the loop, which never waits for Redis.

The loop asks with `want`, `settle` and `note` (none of them blocks) and reads what came of
it with `facts`. Four tasks do the waiting: one takes, one delivers, one keeps leases and
sweeps, one writes records. While Redis is away all of them wait; what the loop asked for is
kept, and done when it is back.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams.endings import (
    CANCELLED,
    Bury,
    Ending,
    Finish,
    HandBack,
    cancelled,
    gone,
    of_what_is_gone,
)
from supervisor.streams.facts import EntriesTrimmed, Fact, LeaseLost, NothingTaken, Settled, Taken
from supervisor.streams.link import Link
from supervisor.streams.queue import NO_LIMITS, Answer, Lease, Nothing, Queue, Trimmed
from supervisor.streams.records import Records
from supervisor.streams.sweeps import forget, unique_of
from supervisor.streams.wire import Entry

TRIMMED = "trimmed"
NO_ENTRY = "0-0"
RETRY_S = 0.5
"""Between two tries of a command that Redis refused, for example for want of memory."""
GOODBYE_S = 0.5
"""For leaving Redis tidy. One that hangs just now shall not hold up the end of an idle pool."""
LOOK_AGAIN_S = 60.0
"""However quiet the streams are: somebody may have reset a group."""


class Broker:
    """The tasks between one supervisor's loop and its queue."""

    def __init__(
        self,
        queue: Queue,
        link: Link,
        records: Records,
        consumer_of: Callable[[int], str],
        ring: Callable[[], None],
        log: Log,
    ) -> None:
        self.link = link
        self.leases: dict[int, Lease] = {}
        self.plugin_limits = NO_LIMITS
        self._queue = queue
        self._records = records
        self._consumer_of = consumer_of
        self._ring = ring
        self._log = log
        self._wanted: dict[int, None] = {}
        self._to_settle: deque[tuple[int, Ending]] = deque()
        self._facts: deque[Fact] = deque()
        self._something_wanted = asyncio.Event()
        self._something_to_settle = asyncio.Event()
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self.consumers_used: set[str] = set()
        self._asking: int | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *others: Coroutine[Any, Any, None]) -> None:
        """Start the tasks, and those of others that live as long."""
        loop = asyncio.get_running_loop()
        for work in (self._take_for_ever(), self._deliver_for_ever(), *others):
            task = loop.create_task(work)
            # A task that ends has failed: the loop must hear of it.
            task.add_done_callback(lambda _: self._ring())
            self._tasks.append(task)

    def failure(self) -> BaseException | None:
        """Return what ended a task that never ends: a bug of ours, or a server too old."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                return task.exception()
        return None

    def want(self, slot: int) -> None:
        """Ask for an entry for this slot; the answer is a Taken, some day."""
        self._wanted[slot] = None
        self._something_wanted.set()

    def unwant(self, slots: Iterable[int]) -> list[int]:
        """Ask for nothing any more for these slots; return those that get no answer.

        The one whose question is on its way gets one: Taken, or NothingTaken.
        """
        waiting = [slot for slot in slots if self._wanted.pop(slot, slot) is None]
        return [slot for slot in waiting if slot != self._asking]

    def settle(self, slot: int, ending: Ending) -> None:
        """Ask to end the slot's entry; the answer is a Settled."""
        self._to_settle.append((slot, ending))
        self._something_to_settle.set()
        self._all_settled.clear()

    @property
    def is_settled(self) -> bool:
        """Whether all endings that were asked for are in Redis."""
        return not self._to_settle

    def facts(self) -> list[Fact]:
        """Return what happened since the last call, in order."""
        facts, self._facts = list(self._facts), deque()
        return facts

    def lose(self, slot: int) -> None:
        """Note that the slot's lease went to somebody else."""
        self.tell(LeaseLost(slot, self.leases[slot]))

    def tell_trimmed(self, ids: tuple[str, ...]) -> None:
        """Note that entries were cut off."""
        self.tell(EntriesTrimmed(ids))

    async def close(self, flush_s: float, *goodbyes: Callable[[], Awaitable[None]]) -> list[str]:
        """Deliver what is asked for within `flush_s`, then stop; say goodbye if Redis is there.

        Returns the ids of entries that could not be ended, which others will reclaim.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(flush_s):
                await self._all_settled.wait()
        await _end(self._tasks)
        undelivered = [self.leases[slot].id for slot, _ in self._to_settle if slot in self.leases]
        await self._last_words(goodbyes)
        await self._queue.close()
        return undelivered

    async def _last_words(self, goodbyes: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Leave Redis tidy, if it is there: no heartbeat, no consumers left."""
        if self.link.is_up:
            try:
                async with asyncio.timeout(GOODBYE_S):
                    for goodbye in goodbyes:
                        await goodbye()
                    await forget(self._queue, sorted(self.consumers_used))
            except (RedisAway, RedisError, TimeoutError) as error:
                self._log.warning("consumers_not_deleted", error=str(error) or "no answer in time")

    def tell(self, fact: Fact) -> None:
        """Note a fact for the loop."""
        self._facts.append(fact)
        self._ring()

    async def _take_for_ever(self) -> None:
        while True:
            await self._something_wanted.wait()
            await self.link.wait_until_up()
            try:
                nothing = await self._take_for_all()
                if nothing is not None and self._wanted:
                    # A server that is gone may leave us blocked there, until long after the
                    # others have found the one that took its place.
                    await self.link.while_up(self._wait_for_entry(nothing))
            except RedisAway as error:
                await self._away(error)
            except RedisError as error:
                await self._refused("take", error)
            if not self._wanted:
                self._something_wanted.clear()

    async def _wait_for_entry(self, nothing: Nothing) -> None:
        """Sleep until a run may be there, for as long as somebody wants one."""
        until = time.monotonic() + min(nothing.wake_s or LOOK_AGAIN_S, LOOK_AGAIN_S)
        while self._wanted and (left_s := until - time.monotonic()) > 0:
            with self.link.waiting("entry"):
                if await self._queue.wait_for_entry(nothing.after, left_s):
                    return

    async def _take_for_all(self) -> Nothing | None:
        """Take for each slot that waits, until nothing is left."""
        while self._wanted:
            slot = next(iter(self._wanted))
            consumer = self._consumer_of(slot)
            self.consumers_used.add(consumer)
            self._asking = slot
            answer: Answer | None = None
            try:
                with self.link.waiting("take"):
                    answer = await self._queue.take(consumer, self.plugin_limits)
            finally:
                self._asking = None
                is_taken = answer is not None and isinstance(answer.got, Entry)
                if slot not in self._wanted and not is_taken:
                    self.tell(NothingTaken(slot))
            for passed in answer.passed:
                self.tell(passed)
                self.link.stir()
            got = answer.got
            if isinstance(got, Trimmed):
                await self._answer_trimmed(got, consumer)
            elif isinstance(got, Entry):
                self._note_taken(slot, got, consumer)
            for passed in answer.passed:
                if passed.kind == CANCELLED:
                    # It has its result; unless the mark outlived it, and this is a new life.
                    gone = Lease(self._queue.keys.requests, NO_ENTRY, consumer, is_fenced=False)
                    await self.end(gone, cancelled(passed.run_id))
            if isinstance(got, Nothing):
                return got
        return None

    async def _answer_trimmed(self, cut: Trimmed, consumer: str) -> None:
        """Give the run its result; acknowledged with it, and not before (P7)."""
        if cut.run_id:
            unique = await unique_of(self._queue, cut.run_id)
            await self.end(Lease(cut.stream, cut.id, consumer, unique=unique), gone(cut.run_id))
        self.tell_trimmed((cut.id,))

    def _note_taken(self, slot: int, entry: Entry, consumer: str) -> None:
        lease = Lease.of(entry, consumer)
        self._wanted.pop(slot, None)
        self.leases[slot] = lease
        self.tell(Taken(slot, lease, entry))

    async def _deliver_for_ever(self) -> None:
        while True:
            await self._something_to_settle.wait()
            await self.link.wait_until_up()
            slot, ending = self._to_settle[0]
            try:
                with self.link.waiting("settle"):
                    how = await self.end(self.leases[slot], ending)
            except RedisAway as error:
                await self._away(error)
                continue
            except RedisError as error:
                # Others first, and this one again: nothing is dropped for an error.
                self._to_settle.rotate(-1)
                await self._refused("settle", error)
                continue
            self._to_settle.popleft()
            if not self._to_settle:
                self._something_to_settle.clear()
                self._all_settled.set()
            del self.leases[slot]
            self.tell(Settled(slot, ending, how))
            if isinstance(ending, Bury | HandBack):
                self.link.stir()  # its plugin may be in quarantine now

    async def end(self, lease: Lease, ending: Ending) -> str:
        """Carry out an ending; returns the script's answer. Raises RedisAway, RedisError."""
        if not lease.is_fenced:
            ending = of_what_is_gone(ending)
        record = self._records.last(ending)
        if isinstance(ending, Finish):
            return await self._queue.finish(lease, ending, record)
        if isinstance(ending, Bury):
            return await self._queue.bury(lease, ending, record)
        if isinstance(ending, HandBack):
            how = await self._queue.hand_back(lease, ending, record)
            if how == TRIMMED:
                return await self.end(replace(lease, is_fenced=False), ending)
            if how == CANCELLED:
                # While it had no supervisor that could have heard of it.
                return await self.end(lease, cancelled(ending.run_id))
            return how
        return "dropped"

    async def _away(self, error: RedisAway) -> None:
        self.link.note_down(error)
        # The link may be up again at once, and this connection alone be refused.
        await asyncio.sleep(RETRY_S)

    async def _refused(self, what: str, error: RedisError) -> None:
        self.link.note_refused(what, error)
        await asyncio.sleep(RETRY_S)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all are done: a library that has its answer in the same instant may
    swallow the cancellation, and the task goes on.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)
