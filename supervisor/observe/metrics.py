"""All metrics of the supervisor, in one registry.

Workers have none: PROMETHEUS_MULTIPROC_DIR leaves a file per process that ever lived (trap
E1). Label values come from our own lists, never from a payload (E2).
"""

from collections.abc import Mapping

from supervisor.observe.registry import Registry
from supervisor.room import REASONS
from worker.policies import CAUSES

SIZES = tuple(n << 20 for n in (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192))
OTHER = "other"
# What take.lua and the sweep tell of runs on their way, and why entries are buried: counted
# from 0 on, since increase() does not see the first step of a series that was not there.
PASSED = ("parked", "resumed", "due", "probing", "cancelled", "duplicate", "lost", "gone")
BURIED = (
    *("not_json", "no_payload", "too_large", "unsupported_schema", "invalid_request"),
    *("invalid_plugin_name", "unknown_plugin", "broken_plugin", "invalid", "attempts_exhausted"),
    *(cause for cause in CAUSES if cause not in ("invalid", "cancelled")),
)


class Metrics(Registry):
    """One method for each thing that can happen. `plugins` are the names allowed as labels."""

    def __init__(self) -> None:
        super().__init__()
        self._plugins: set[str] = set()
        self._ended = self._counter("runs", "Runs that ended", "plugin", "status", "cause")
        self._seconds = self._histogram("run_seconds", "From start to end of a run", "plugin")
        self._waited = self._histogram("queue_wait_seconds", "From publish to start of a run")
        self._tokens = self._counter("tokens", "Tokens used by crews", "plugin", "kind")
        self._calls = self._counter("llm_calls", "LLM calls made by crews", "plugin")
        self._cpu = self._counter("cpu_seconds", "Processor time of runs", "plugin", "mode")
        self._rss = self._histogram("run_max_rss_bytes", "Peaks of memory", "plugin", buckets=SIZES)
        self._kills = self._counter("kills", "Workers killed", "because")
        self._deaths = self._counter("worker_deaths", "Workers gone", "how")
        self._recycled = self._counter("recycled", "Workers replaced that worked", "because")
        self._left = self._counter("left_behind", "Things crews left", "plugin", "kind")
        self._left_bytes = self._counter("left_behind_bytes", "Memory crews left", "plugin")
        self._back = self._counter("handed_back", "Runs put back on their stream", "cause")
        self._letters = self._counter("dead_letters", "Entries buried", "reason")
        self._lost = self._counter("leases_lost", "Leases that went to somebody else")
        self._late = self._counter("late_outcomes", "Outcomes dropped: no longer ours")
        self._trimmed = self._counter("entries_trimmed", "Pending entries cut off by others")
        self._passed = self._counter("passed_runs", "Runs parked, resumed, dropped, lost", "kind")
        self._delayed = self._gauge("delayed_runs", "Runs that wait for a time")
        self._parked = self._gauge("parked_runs", "Runs that wait for room", "plugin")
        self._paused = self._gauge("plugin_paused", "1 while no run may start", "plugin", "state")
        self._reclaimed = self._gauge("reclaimed_runs", "Lapsed runs taken over since the start")
        self._workers = self._gauge("workers", "Workers", "state")
        self._slots = self._gauge("slots_wanted", "Workers that there shall be")
        self._redis = self._gauge("redis_up", "1 while Redis answers")
        self._outages = self._gauge("redis_outages", "Outages of Redis since the start")
        self._zygotes = self._gauge("zygote_restarts", "Deaths of the zygote since the start")
        self._memory = self._gauge("memory_used_bytes", "Memory in use where ours is bounded")
        self._most_memory = self._gauge("memory_limit_bytes", "That bound; 0 when there is none")
        self._had = self._gauge("worker_memory_bytes", "Memory of a worker, shared too", "slot")
        self._closed = self._gauge("admission_closed", "1 while no run is taken", "because")
        self._stale = self._gauge("reload_failed", "1 while newer code of plugins cannot be used")
        self._unimported = self._gauge("plugin_import_failed", "1 as its import failed", "plugin")
        self._lag = self._gauge("queue_lag", "Entries not taken by anybody yet", "stream")
        self._pending = self._gauge("queue_pending", "Entries taken and not ended", "stream")
        for kind in PASSED:
            self._passed.labels(kind)
        for reason in BURIED:
            self._letters.labels(reason)

    def know(self, plugins: Mapping[str, object]) -> None:
        """Allow these plugins' names as labels."""
        self._plugins |= set(plugins)

    def run_ended(self, plugin: str, status: str, cause: str, seconds: float) -> None:
        """Count a run that ended here."""
        self._ended.labels(self._known(plugin), status, cause).inc()
        self._seconds.labels(self._known(plugin)).observe(seconds)

    def run_started(self, waited_s: float | None) -> None:
        """Note how long a run had waited."""
        if waited_s is not None:
            self._waited.observe(max(waited_s, 0.0))

    def tokens_used(self, plugin: str, prompt: int, completion: int, calls: int) -> None:
        """Count what a run used."""
        name = self._known(plugin)
        self._tokens.labels(name, "prompt").inc(prompt)
        self._tokens.labels(name, "completion").inc(completion)
        self._calls.labels(name).inc(calls)

    def resources_used(self, plugin: str, cpu_s: Mapping[str, float], max_rss_bytes: int) -> None:
        """Count the processor time of an attempt, by mode, and note its peak of memory."""
        for mode, seconds in cpu_s.items():
            self._cpu.labels(self._known(plugin), mode).inc(seconds)
        if max_rss_bytes:
            self._rss.labels(self._known(plugin)).observe(max_rss_bytes)

    def worker_killed(self, because: str) -> None:
        """Count a kill."""
        self._kills.labels(because).inc()

    def worker_died(self, how: str) -> None:
        """Count a death."""
        self._deaths.labels(how).inc()

    def recycled(self, because: str) -> None:
        """Count a worker that was replaced although it worked."""
        self._recycled.labels(because).inc()

    def left_behind(self, plugin: str, counts: Mapping[str, int], rss_bytes: int) -> None:
        """Count what a run left in its worker."""
        for kind, count in counts.items():
            self._left.labels(self._known(plugin), kind).inc(count)
        self._left_bytes.labels(self._known(plugin)).inc(rss_bytes)

    def handed_back(self, cause: str) -> None:
        """Count a run that was put back."""
        self._back.labels(cause).inc()

    def buried(self, reason: str) -> None:
        """Count a dead letter."""
        self._letters.labels(reason).inc()

    def lease_lost(self) -> None:
        """Count a lease that went to somebody else."""
        self._lost.inc()

    def late_outcome(self) -> None:
        """Count an outcome that came after the lease was lost."""
        self._late.inc()

    def trimmed(self, entries: int) -> None:
        """Count entries that others cut off."""
        self._trimmed.inc(entries)

    def passed(self, kind: str, runs: int) -> None:
        """Count runs that were not taken in their turn; `lost` are entries, of whatever runs."""
        self._passed.labels(kind).inc(runs)

    def set_waiting(
        self, delayed: int, parked: Mapping[str, int], plugins: Mapping[str, str]
    ) -> None:
        """Show what waits for a time or for room, and which plugins are held."""
        self._delayed.set(delayed)
        self._parked.clear()
        for plugin, count in parked.items():
            # Several may be unknown here: their counts add up.
            self._parked.labels(self._known(plugin)).inc(count)
        self._paused.clear()
        for plugin, state in plugins.items():
            self._paused.labels(self._known(plugin), state).set(1)

    def set_workers(self, wanted: int, by_state: Mapping[str, int]) -> None:
        """Show how many workers there shall be, and how many are in which state."""
        self._slots.set(wanted)
        for state, count in by_state.items():
            self._workers.labels(state).set(count)

    def set_memory(
        self, used_bytes: int, limit_bytes: int, closed: str, by_slot: Mapping[int, int]
    ) -> None:
        """Show how much memory there is, and whether runs wait for it."""
        self._memory.set(used_bytes)
        self._most_memory.set(limit_bytes)
        for because in REASONS:
            self._closed.labels(because).set(int(because == closed))
        self._had.clear()
        for slot, size_bytes in by_slot.items():
            self._had.labels(str(slot)).set(size_bytes)

    def set_queue(self, lag: Mapping[str, int], pending: Mapping[str, int]) -> None:
        """Show the backlog."""
        for stream, count in lag.items():
            self._lag.labels(stream).set(count)
        for stream, count in pending.items():
            self._pending.labels(stream).set(count)

    def set_totals(self, *, redis_up: bool, outages: int, zygotes: int, reclaimed: int) -> None:
        """Show the state of Redis and the zygote."""
        self._redis.set(int(redis_up))
        self._outages.set(outages)
        self._zygotes.set(zygotes)
        self._reclaimed.set(reclaimed)

    def set_reload_failed(self, *, failed: bool) -> None:
        """Show whether workers run older code than there is."""
        self._stale.set(int(failed))

    def set_imports_failed(self, plugins: Mapping[str, object]) -> None:
        """Show the plugins that the zygote could not import."""
        self._unimported.clear()
        for plugin in plugins:
            self._unimported.labels(self._known(plugin)).set(1)

    def _known(self, plugin: str) -> str:
        return plugin if plugin in self._plugins else OTHER
