"""The metrics of the gateway. Labels are names of our own: no run, no path, no token."""

from collections.abc import Callable, Iterable

from supervisor.observe.registry import Registry

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
# Beside the kinds of problems: there was no room for a connection, and nobody took an answer.
MORE_REASONS = ("no_room", "not_taken")
CLASSES = ("2xx", "4xx", "5xx")


class GatewayMetrics(Registry):
    """What was asked, and what became of it. `operations` and `reasons` are the labels."""

    def __init__(self, operations: Iterable[str] = (), reasons: Iterable[str] = ()) -> None:
        super().__init__()
        self._requests = self._counter(
            "gateway_requests", "Requests that were answered", "operation", "status"
        )
        self._seconds = self._histogram(
            "gateway_request_seconds", "Until an answer was taken", "operation", buckets=SECONDS
        )
        self._refused = self._counter("gateway_refused", "What was not carried out", "reason")
        self._streams = self._gauge("gateway_event_streams", "Clients that follow runs")
        self._connections = self._gauge("gateway_connections", "Connections that are open")
        self._held = self._gauge(
            "gateway_held_bytes", "Large answers that clients have yet to take"
        )
        # From 0 on, since increase() does not see the first step of a series.
        for operation in operations:
            for status in CLASSES:
                self._requests.labels(operation, status)
        for reason in (*reasons, *MORE_REASONS):
            self._refused.labels(reason)

    def answered(self, operation: str, status: int, seconds: float | None) -> None:
        """Count an answer. No seconds for a stream: that goes on for as long as its run."""
        self._requests.labels(operation, f"{status // 100}xx").inc()
        if seconds is not None:
            self._seconds.labels(operation).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count what was not carried out."""
        self._refused.labels(reason).inc()

    def show(
        self,
        streams: Callable[[], int],
        connections: Callable[[], int],
        held_bytes: Callable[[], int],
    ) -> None:
        """Name who knows what there is at the moment."""
        self._streams.set_function(streams)
        self._connections.set_function(connections)
        self._held.set_function(held_bytes)
