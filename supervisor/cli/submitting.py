"""Carries out one submission: publish once, and wait. Called by submit.py only.

What was published and is not known to have been is told apart at every step, because that
decides what the user may safely do next.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.cli.failures import CommandFailed
from supervisor.cli.options import checked_queue
from supervisor.cli.waiting import BLOCK_S, NoResultInTime, ResultGone, Waiting
from supervisor.cli.wording import became
from supervisor.settings import Settings
from supervisor.streams import inspect
from supervisor.streams.publish import Publication, Published, PublishUncertain, publish


class Submitting:
    """One submission. `talk` hears what the user should know.

    `run_id` is the run that the request stands for in the end: another one, where it is to be
    unique and that one was there before.
    """

    def __init__(
        self, settings: Settings, publication: Publication, talk: Callable[[str], None]
    ) -> None:
        self.is_published = False
        self.run_id = publication.request.run_id
        self._publication = publication
        self._settings = settings
        self._talk = talk
        self._queue = checked_queue(settings)
        address = settings.redis_address
        self._results = inspect.Results(address, settings.results_stream, BLOCK_S)

    @property
    def again(self) -> str:
        """How to ask for the result later. A run that is known is not started once more."""
        if not self.is_published:
            return self._repeat
        plugin = self._publication.request.plugin
        return f"crewpool submit {plugin} --run-id {shlex.quote(self.run_id)} --wait"

    @property
    def _repeat(self) -> str:
        return f"the same command with --run-id {shlex.quote(self.run_id)}"

    async def publish(self) -> Published:
        """Publish, unless the run is known; say what became of it where that is not plain."""
        try:
            published = await publish(self._queue, self._publication)
        except PublishUncertain as error:
            raise CommandFailed(str(error), self._repeat) from None
        self.is_published = True
        self.run_id = published.run_id
        if told := became(published):
            self._talk(told)
        return published

    async def publish_and_wait(
        self, timeout_s: float | None, show: Callable[[Mapping[str, str], str], None]
    ) -> dict[str, Any]:
        """Return the payload of the result. Raises NoResultInTime and ResultGone."""
        # Before publishing: a result that comes at once must not be missed.
        await self._results.start_here()
        if (await self.publish()).what == "ended":
            return await self._earlier_result()
        waiting = Waiting(self._queue, self._results, self.run_id, show, self._talk)
        try:
            return await waiting.result(timeout_s)
        except TimeoutError:
            raise NoResultInTime(self.run_id, timeout_s or 0.0, self.again) from None

    async def close(self) -> None:
        """Hang up."""
        await self._results.close()
        await self._queue.close()

    async def _earlier_result(self) -> dict[str, Any]:
        found = await inspect.find_result(self._queue, self.run_id)
        if found is None:
            facts = await inspect.record(self._queue, self.run_id)
            raise ResultGone(self.run_id, facts, self._settings.results_stream)
        return found
