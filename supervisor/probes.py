"""What the loop tells whoever asks: alive, ready, and all metrics.

Served by observe/http.py, and told to systemd by the watchdog. Nothing here changes anything.
"""

import time

from supervisor.pool.handle import State
from supervisor.pool.memory import rss_bytes
from supervisor.standing import Standing
from supervisor.watchdog import Vitals
from supervisor.wiring import Parts

LIVE_WITHIN_S = 60.0


class Probes:
    """The health of one supervisor; the loop says each time that it came round."""

    def __init__(self, parts: Parts, standing: Standing) -> None:
        self._parts = parts
        self._standing = standing
        self.came_round_at = parts.clock()

    def came_round(self) -> None:
        """Note that the loop made progress."""
        self.came_round_at = self._parts.clock()

    def stalled_because(self) -> str:
        """Return who has made no progress for a minute, "" when all have; for liveness.

        Also the tasks that take, deliver and keep leases: a loop that turns and takes nothing
        looks alive and is not (trap E4). An outage of Redis is no stall: they go on asking.
        """
        parts = self._parts
        stalls = {
            "the loop": parts.clock() - self.came_round_at,
            "the keeper of leases": time.monotonic() - parts.keeper.came_round_at,
            "the broker": parts.link.waiting_s,
        }
        who = max(stalls, key=lambda name: stalls[name])
        if stalls[who] <= LIVE_WITHIN_S:
            return ""
        return f"{who} has made no progress for {stalls[who]:.0f}s"

    def vitals(self) -> Vitals | None:
        """Return how we are, in short; None when we are not alive. For the watchdog."""
        if self.stalled_because():
            return None
        because, spawner = self.not_ready_because(), self._parts.pool.spawner
        handles = self._parts.pool.handles.values()
        busy = sum(handle.state is State.BUSY for handle in handles)
        lag = sum(self._parts.keeper.gauges.lag.values())
        load = f"{busy} of {len(handles)} busy, lag {lag}"
        return Vitals(
            is_ready=not because,
            is_reloading=spawner.is_ready and spawner.coming is not None,
            is_leaving=self._standing.phase.is_leaving,
            status=f"not ready: {because}; {load}" if because else f"running, {load}",
        )

    def not_ready_because(self) -> str:
        """Return why no run would be taken now, "" when one would; for readiness."""
        if because := self._standing.not_running_because():
            return because
        if not self._parts.link.is_up:
            return self._parts.link.cause
        if not any(h.state in (State.IDLE, State.BUSY) for h in self._parts.pool.handles.values()):
            return self._parts.pool.spawner.last_reason or "no worker has booted yet"
        return ""

    def exposition(self) -> bytes:
        """Return all metrics, with the gauges as they stand now."""
        parts = self._parts
        states = {state.value: 0 for state in State if state is not State.GONE}
        for handle in parts.pool.handles.values():
            states[handle.state.value] += 1
        parts.metrics.set_workers(self._standing.pool_size, states)
        gauges = parts.keeper.gauges
        parts.metrics.set_queue(gauges.lag, gauges.pending)
        parts.metrics.set_waiting(gauges.delayed, gauges.parked, gauges.plugins)
        memory = parts.admission.facts(parts.clock())
        workers = {h.slot: rss_bytes(h.pid) for h in parts.pool.handles.values() if h.pid}
        parts.metrics.set_memory(
            memory["used_bytes"], memory["limit_bytes"], memory["closed"], workers
        )
        parts.metrics.set_totals(
            redis_up=parts.link.is_up,
            outages=parts.link.outages,
            zygotes=parts.pool.answers.zygote_restarts,
            reclaimed=parts.keeper.reclaimed,
        )
        return parts.metrics.exposition()
