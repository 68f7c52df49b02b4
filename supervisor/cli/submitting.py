"""Carries out one submission: publish once, note it, wait. Called by submit.py only.

What was published and is not known to have been is told apart at every step, because that
decides what the user may safely do next.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.cli.failures import CommandFailed
from supervisor.cli.options import checked_queue
from supervisor.cli.waiting import BLOCK_S, NoResultInTime, ResultGone, Waiting
from supervisor.settings import Settings
from supervisor.streams import inspect
from supervisor.streams.publish import Publication, PublishUncertain, publish
from supervisor.streams.wire import Request


@dataclass(frozen=True)
class Submission:
    """What to publish where. `may_be_known`: the id was given and may have been used before."""

    request: Request
    payload: str
    priority: str
    may_be_known: bool


class Submitting:
    """One submission. `talk` hears what the user should know."""

    def __init__(
        self, settings: Settings, submission: Submission, talk: Callable[[str], None]
    ) -> None:
        self.is_published = False
        self._submission = submission
        self._settings = settings
        self._run_id = submission.request.run_id
        self._talk = talk
        self._is_noted = False
        self._queue = checked_queue(settings)
        address = settings.redis_address
        self._results = inspect.Results(address, settings.results_stream, BLOCK_S)

    @property
    def again(self) -> str:
        """How to ask for the result later. A noted run is found, not started once more."""
        if not self.is_published:
            return self._repeat
        if not self._is_noted:
            return f"its result will stand in the stream {self._settings.results_stream}"
        run_id, plugin = shlex.quote(self._run_id), self._submission.request.plugin
        return f"crewpool submit {plugin} --run-id {run_id} --wait"

    @property
    def _repeat(self) -> str:
        return f"the same command with --run-id {shlex.quote(self._run_id)}"

    async def publish(self) -> str:
        """Publish, unless the run is known; return the entry's id, "" when it was known."""
        submission = self._submission
        if submission.may_be_known and (state := await self._known()):
            self._talk(f"Run {self._run_id} is known ({state}): it is not published again.")
            self.is_published = self._is_noted = True
            return ""
        publication = Publication(submission.request, submission.payload, submission.priority)
        try:
            published = await publish(self._queue, publication)
        except PublishUncertain as error:
            raise CommandFailed(str(error), self._repeat) from None
        self.is_published = True
        self._is_noted = True
        return published.entry_id

    async def publish_and_wait(
        self, timeout_s: float | None, show: Callable[[Mapping[str, str], str], None]
    ) -> dict[str, Any]:
        """Return the payload of the result. Raises NoResultInTime and ResultGone."""
        # Before publishing: a result that comes at once must not be missed.
        await self._results.start_here()
        if not await self.publish() and await self._has_ended():
            return await self._earlier_result()
        waiting = Waiting(self._queue, self._results, self._run_id, show, self._talk)
        try:
            return await waiting.result(timeout_s)
        except TimeoutError:
            raise NoResultInTime(self._run_id, timeout_s or 0.0, self.again) from None

    async def close(self) -> None:
        """Hang up."""
        await self._results.close()
        await self._queue.close()

    async def _known(self) -> str:
        """Return the state of a run that was published before, "" when none is known."""
        try:
            if await self._has_ended():
                return "ended"
            facts = await inspect.record(self._queue, self._run_id)
        except inspect.Refused as refused:
            if not refused.is_permission:
                raise
            return ""
        return facts.get("state", "pending") if facts else ""

    async def _has_ended(self) -> bool:
        return await inspect.has_result(self._queue, self._run_id)

    async def _earlier_result(self) -> dict[str, Any]:
        found = await inspect.find_result(self._queue, self._run_id)
        if found is None:
            facts = await inspect.record(self._queue, self._run_id)
            raise ResultGone(self._run_id, facts, self._settings.results_stream)
        return found
