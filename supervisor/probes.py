"""What the loop tells whoever asks over HTTP: alive, ready, and all metrics.

Served by observe/http.py. Nothing here changes anything.
"""

from supervisor.pool.handle import State
from supervisor.standing import Standing
from supervisor.wiring import Parts


class Probes:
    """The health of one supervisor; the loop says each time that it came round."""

    def __init__(self, parts: Parts, standing: Standing) -> None:
        self._parts = parts
        self._standing = standing
        self.came_round_at = parts.clock()

    def came_round(self) -> None:
        """Note that the loop made progress."""
        self.came_round_at = self._parts.clock()

    def stalled_s(self) -> float:
        """Return how long ago the loop last came round; for liveness."""
        return self._parts.clock() - self.came_round_at

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
        parts.metrics.set_workers(states)
        gauges = parts.keeper.gauges
        parts.metrics.set_queue(gauges.lag, gauges.pending)
        parts.metrics.set_waiting(gauges.delayed, gauges.parked, gauges.plugins)
        parts.metrics.set_totals(
            redis_up=parts.link.is_up,
            outages=parts.link.outages,
            zygotes=parts.pool.answers.zygote_restarts,
            reclaimed=parts.keeper.reclaimed,
        )
        return parts.metrics.exposition()
