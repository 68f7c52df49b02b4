"""Watches runs for all clients together: one look a second at the records of all watched runs,
and one reader of results beside the application's group. Without clients it asks nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from supervisor.errors import RedisAway
from supervisor.gateway.answers import Room
from supervisor.gateway.channels import Channel
from supervisor.gateway.problems import Refusal
from supervisor.gateway.runs import Runs, ending_of
from supervisor.log import Log
from supervisor.streams.inspect import Refused, Results
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from supervisor.streams.recorded import ENDED, records_of
from worker.errors import CrewpoolError

LOOK_EVERY_S = 1.0
PAGE = 200
# Runs that Redis does not know wait in the outbox; the records say how they go on.
RECORDS_EVERY = 15
MOST_SETTLED = 20
NOT_KNOWN = ("unknown-run", "result-gone")


class Hub:
    """All runs that are watched. Reads as long as there are any. `clients` is how many watch.

    `room` is for the results that they have not taken yet.
    """

    def __init__(
        self, queue: Queue, results: Results, runs: Runs, link: Link, room: Room, log: Log
    ) -> None:
        self._queue = queue
        self._results = results
        self._runs = runs
        self._link = link
        self._room = room
        self._log = log
        self._channels: dict[str, Channel] = {}
        self._wanted = asyncio.Event()
        self._is_closing = False
        self._looks = 0
        self.clients = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to look and to read."""
        work = (self._look_for_ever, self._read_for_ever)
        self._tasks = [asyncio.create_task(self._again_and_again(part)) for part in work]

    async def stop(self) -> None:
        """End it, and close the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._results.close()

    def close(self) -> None:
        """Send all clients away, those that come from now on too."""
        self._is_closing = True
        for channel in self._channels.values():
            channel.close()

    @contextmanager
    def watching(self, run_id: str) -> Iterator[tuple[Channel, asyncio.Event]]:
        """Watch a run: what is told of it, and what is set when there is news."""
        channel = self._channels.setdefault(run_id, Channel(run_id, self._room))
        channel.is_closing = channel.is_closing or self._is_closing
        news = asyncio.Event()
        channel.clients.add(news)
        self.clients += 1
        self._wanted.set()
        try:
            yield channel, news
        finally:
            channel.clients.discard(news)
            self.clients -= 1
            if not channel.clients:
                self._channels.pop(run_id, None)
                channel.forget()
            if not self._channels:
                self._wanted.clear()

    async def _again_and_again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001  # all clients hang on it: it must go on
                told = f"{type(error).__name__}: {error}"[:500]
                self._log.error("gateway_failed", error=told)
                await asyncio.sleep(LOOK_EVERY_S)

    # ---- how far they are

    async def _look_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._looks += 1
            with suppress(CrewpoolError), _noting(self._link):
                await self._look(has_records=self._looks % RECORDS_EVERY == 0)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, *, has_records: bool) -> None:
        watched = [channel for channel in self._channels.values() if channel.result is None]
        unsettled: list[Channel] = []
        for start in range(0, len(watched), PAGE):
            page = watched[start : start + PAGE]
            records = await self._records([channel.run_id for channel in page])
            for channel, facts in zip(page, records, strict=True):
                if facts.get("state") in ENDED:
                    # Its result comes by the stream. When we look again and it has not, it
                    # stands there from before, or is gone.
                    if channel.has_ended:
                        unsettled.append(channel)
                    channel.has_ended = True
                elif facts and facts != channel.facts:
                    channel.tell(facts)
                elif not facts and has_records:
                    unsettled.append(channel)
        # In turn: the first ones may stay unsettled for long.
        unsettled.sort(key=lambda channel: channel.settled)
        await self._settle(unsettled[:MOST_SETTLED])

    async def _records(self, run_ids: Sequence[str]) -> list[dict[str, str]]:
        """Return the records of runs. One key that is no record shall not hide all others."""
        try:
            return await records_of(self._queue, run_ids)
        except Refused as error:
            if error.is_permission or error.is_passing:
                raise
            if len(run_ids) == 1:
                return [{}]
        half = len(run_ids) // 2
        return [*await self._records(run_ids[:half]), *await self._records(run_ids[half:])]

    async def _settle(self, channels: Sequence[Channel]) -> None:
        for channel in channels:
            channel.settled = self._looks
            try:
                has_room = channel.tell_run(await self._runs.get(channel.run_id))
            except Refusal as refusal:
                if refusal.kind in NOT_KNOWN:
                    channel.miss()
            except CrewpoolError:
                continue
            else:
                if not has_room:
                    return

    # ---- how they end

    async def _read_for_ever(self) -> None:
        is_placed = False
        while True:
            if not self._channels:
                is_placed = False
                await self._wanted.wait()
            try:
                with _noting(self._link):
                    if not is_placed:
                        await self._results.start_here()
                        is_placed = True
                    self._take(await self._results.next())
            except CrewpoolError:
                await asyncio.sleep(LOOK_EVERY_S)

    def _take(self, results: Sequence[Mapping[str, Any]]) -> None:
        for result in results:
            run_id = result.get("plugin_run_id")
            if isinstance(run_id, str) and (channel := self._channels.get(run_id)):
                channel.end(ending_of(run_id, result))


@contextmanager
def _noting(link: Link) -> Iterator[None]:
    """Note for the log whether Redis is there. What it said goes on to the caller."""
    try:
        yield
    except CrewpoolError as error:
        note(link, error)
        raise
    note(link, None)


def note(link: Link, error: BaseException | None) -> None:
    """Note what became of a call to Redis: an outage is logged at its begin and its end."""
    if error is None:
        link.note_up()
    elif isinstance(error, RedisAway):
        link.note_down(error)
    elif isinstance(error, Refused):
        link.note_refused(error.what, error)
