"""Carries out one submission: publish once, and wait. Called by submit.py only.

Where the settings name a database, the run is recorded first, as an application would.
What was published and what is not known to have been is told apart at every step, because
that decides what the user may safely do next.
"""

import asyncio
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.cli.failures import CommandFailed
from supervisor.cli.kept import awaited, result_of
from supervisor.cli.options import checked_queue
from supervisor.cli.waiting import BLOCK_S, NoResultInTime, ResultGone, Waiting
from supervisor.cli.wording import became
from supervisor.errors import RedisAway
from supervisor.runs.dispatch import Dispatched, Dispatcher, Options
from supervisor.runs.errors import RecordsAway
from supervisor.runs.requests import PluginRequest
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
        is_recorded = bool(settings.records_url.get_secret_value())
        self._dispatcher = Dispatcher.of(settings) if is_recorded else None
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
            if self._dispatcher is None:
                published = await publish(self._queue, self._publication)
            else:
                published = await asyncio.to_thread(self._dispatch, self._dispatcher)
        except (PublishUncertain, RecordsAway) as error:
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
        try:
            await self._results.start_here()
        except RedisAway:
            if self._dispatcher is None:
                raise  # else the run is accepted all the same, and published while we wait
        if (await self.publish()).what == "ended":
            return await self._earlier_result()
        waiting = Waiting(self._queue, self._results, self.run_id, show, self._talk)
        try:
            store = self._dispatcher.store if self._dispatcher is not None else None
            return await awaited(waiting.result(timeout_s), store, self.run_id)
        except TimeoutError:
            raise NoResultInTime(self.run_id, timeout_s or 0.0, self.again) from None

    async def close(self) -> None:
        """Hang up."""
        if self._dispatcher is not None:
            await asyncio.to_thread(self._dispatcher.close)
        await self._results.close()
        await self._queue.close()

    async def _earlier_result(self) -> dict[str, Any]:
        found = await inspect.find_result(self._queue, self.run_id)
        if found is None and self._dispatcher is not None:
            found = result_of(await asyncio.to_thread(self._dispatcher.store.get, self.run_id))
        if found is None:
            facts = await inspect.record(self._queue, self.run_id)
            raise ResultGone(self.run_id, facts, self._settings.results_stream)
        return found

    def _dispatch(self, dispatcher: Dispatcher) -> Published:
        asked = self._publication
        request = PluginRequest(
            asked.request.plugin,
            asked.request.user_id,
            asked.request.settings,
            asked.request.run_id,
            priority=asked.priority,
            at=asked.at,
            delay_s=asked.delay_s,
            unique_for_s=asked.unique_for_s,
        )
        # What Redis does not take at once is the relay's business, ours while we wait.
        told = dispatcher.dispatch(request, Options(retries=0))
        return _as_published(told, dispatcher)


def _as_published(told: Dispatched, dispatcher: Dispatcher) -> Published:
    """Say in the words of a publication what became of a run that was recorded."""
    run = dispatcher.store.get(told.run_id)
    due_at = run.due_at.timestamp() if run is not None and run.due_at else None
    if told.what == "published" and due_at is not None:
        return Published("delayed", told.run_id, due_at=due_at)
    if told.what == "known" and run is not None and run.is_final:
        return Published("ended", told.run_id, state=run.status)
    state = told.because if told.what == "waiting" else told.status
    return Published(told.what, told.run_id, due_at=due_at, state=state)
