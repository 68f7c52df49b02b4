"""Sets records to `processing` when a supervisor says that their runs have begun.

Redis has a list of all runs in hand: what is new in it is looked at, and nothing else, however
many wait. For eyes, so that a run may come from pending straight to its end.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from supervisor.log import Log
from supervisor.runs.errors import RecordsAway, RecordsOutdated

LOOK_EVERY_S = 1.0
MOST_ATTEMPTS = 1_000_000


class RunsInHand(Protocol):
    """What is needed of Redis; ResultStream has it."""

    async def held(self) -> list[str]:
        """Return the ids of all runs in hand."""

    async def states(self, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return what the records in Redis say of runs."""


class ProgressStore(Protocol):
    """What is needed of the records."""

    def get(self, run_id: str) -> Any:
        """Return the record of a run, None when there is none."""

    def mark_processing(self, run_id: str, started_at: datetime, attempt: int = 1) -> bool:
        """Note that a run was started."""


class Progress:
    """Follows the runs of one Redis into one store."""

    def __init__(self, redis: RunsInHand, store: ProgressStore, log: Log | None = None) -> None:
        self._redis = redis
        self._store = store
        self._log = log or Log("crewpool.results")
        self._seen: set[str] = set()
        self._is_troubled = False

    async def follow(self, stop: asyncio.Event) -> None:
        """Look every second, until told to stop. Whatever goes wrong is told, and tried again."""
        while not stop.is_set():
            try:
                await self.look()
                self._tell("")
            except Exception as error:  # noqa: BLE001  # results are taken in all the same
                self._tell(f"{type(error).__name__}: {error}"[:300])
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await stop.wait()

    async def look(self) -> int:
        """Set what has begun since the last look; return how many.

        What the records refuse is an error, and passed over by the next look.
        """
        held, begun = set(await self._redis.held()), 0
        self._seen &= held
        fresh = sorted(held - self._seen)
        for run_id, facts in (await self._redis.states(fresh) if fresh else {}).items():
            if (start := _start_of(facts)) is None:
                continue
            self._seen.add(run_id)
            try:
                begun += await asyncio.to_thread(self._note, run_id, *start)
            except (RecordsAway, RecordsOutdated):
                self._seen.discard(run_id)
                raise
        return begun

    def _note(self, run_id: str, started_at: datetime, attempt: int) -> bool:
        run = self._store.get(run_id)
        if run is None or run.is_final:
            return False
        # Whoever else follows this Redis was quicker.
        is_known = run.status != "pending" and run.attempts >= attempt
        return not is_known and self._store.mark_processing(run_id, started_at, attempt)

    def _tell(self, trouble: str) -> None:
        """Tell the beginning and the end of a trouble, and nothing in between."""
        if bool(trouble) != self._is_troubled:
            self._is_troubled = bool(trouble)
            if trouble:
                self._log.warning("progress_not_followed", error=trouble)
            else:
                self._log.info("progress_followed")


def _start_of(facts: dict[str, Any]) -> tuple[datetime, int] | None:
    """Return when a run was started and how often, None where its record says neither."""
    if facts.get("state") != "running":
        return None
    try:
        at = datetime.fromtimestamp(float(facts["started_at"]), UTC)
        attempt = int(facts.get("attempt", "1"))
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    return (at, attempt) if 0 < attempt <= MOST_ATTEMPTS else None
