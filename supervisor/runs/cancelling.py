"""Cancels a run wherever it is: in the outbox of the records, in Redis, or on its way between.

Called by the gateway and by `crewpool cancel`. Needs nothing of the extra `records` by itself.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from supervisor.errors import RedisAway
from supervisor.runs.errors import RecordsAway
from supervisor.streams import inspect, orders
from supervisor.streams.endings import CANCELLED
from supervisor.streams.orders import Cancelled
from supervisor.streams.queue import Queue

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun
    from supervisor.runs.store import RunStore


async def cancel(queue: Queue, store: "RunStore | None", run_id: str) -> Cancelled:
    """Cancel a run; return what it was, as orders.cancel.

    The record comes first. From then on the outbox remembers the cancel, and Redis hears of it
    from us or, when it is away, from the relay. Raises RedisAway and Refused unless the run
    waited, RecordsAway when Redis does not know the run either. Safe to repeat.
    """
    if store is None:
        return await orders.cancel(queue, run_id)
    try:
        run = await asyncio.to_thread(store.cancel, run_id)
    except RecordsAway:
        found = await orders.cancel(queue, run_id)
        if found.was == "unknown":
            raise
        return found
    if run is None:
        return await orders.cancel(queue, run_id)
    if run.is_final and not run.is_cancel:
        found = await orders.cancel(queue, run_id)
        return Cancelled("ended", run.status) if found.was == "unknown" else found
    try:
        found = await _in_redis(queue, run)
    except (RedisAway, inspect.Refused):
        if not run.is_cancel:
            raise
        return Cancelled("waiting")
    # Should this fail: the relay, or the result, does the same.
    with suppress(RecordsAway):
        await asyncio.to_thread(_note, store, run, found)
    return found


async def _in_redis(queue: Queue, run: "PluginRun") -> Cancelled:
    found = await orders.cancel(queue, run.plugin_run_id, is_asked_for=True)
    if found.was == "ended" and run.is_cancel:
        # Where a relay was faster, it ended by this very cancel.
        facts = await inspect.record(queue, run.plugin_run_id)
        if facts.get("cause") == CANCELLED:
            return Cancelled("waiting")
    return found


def _note(store: "RunStore", run: "PluginRun", found: Cancelled) -> None:
    """Let the record say what Redis says, before anybody has taken in the result."""
    if run.is_cancel:
        store.mark_cancelled(run.plugin_run_id)
    elif found.was not in ("running", "ended", "unknown"):
        # It has ended by this. Who asks for the same at once shall not be sent to it.
        store.fail(run.plugin_run_id, CANCELLED)
