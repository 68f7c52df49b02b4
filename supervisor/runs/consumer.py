"""Takes results in for an application: into the records, or to a handler of its own.

A member of the results' group; several share the load. A result is acknowledged when its
effect is kept and not before, and its handler may see one again: after a crash, or an error.
While nothing can be handled nothing new is read. It never takes the application down: what
goes wrong is logged, and tried again.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.runs.answers import UNKNOWN, Arrival
from supervisor.runs.aside import asleep, run_aside, unless
from supervisor.runs.errors import RecordsAway
from supervisor.runs.progress import Progress, ProgressStore
from supervisor.runs.publisher import AddressInvalid
from supervisor.settings import Settings
from supervisor.streams.inspect import is_url
from supervisor.streams.keys import Keys
from supervisor.streams.results import FIRST, GONE, ResultEntry, ResultStream, ids_of

CLAIM_IDLE_S = 60.0
CLAIM_EVERY_S = 15.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
NO_RECORD = "unknown_run"

# Takes several results; returns those (by place) that it knows nothing of. Whatever it raises
# means: none of them was taken in, ask again.
Handler = Callable[[Sequence[Arrival]], Sequence[int]]


class ResultStore(ProgressStore, Protocol):
    """What a consumer needs of the records; supervisor/runs/store.py has it."""

    def apply_results(self, arrivals: Sequence[Arrival]) -> list[str]:
        """Take in results; return for each whether it was applied, duplicate or unknown."""


class Observer(Protocol):
    """Who watches a consumer."""

    def came_round(self, *, is_away: bool) -> None:
        """Hear that it goes on, and whether Redis is away."""

    def set_aside(self, reason: str) -> None:
        """Hear of an entry that was put among the dead ones."""


@dataclass
class Counts:
    """What a consumer has done since its start."""

    handled: int = 0
    unknown: int = 0
    buried: int = 0
    errors: int = 0


@dataclass
class Pauses:
    """How long to leave alone what could not be handled: 0.5 s, doubled up to 30 s."""

    failures: int = 0
    until: float = field(default=0.0)

    def failed(self, now: float) -> None:
        """Note one more failure in a row."""
        self.until = now + min(FIRST_PAUSE_S * 2.0 ** min(self.failures, 10), LONGEST_PAUSE_S)
        self.failures += 1

    def worked(self) -> None:
        """Forget the failures."""
        self.failures, self.until = 0, 0.0


class ResultConsumer:
    """One consumer. `handler` is called in a thread, with up to ten results at a time.

    Raises AddressInvalid. Nothing is connected yet.
    """

    def __init__(
        self,
        url: str | None,
        handler: Handler,
        settings: Settings | None = None,
        observer: Observer | None = None,
    ) -> None:
        settings = settings or Settings()
        address = url or settings.redis_address
        if not is_url(address, settings.results_stream):
            raise AddressInvalid(address, "it, or a part of it, cannot be read")
        self.counts = Counts()
        self.stream = ResultStream(address, Keys.of(settings), consumer_name())
        self._handler = handler
        self._observer = observer
        self._log = Log("crewpool.results")
        self._pauses = Pauses()
        self._owed_at: float | None = 0.0
        self._claim_at, self._claimed_to = 0.0, FIRST
        self._is_away = False
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Take results in until told to stop; what is in hand then is finished."""
        self._stop = stop
        try:
            while not stop.is_set():
                try:
                    await self._round(stop)
                    self._is_away = False
                except Exception as error:  # noqa: BLE001  # what others wrote must not end it
                    self._note_trouble(error)
                    if isinstance(error, RedisAway):  # a lost reply may have made entries ours
                        self._owed_at = time.monotonic()
                    await asleep(stop, FIRST_PAUSE_S)
                self._came_round()
        finally:
            with suppress(Exception):
                await self._take_owed()  # what a read brought that was given up
                await self.stream.leave()
            await self.stream.close()

    async def _round(self, stop: asyncio.Event) -> None:
        now = time.monotonic()
        if self._owed_at is not None and now >= self._owed_at:
            await self._take_owed()
        if now >= self._claim_at:
            await self._claim(now)
        if (pause_s := self._pauses.until - time.monotonic()) > 0:
            # Nothing can be handled: what is read now would only wait here.
            await asleep(stop, pause_s)
            return
        due = [at for at in (self._owed_at, self._claim_at) if at is not None]
        wait_s = max(0.001, min(due) - time.monotonic())
        fresh = await unless(stop, self.stream.fresh(wait_s))
        await self._work(fresh or [])

    async def _claim(self, now: float) -> None:
        """Take over what others have left, by the page, and for a second: new ones come, too."""
        while (until := time.monotonic()) < now + 1.0 and self._pauses.until <= until:
            page, self._claimed_to = await self.stream.claim(CLAIM_IDLE_S, self._claimed_to)
            await self._work(page)
            if self._claimed_to == FIRST:
                self._claim_at = now + CLAIM_EVERY_S
                return

    async def _take_owed(self) -> None:
        """Handle what this consumer has read and not let go of, page by page."""
        self._owed_at = None
        after = "-"
        while page := await self.stream.pending(after):
            await self._work(page)
            if self._pauses.until > time.monotonic():
                break
            after = page[-1].id

    async def _work(self, entries: Sequence[ResultEntry]) -> None:
        """Handle some results; what cannot be handled stays pending, and its turn comes again."""
        await self._handle_all([entry for entry in entries if entry.result is not None])
        for entry in entries:
            if entry.result is None:
                await self._set_aside(entry)

    async def _handle_all(self, rest: list[ResultEntry]) -> None:
        if not rest or await self._handle(rest, is_last_try=len(rest) == 1):
            return
        # One of them may be at fault: each by itself. Not when we leave: a database may hang.
        worked = False
        for entry in rest if len(rest) > 1 else ():
            if not self._stop.is_set():
                worked |= await self._handle([entry], is_last_try=True)
        now = time.monotonic()
        if worked:
            self._pauses.worked()
        else:
            self._pauses.failed(now)
        self._owed_at = max(self._pauses.until, now + FIRST_PAUSE_S)

    async def _handle(self, entries: list[ResultEntry], *, is_last_try: bool) -> bool:
        # A database may hang, once for each: that is no stall of ours.
        self._came_round()
        arrivals = [Arrival(e.result, _written_at(e.id)) for e in entries if e.result is not None]
        try:
            unknown = set(await asyncio.to_thread(self._handler, arrivals))
        except Exception as error:  # noqa: BLE001  # a handler is the application's code
            self.counts.errors += 1
            if is_last_try:
                run = entries[0].result.run_id if entries[0].result else None
                told = f"{type(error).__name__}: {error}"
                self._log.error("result_not_handled", run=run, entry=entries[0].id, error=told)
            return False
        known = [entry for number, entry in enumerate(entries) if number not in unknown]
        await self.stream.acknowledge(ids_of(known))
        self.counts.handled += len(known)
        self._pauses.worked()
        for number in sorted(unknown):
            self.counts.unknown += await self._keep(entries[number], NO_RECORD)
        return True

    async def _set_aside(self, entry: ResultEntry) -> None:
        if entry.problem == GONE:
            self._log.error("result_lost", entry=entry.id, hint="MAXLEN by a producer?")
            await self.stream.acknowledge([entry.id])
            return
        self.counts.buried += await self._keep(entry, entry.problem)

    async def _keep(self, entry: ResultEntry, problem: str) -> bool:
        """Put an entry among the dead ones; False where Redis has no room, until its turn comes."""
        try:
            await self.stream.bury(ResultEntry(entry.id, None, problem, entry.payload))
        except RedisError as error:
            # Out of memory, say: results are still to be taken in, which makes some.
            self._owed_at = self._owed_at or time.monotonic() + LONGEST_PAUSE_S
            self._note_trouble(error)
            return False
        run = entry.result.run_id if entry.result else None
        self._log.warning("result_set_aside", run=run, entry=entry.id, reason=problem)
        if self._observer:
            self._observer.set_aside(problem)
        return True

    def _came_round(self) -> None:
        if self._observer:
            self._observer.came_round(is_away=self._is_away)

    def _note_trouble(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            is_told = isinstance(error, RedisAway | RedisError)
            told = str(error) if is_told else f"{type(error).__name__}: {error}"
            self._log.warning("results_not_readable", error=told[:300])


def start_result_consumer(
    url: str | None, store: ResultStore, settings: Settings | None = None
) -> Callable[[], None]:
    """Take results into the records, in a thread of its own; return how to stop it.

    The status `processing` is set from the progress of runs. Stopping waits for what is in
    hand, and closes the connections. A Redis or a database that is away is waited for; what
    somebody has to mend is raised here: AddressInvalid, RecordsMisconfigured, RecordsOutdated.
    """
    consumer = ResultConsumer(url, _into(store), settings)
    with suppress(RecordsAway):
        store.get("")  # nobody: whether the tables are ours
    return run_aside(lambda stop: _consume(consumer, store, stop), "crewpool-results")


async def consume(
    url: str | None,
    store: ResultStore,
    stop: asyncio.Event,
    settings: Settings | None = None,
    observer: Observer | None = None,
) -> Counts:
    """Take results into the records until told to stop; return what was done.

    Raises AddressInvalid.
    """
    return await _consume(ResultConsumer(url, _into(store), settings, observer), store, stop)


async def _consume(consumer: ResultConsumer, store: ResultStore, stop: asyncio.Event) -> Counts:
    progress = Progress(consumer.stream, store)
    await asyncio.gather(consumer.run(stop), progress.follow(stop))
    return consumer.counts


def _into(store: ResultStore) -> Handler:
    def handle(arrivals: Sequence[Arrival]) -> list[int]:
        told = store.apply_results(arrivals)
        return [number for number, what in enumerate(told) if what == UNKNOWN]

    return handle


def consumer_name() -> str:
    """Return a name for a consumer that nobody else has."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(3)}"


def _written_at(entry_id: str) -> datetime:
    """Return the time in an id. One that is ahead of us, as anybody may write it, is now."""
    written_s = int(entry_id.partition("-")[0]) / 1000
    return datetime.fromtimestamp(min(written_s, time.time()), UTC)
