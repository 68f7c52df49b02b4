"""Watches runs for all clients together: one look a second at the records of all watched runs,
and one reader of results beside the application's group. Without clients it asks nothing.

What is told of a run is a state and no queue: whoever reads slowly gets the latest, and holds
no memory but its place.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from pydantic import BaseModel

from supervisor.errors import RedisAway
from supervisor.gateway.models import End, Ending, Progress, Run, Step, status_of
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
RESULT, END = "result", "end"


class Frame:
    """One event as it is sent; `id` is what a client that comes back says it has seen."""

    __slots__ = ("data", "id")

    def __init__(self, event: str, told: BaseModel, frame_id: str = "") -> None:
        body = told.model_dump_json(exclude_none=event == "progress")
        self.id = frame_id or hashlib.blake2s(body.encode(), digest_size=6).hexdigest()
        self.data = f"event: {event}\nid: {self.id}\ndata: {body}\n\n".encode()


class Channel:
    """What is told of one run to all that watch it."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.progress: Frame | None = None
        self.result: Frame | None = None
        self.is_closing = False
        self.facts: Mapping[str, str] = {}
        self.has_ended = False
        self.clients: set[asyncio.Event] = set()

    def tell(self, facts: Mapping[str, str]) -> None:
        """Tell how far it is."""
        self.facts = facts
        status = status_of(facts.get("state", ""))
        self._step(Step(plugin_run_id=self.run_id, status=status, progress=Progress.of(facts)))

    def tell_run(self, run: Run) -> None:
        """Tell what was found when a client came."""
        if run.is_final:
            told = {"status": run.status, "output": run.output, "error": run.error}
            self.end(Ending.model_validate({"plugin_run_id": self.run_id, **told}))
        elif self.progress is None:
            progress = run.progress or Progress(state="waiting")
            self._step(Step(plugin_run_id=self.run_id, status=run.status, progress=progress))

    def end(self, ending: Ending) -> None:
        """Tell its result, once."""
        if self.result is None:
            self.result = Frame(RESULT, ending, RESULT)
            self._wake()

    def close(self) -> None:
        """Send the clients away: we are leaving, and the run goes on."""
        self.is_closing = True
        self._wake()

    def last_frame(self) -> bytes:
        """Return the event after which nothing comes."""
        because: Literal["ended", "shutdown"] = "ended" if self.result else "shutdown"
        frame = Frame(END, End(plugin_run_id=self.run_id, because=because), END)
        # Of a run that goes on, the client shall remember what it saw of it.
        return frame.data if self.result else frame.data.replace(b"id: end\n", b"")

    def _step(self, step: Step) -> None:
        frame = Frame("progress", step)
        if self.progress is None or frame.id != self.progress.id:
            self.progress = frame
            self._wake()

    def _wake(self) -> None:
        for news in self.clients:
            news.set()


class Hub:
    """All runs that are watched. Reads as long as there are any. `clients` is how many watch."""

    def __init__(self, queue: Queue, results: Results, runs: Runs, link: Link, log: Log) -> None:
        self._queue = queue
        self._results = results
        self._runs = runs
        self._link = link
        self._log = log
        self._channels: dict[str, Channel] = {}
        self._wanted = asyncio.Event()
        self._is_closing = False
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
        channel = self._channels.setdefault(run_id, Channel(run_id))
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
        looks = 0
        while True:
            await self._wanted.wait()
            looks += 1
            with suppress(CrewpoolError), _noting(self._link):
                await self._look(has_records=looks % RECORDS_EVERY == 0)
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
            with suppress(CrewpoolError):
                channel.tell_run(await self._runs.get(channel.run_id))

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
