"""What the gateway tells operators: alive, ready, and all metrics. Served by observe/http.py, on a
port of its own: who may ask for runs has no part in it, and Prometheus needs no token.
"""

from supervisor.gateway.readiness import Readiness
from supervisor.observe.gateway import GatewayMetrics


class Vitals:
    """The health of one gateway."""

    def __init__(self, readiness: Readiness, metrics: GatewayMetrics) -> None:
        self._readiness = readiness
        self._metrics = metrics

    def stalled_because(self) -> str:
        """Return nothing: whoever can ask this has an answer from the loop that serves all."""
        return ""

    def not_ready_because(self) -> str:
        """Return why no run would be taken; "" when one would."""
        return self._readiness.because()

    def exposition(self) -> bytes:
        """Return all metrics as text."""
        return self._metrics.exposition()
