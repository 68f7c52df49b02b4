"""What is told of one run to all that watch it: a state and no queue.

Whoever reads slowly gets the latest, and holds no memory but its place.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from supervisor.gateway.answers import Room
from supervisor.gateway.models import End, Ending, Progress, Run, Step, status_of

RESULT, END = "result", "end"


class Frame:
    """One event as it is sent; `id` is what a client that comes back says it has seen."""

    __slots__ = ("data", "id")

    def __init__(self, event: str, told: BaseModel, frame_id: str = "") -> None:
        body = told.model_dump_json(exclude_none=event == "progress")
        self.id = frame_id or hashlib.blake2s(body.encode(), digest_size=6).hexdigest()
        self.data = f"event: {event}\nid: {self.id}\ndata: {body}\n\n".encode()


class Channel:
    """What is told of one run to all that watch it.

    `settled` is when it was last looked for elsewhere, in looks; `is_missing` whether nobody knew
    it then, and `is_lost` whether nobody did twice.
    """

    def __init__(self, run_id: str, room: Room) -> None:
        self.run_id = run_id
        self._room = room
        self.progress: Frame | None = None
        self.result: Frame | None = None
        self.is_closing = False
        self.facts: Mapping[str, str] = {}
        self.has_ended = False
        self.is_missing = False
        self.is_lost = False
        self.settled = 0
        self.clients: set[asyncio.Event] = set()

    def tell(self, facts: Mapping[str, str]) -> None:
        """Tell how far it is."""
        self.facts = facts
        self.is_missing = False
        status = status_of(facts.get("state", ""))
        self._step(Step(plugin_run_id=self.run_id, status=status, progress=Progress.of(facts)))

    def tell_run(self, run: Run) -> bool:
        """Tell what was found of it; return whether there was room for that."""
        self.is_missing = False
        if run.is_final:
            told = {"status": run.status, "output": run.output, "error": run.error}
            return self.end(Ending.model_validate({"plugin_run_id": self.run_id, **told}))
        if self.progress is None:
            progress = run.progress or Progress(state="waiting")
            self._step(Step(plugin_run_id=self.run_id, status=run.status, progress=progress))
        return True

    def end(self, ending: Ending) -> bool:
        """Tell its result, once; return whether there was room for it."""
        if self.result is None:
            frame = Frame(RESULT, ending, RESULT)
            if not self._room.take(len(frame.data)):
                return False
            self.result = frame
            self._wake()
        return True

    def miss(self) -> None:
        """Note that nobody knows the run: the second time, its clients are told."""
        self.is_lost = self.is_missing
        self.is_missing = True
        if self.is_lost:
            self._wake()

    def forget(self) -> None:
        """Hold nothing any more: the last client has left."""
        if self.result is not None:
            self._room.give_back(len(self.result.data))

    def close(self) -> None:
        """Send the clients away: we are leaving, and the run goes on."""
        self.is_closing = True
        self._wake()

    def last_frame(self) -> bytes:
        """Return the event after which nothing comes."""
        because: Literal["ended", "unknown", "shutdown"] = "shutdown"
        if self.result or self.is_lost:
            because = "ended" if self.result else "unknown"
        frame = Frame(END, End(plugin_run_id=self.run_id, because=because), END)
        # Of a run that goes on, the client shall remember what it saw of it.
        return frame.data.replace(b"id: end\n", b"") if because == "shutdown" else frame.data

    def _step(self, step: Step) -> None:
        frame = Frame("progress", step)
        if self.progress is None or frame.id != self.progress.id:
            self.progress = frame
            self._wake()

    def _wake(self) -> None:
        for news in self.clients:
            news.set()
