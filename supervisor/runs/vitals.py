"""What `crewpool results consume` tells whoever asks: alive, ready, and all metrics.

Served by observe/http.py. Nothing here changes anything: it counts what goes by.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from supervisor.observe.records import RecordsMetrics
from supervisor.runs.answers import APPLIED, Arrival
from supervisor.runs.consumer import ResultStore
from worker.errors import CrewpoolError

if TYPE_CHECKING:
    from supervisor.runs.backlog import Backlog

LIVE_WITHIN_S = 60.0
LOOK_EVERY_S = 5.0


class Runner(Protocol):
    """Whoever goes round and says when it last came round, by the monotonic clock."""

    came_round_at: float


class Vitals:
    """The health of one process that takes results in. `runners` are named for whom asks."""

    def __init__(
        self,
        metrics: RecordsMetrics,
        look: Callable[[], "Backlog"],
        runners: Mapping[str, Runner],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics
        self._look = look
        self._runners = runners
        self._clock = clock
        self._came_round_at = clock()
        self._redis_away = "Redis was not asked yet"
        self._database_away = "the records were not asked yet"

    # ---- what the consumer says

    def came_round(self, *, is_away: bool) -> None:
        """Note that the consumer of results made progress, and whether Redis answers."""
        self._came_round_at = self._clock()
        self._redis_away = "Redis is not reachable" if is_away else ""

    def set_aside(self, reason: str) -> None:
        """Count a dead letter."""
        self.metrics.set_aside(reason)

    # ---- looking

    async def look_for_ever(self) -> None:
        """Look into the outbox every few seconds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look into the outbox once."""
        try:
            backlog = await asyncio.to_thread(self._look)
        except CrewpoolError as error:
            self._database_away = str(error)
        except Exception as error:  # noqa: BLE001  # what it looks like says more than no metrics
            self._database_away = type(error).__name__
        else:
            self._database_away = ""
            self.metrics.set_outbox(backlog.runs, backlog.oldest_s(datetime.now(UTC)))

    # ---- for the probes

    def stalled_because(self) -> str:
        """Return who has made no progress for a minute, "" when all have; for liveness.

        An outage is no stall: they go on asking.
        """
        came_round = {name: runner.came_round_at for name, runner in self._runners.items()}
        came_round["the consumer of results"] = self._came_round_at
        who = min(came_round, key=lambda name: came_round[name])
        silent_s = self._clock() - came_round[who]
        return f"{who} has made no progress for {silent_s:.0f}s" if silent_s > LIVE_WITHIN_S else ""

    def not_ready_because(self) -> str:
        """Return why no result would be taken in now, "" when one would; for readiness."""
        return self._redis_away or self._database_away

    def exposition(self) -> bytes:
        """Return all metrics as text."""
        self.metrics.set_reachable(redis=not self._redis_away, database=not self._database_away)
        return self.metrics.exposition()


class CountedStore:
    """The records, as the consumer of results needs them: what it takes in is counted."""

    def __init__(self, store: ResultStore, metrics: RecordsMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self.get = store.get
        self.mark_processing = store.mark_processing

    def apply_results(self, arrivals: Sequence[Arrival]) -> list[str]:
        """Take in results; raises as the store does, and counts that too."""
        try:
            outcomes = self._store.apply_results(arrivals)
        except Exception:
            self._metrics.results_not_handled(len(arrivals))
            raise
        now = datetime.now(UTC)
        for arrival, outcome in zip(arrivals, outcomes, strict=True):
            at = arrival.at if outcome == APPLIED else None
            self._metrics.result_taken(outcome, (now - at).total_seconds() if at else None)
        return outcomes
