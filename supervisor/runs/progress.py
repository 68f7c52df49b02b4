"""Sets records to `processing` when a supervisor says that their runs have begun.

The records in Redis say it; for eyes, so that a run may come from pending straight to its end.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from supervisor.runs.answers import Page, RunFilter

LOOK_EVERY_S = 1.0
PAGE = 200
# Of more the newest are looked at, which are the last to begin.
MOST_PAGES = 10
MOST_ATTEMPTS = 1_000_000

States = Callable[[Sequence[str]], Awaitable[dict[str, dict[str, str]]]]


class ProgressStore(Protocol):
    """What is needed of the records."""

    def list(
        self, which: RunFilter | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Return a page of runs."""

    def mark_processing(self, run_id: str, started_at: datetime, attempt: int = 1) -> bool:
        """Note that a run was started."""


async def follow_progress(states: States, store: ProgressStore, stop: asyncio.Event) -> None:
    """Look every second at the runs that have not begun, until told to stop."""
    while not stop.is_set():
        # Whatever is away is told by the consumer. And what anybody wrote into a record that no
        # database takes shall not keep the results of all others from being taken in.
        with suppress(Exception):
            await look(states, store)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await stop.wait()


async def look(states: States, store: ProgressStore) -> int:
    """Set what has begun since the last look; return how many."""
    begun, cursor = 0, None
    for _ in range(MOST_PAGES):
        which = RunFilter(statuses=("pending",))
        page = await asyncio.to_thread(store.list, which, PAGE, cursor)
        waiting = [run.plugin_run_id for run in page.runs]
        for run_id, facts in (await states(waiting) if waiting else {}).items():
            if (start := _start_of(facts)) is not None:
                begun += await asyncio.to_thread(store.mark_processing, run_id, *start)
        if (cursor := page.cursor) is None:
            break
    return begun


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
