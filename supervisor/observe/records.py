"""All metrics of `crewpool results consume`: results taken in, the outbox, schedules.

Label values come from our own lists (trap E2): what stands in a bad result names no series.
"""

from supervisor.observe.registry import Registry

OUTCOMES = ("applied", "duplicate", "unknown", "not_handled")
UNKNOWN_RUN, INVALID = "unknown_run", "invalid"
# Of results that wait for nothing: a consumer reads at once, and writes in a few milliseconds.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class RecordsMetrics(Registry):
    """One method for each thing that can happen."""

    def __init__(self) -> None:
        super().__init__()
        self._results = self._counter(
            "records_results", "Results by what became of them", "outcome"
        )
        self._letters = self._counter("records_dead_letters", "Results set aside", "reason")
        self._seconds = self._histogram(
            "records_result_seconds", "From a result in Redis to its record", buckets=SECONDS
        )
        self._outbox = self._gauge("records_outbox_runs", "Runs that wait to be published")
        self._oldest = self._gauge("records_outbox_oldest_seconds", "Wait of the oldest of them")
        self._fired = self._counter(
            "records_schedules_fired", "Times of schedules that became runs"
        )
        self._missed = self._counter("records_schedules_missed", "Times of schedules gone by")
        self._unfired = self._counter(
            "records_schedules_not_fired", "Schedules that could not fire"
        )
        self._redis = self._gauge("records_redis_up", "1 while results can be read")
        self._database = self._gauge("records_database_up", "1 while the records can be read")
        # increase() does not see the first step of a series that was not there.
        for outcome in OUTCOMES:
            self._results.labels(outcome)
        for reason in (UNKNOWN_RUN, INVALID):
            self._letters.labels(reason)

    def result_taken(self, outcome: str, waited_s: float | None = None) -> None:
        """Count a result, and note how long it had waited for its record."""
        self._results.labels(outcome).inc()
        if waited_s is not None:
            self._seconds.observe(max(waited_s, 0.0))

    def results_not_handled(self, results: int) -> None:
        """Count results whose records could not be written now; each is tried again."""
        self._results.labels("not_handled").inc(results)

    def set_aside(self, reason: str) -> None:
        """Count a dead letter."""
        self._letters.labels(reason if reason == UNKNOWN_RUN else INVALID).inc()

    def fired(self) -> None:
        """Count a time of a schedule that became a run."""
        self._fired.inc()

    def missed(self, times: int) -> None:
        """Count times of a schedule that went by while nobody fired."""
        self._missed.inc(times)

    def not_fired(self) -> None:
        """Count a schedule that is due and cannot fire; each look at it counts."""
        self._unfired.inc()

    def set_outbox(self, runs: int, oldest_s: float) -> None:
        """Show what waits to be published."""
        self._outbox.set(runs)
        self._oldest.set(oldest_s)

    def set_reachable(self, *, redis: bool, database: bool) -> None:
        """Show who answers."""
        self._redis.set(int(redis))
        self._database.set(int(database))
