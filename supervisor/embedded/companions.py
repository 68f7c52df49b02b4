"""All programs beside one supervisor: started, started again when they die, ended together.

Called by `crewpool up`. They are children of the process that the supervisor runs in, and die
with its main thread; the supervisor's pool reaps them, and leaves alone whoever is in `pids`.
"""

import asyncio
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from supervisor.embedded.companion import Companion
from supervisor.embedded.program import Program
from supervisor.log import Log
from supervisor.pool.backoff import Restarts

SERVED_S = 30.0
"""Who lived so long had begun: its death is the first of a new row."""


class Companions:
    """A context manager. `pids` is one set for as long as it lives."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, log: Log | None = None) -> None:
        self.pids: set[int] = set()
        self._all: list[Companion] = []
        self._clock = clock
        self._log = log or Log()
        self._restarts = Restarts()

    def start(self, *companions: Companion) -> None:
        """Start them and wait until they answer. Raises as their `start()`."""
        self._all += companions
        for companion in companions:
            if isinstance(companion, Program):
                companion.begin()  # all boot at the same time
        for companion in companions:
            companion.start()
            self.pids.add(companion.child.pid)

    async def keep_for_ever(self) -> None:
        """Start again who dies, until cancelled. From the main thread: they die with it."""
        await asyncio.gather(*(self._keep(slot) for slot in range(len(self._all))))

    def stop(self) -> None:
        """End them: first those that use the others."""
        programs = [companion for companion in self._all if isinstance(companion, Program)]
        for program in programs:
            program.ask()
        for companion in [*programs, *reversed(self._all)]:
            companion.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def _keep(self, slot: int) -> None:
        companion = self._all[slot]
        while True:
            pid, began = companion.child.pid, self._clock()
            await _end_of(companion.child.pidfd)
            how, now = companion.child.how_ended(), self._clock()
            wait_s = self._restarts.note_death(
                slot, now, by_itself=True, has_served=now - began >= SERVED_S
            )
            self.pids.discard(pid)
            self._log.warning(
                "companion_died", name=companion.name, pid=pid, how=how or None, again_in_s=wait_s
            )
            await self._begin_again(slot)
            self.pids.add(companion.child.pid)
            self._log.info("companion_started", name=companion.name, pid=companion.child.pid)

    async def _begin_again(self, slot: int) -> None:
        companion = self._all[slot]
        while True:
            await asyncio.sleep(max(0.0, self._restarts.not_before(slot) - self._clock()))
            try:
                companion.begin_again()
            except (OSError, subprocess.SubprocessError) as error:
                # There is no room for a process now, or somebody took its port.
                self._restarts.postpone(slot, self._clock())
                self._log.error("companion_not_started", name=companion.name, error=str(error))
            else:
                return


async def _end_of(pidfd: int) -> None:
    """Return when a process has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
