"""Waits for the result of one run and shows how it gets on: for `crewpool submit --wait`.

Results are read beside the application's group, never taken from it. An outage of Redis is
said once and sat out. It publishes nothing.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor.cli import wording
from supervisor.cli.failures import NO_RESULT_IN_TIME, CommandFailed
from supervisor.errors import RedisAway
from supervisor.streams import inspect
from supervisor.streams.queue import Queue

BLOCK_S = 0.25
RETRY_S = 0.5
# Heartbeats end by themselves; whoever had none for so long need not be looked at.
RECENT_S = 300.0
ASK_HOSTS_S = 2.0
NOBODY = "no supervisor is alive on this Redis (next: crewpool up, or crewpool run)"


class NoResultInTime(CommandFailed):
    """The patience of the caller ended before the run did."""

    def __init__(self, run_id: str, timeout_s: float, again: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"Run {run_id} has no result after {timeout_s:g}s. It goes on.",
            again,
            NO_RESULT_IN_TIME,
        )


class ResultGone(CommandFailed):
    """The run ended, and its result was cut off the stream."""

    def __init__(self, run_id: str, facts: Mapping[str, str], stream: str) -> None:
        state, error = facts.get("state", "ended"), facts.get("error", "")
        told = f"Run {run_id} {state}{': ' + error if error else ''}."
        super().__init__(
            f"{told} Its result does not stand in {stream} any more.",
            "submit it again without --run-id",
        )


class Waiting:
    """One wait. `show` gets the record of the run each time we look; `talk` hears of outages."""

    def __init__(
        self,
        queue: Queue,
        results: inspect.Results,
        run_id: str,
        show: Callable[[Mapping[str, str], str], None],
        talk: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._results = results
        self._run_id = run_id
        self._show = show
        self._talk = talk
        self._may_read_records = True
        self._away_since: float | None = None
        self._asked_hosts_at = 0.0
        self._waits_for = ""

    async def result(self, timeout_s: float | None) -> dict[str, Any]:
        """Return the payload of the result. Raises TimeoutError and ResultGone."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    if (found := await self._look()) is not None:
                        return found
                except RedisAway as away:
                    self._note_away(away)
                    await asyncio.sleep(RETRY_S)

    async def _look(self) -> dict[str, Any] | None:
        for payload in await self._results.next():
            if payload.get("plugin_run_id") == self._run_id:
                return payload
        facts = await self._facts()
        # Only now: each of our two connections may still be an old one that was cut.
        self._note_back()
        if facts.get("state") in wording.ENDED:
            # State and result are written in one step: it is there, or it was cut off.
            found = await inspect.find_result(self._queue, self._run_id)
            if found is None:
                raise ResultGone(self._run_id, facts, self._queue.keys.results)
            return found
        self._show(facts, await self._line(facts))
        return None

    async def _facts(self) -> Mapping[str, str]:
        """Return the run's record. An application's user may read results and no records."""
        if not self._may_read_records:
            return {}
        try:
            return await inspect.record(self._queue, self._run_id)
        except inspect.Refused as refused:
            self._may_read_records = False
            self._talk(f"No progress is shown: {refused}")
            return {}

    async def _line(self, facts: Mapping[str, str]) -> str:
        """Return what to show of a run; of one that waits, also what it waits for."""
        if facts.get("state", wording.PENDING) not in wording.WAITING:
            return wording.line(facts)
        if self._may_read_records and time.monotonic() > self._asked_hosts_at + ASK_HOSTS_S:
            self._asked_hosts_at = time.monotonic()
            seen = await inspect.hosts(self._queue, since=time.time() - RECENT_S)
            self._waits_for = _what_is_missing(seen)
        return " · ".join(filter(None, (wording.line(facts), self._waits_for)))

    def _note_away(self, away: RedisAway) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._talk(f"{str(away).rstrip('.')}. Trying again until it is back.")

    def _note_back(self) -> None:
        if self._away_since is not None:
            self._talk(f"Redis is back after {time.monotonic() - self._away_since:.0f}s.")
            self._away_since = None


def _what_is_missing(seen: Sequence[inspect.HostSeen]) -> str:
    """Say why a run may have to wait: nobody is there, or all are busy."""
    alive = [host.snapshot for host in seen if host.snapshot]
    workers = [slot for snapshot in alive for slot in snapshot.get("workers") or ()]
    if not alive:
        return NOBODY
    is_full = workers and all(slot.get("state") == "busy" for slot in workers)
    return f"all {len(workers)} workers are busy" if is_full else ""
