"""Gathers what is known of a run that ended, and fetches the verdict on it.

Called by the ledger, which settles what comes out. The decisions themselves stand in
verdicts.py; this is where their facts come from: policies, the kernel's OOM counter, meta.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from supervisor import verdicts
from supervisor.inhand import InHand
from supervisor.pool.deadlines import TIMEOUT, timeout_text
from supervisor.pool.handle import Running
from supervisor.pool.oom import OomWatch
from supervisor.pool.overuse import MEMORY_HARD
from supervisor.pool.pool import Death
from supervisor.pool.postmortem import examine
from supervisor.retries import policy_for
from supervisor.settings import Settings
from supervisor.streams.endings import CANCELLED, Drop, Ending, cancelled
from supervisor.streams.wire import Entry, Rejected, Request, parse
from worker.plugins import Catalogue
from worker.policies import Cause, Retry
from worker.protocol import Outcome, Progress

# Why a worker was killed when it was not its run's fault.
STOPPING = "stopping"
LEASE_LOST = "lease_lost"


class Judge:
    """Judges runs by the policies of the plugins that are known now."""

    def __init__(self, settings: Settings) -> None:
        self.catalogue = Catalogue()
        self.environment_secrets: Callable[[], tuple[str, ...]] = tuple
        self._settings = settings
        self._oom = OomWatch()

    def of_rejected(self, held: InHand, rejected: Rejected) -> Ending:
        """Judge an entry that cannot become a run."""
        return verdicts.of_rejected(held.entry, rejected, self._context(held))

    def of_outcome(self, held: InHand, outcome: Outcome) -> Ending:
        """Judge what a worker reported."""
        meta = self._meta(held, outcome.duration_s, outcome)
        return verdicts.of_outcome(held.entry, outcome, meta, self._context(held))

    def cause_of(self, death: Death) -> str:
        """Return why a worker with a run died: for what we killed it, else `oom` or `crash`.

        To be asked once for each death: the kernel's counter explains each kill once.
        """
        because, run = death.handle.doomed_because, death.handle.run
        if because in ("", MEMORY_HARD) and run is not None and run.overuse:
            return "oom"
        return because or ("oom" if self._oom.explains(death.corpse) else "crash")

    def examine(self, held: InHand, run: Running) -> None:
        """Keep the last moments of a run whose worker we killed; for verdict, record and log."""
        held.post_mortem = examine(run, held.secrets + self.environment_secrets())

    def of_death(self, held: InHand, death: Death, cause: str) -> Ending:
        """Judge a run whose worker died, by cause_of() its death."""
        entry, run_id, context = held.entry, held.run_id, self._context(held)
        if cause == LEASE_LOST:
            return Drop(run_id)
        if cause == STOPPING:
            return verdicts.of_drained(entry, run_id)
        run = death.handle.run
        meta = self._meta(held, duration_of(death), run.progress if run else None)
        stack = held.post_mortem.stacks if held.post_mortem else ""
        if cause == TIMEOUT:
            end = verdicts.End(
                run_id, "timeout", timeout_text(held.timeout_s), stack=stack, meta=meta
            )
            return verdicts.of_failed(entry, end, context)
        if cause == CANCELLED:
            return cancelled(run_id, meta)
        if run is not None and run.overuse:
            end = verdicts.End(run_id, "oom", run.overuse, stack=stack, meta=meta)
            return verdicts.of_failed(entry, end, context)
        how = death.handle.doomed_because or death.corpse.how()
        kind: Cause = "oom" if cause == "oom" else "crash"
        return verdicts.of_crash(entry, verdicts.End(run_id, kind, "", how, meta=meta), context)

    def of_lapsed(self, entry: Entry) -> Ending:
        """Judge an entry of another supervisor whose lease lapsed; for the sweep."""
        request = parse(entry, self._settings.max_payload_bytes)
        plugin = request.plugin if isinstance(request, Request) else ""
        context = verdicts.Context(entry.owner, self._policy(plugin))
        return verdicts.of_lapsed(entry, request, context)

    def _context(self, held: InHand) -> verdicts.Context:
        plugin = held.request.plugin if held.request else ""
        return verdicts.Context(held.taken.lease.consumer, self._policy(plugin))

    def _policy(self, plugin: str) -> Callable[[Cause], Retry]:
        found = self.catalogue.plugins.get(plugin)
        return partial(policy_for, found.manifest if found else None, self._settings)

    def _meta(
        self, held: InHand, duration_s: float, said: Outcome | Progress | None
    ) -> dict[str, Any]:
        assert held.request is not None  # noqa: S101  # callers checked; tells the type checker
        facts: dict[str, Any] = {
            "worker": held.taken.lease.consumer,
            "duration_s": round(duration_s, 3),
        }
        if held.post_mortem:
            facts["post_mortem"] = held.post_mortem.facts()
        if held.receipt:
            facts["receipt"] = held.receipt.facts
        if held.code:
            facts["code"] = held.code
        if isinstance(said, Progress):
            facts["progress"] = {"task": said.task, "tasks": said.tasks, "agent": said.agent}
        return verdicts.meta_of(
            held.request, held.entry.attempt, facts, said.tokens if said else None
        )


def duration_of(death: Death) -> float:
    """Return for how long the run of a dead worker ran, in seconds."""
    run = death.handle.run
    return time.monotonic() - run.started_at if run else 0.0
