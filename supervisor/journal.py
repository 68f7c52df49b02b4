"""Writes down what happens to runs: log, metrics and run records, with the same words.

Called by the ledger and the loop. It decides nothing.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from supervisor.inhand import InHand
from supervisor.log import MOST_CHARACTERS, Log
from supervisor.observe.metrics import Metrics
from supervisor.pool.handle import Handle
from supervisor.pool.pool import Death
from supervisor.pool.recycling import REASONS
from supervisor.pool.remains import Remains
from supervisor.receipts import Receipt
from supervisor.streams.endings import Bury, Drop, Ending, Finish, HandBack
from supervisor.streams.facts import PluginChanged
from supervisor.streams.queue import Passed
from supervisor.streams.records import Records
from supervisor.verdicts import LEAVING
from worker.protocol import Outcome, Progress
from worker.redact import redact

LOST = "lost"
# Passing over these is daily business.
QUIET = ("parked", "resumed", "due", "probing")


class Journal:
    """One method for each thing that can happen to a run or a worker."""

    def __init__(self, log: Log, metrics: Metrics, records: Records, host: str) -> None:
        self.handed_back_at_end = 0
        self._log = log
        self._metrics = metrics
        self._records = records
        self._host = host
        self._environment_secrets: Callable[[], tuple[str, ...]] = tuple

    def hide(self, secrets: Callable[[], tuple[str, ...]]) -> None:
        """Keep the values that this returns out of crews' log lines."""
        self._environment_secrets = secrets

    def started(self, held: InHand, slot: int) -> None:
        """Note that a worker has the run."""
        entry, request = held.entry, held.request
        plugin = request.plugin if request else ""
        # One that exists in the folder, or it would not have been started.
        self._metrics.know({plugin: None})
        waited_s = time.time() - entry.published_at if entry.published_at else None
        self._metrics.run_started(waited_s)
        consumer = held.taken.lease.consumer
        self._records.note(
            held.run_id,
            state="running",
            plugin=plugin,
            attempt=entry.attempt,
            host=self._host,
            slot=slot,
            worker=consumer,
            entry_id=entry.id,
            timeout_s=held.timeout_s,
            code=held.code,
            started_at=f"{time.time():.3f}",
        )
        self._log.info(
            "run_started",
            run=held.run_id,
            plugin=plugin,
            slot=slot,
            attempt=entry.attempt,
            timeout_s=held.timeout_s,
            code=held.code or None,
        )

    def progressed(self, held: InHand, progress: Progress) -> None:
        """Note where a run is."""
        tokens = progress.tokens
        self._records.note(
            held.run_id,
            task=progress.task,
            tasks=progress.tasks,
            task_name=progress.task_name,
            agent=progress.agent,
            tool=progress.tool,
            call=progress.call,
            code=held.code,
            llm_calls=tokens.calls,
            tokens=tokens.prompt + tokens.completion,
            updated_at=f"{time.time():.3f}",
        )

    def ended(self, held: InHand, outcome: Outcome) -> None:
        """Note that a crew came to its end by itself."""
        plugin = held.request.plugin if held.request else ""
        status = "completed" if outcome.ended == "completed" else "failed"
        self._count(plugin, status, outcome.ended, outcome)
        write = self._log.info if status == "completed" else self._log.warning
        write(
            f"run_{status}",
            run=held.run_id,
            plugin=plugin,
            attempt=held.entry.attempt,
            duration_s=outcome.duration_s,
            llm_calls=outcome.tokens.calls,
            tokens=outcome.tokens.prompt + outcome.tokens.completion,
            error=outcome.error or None,
        )
        if outcome.stack:
            self._log.warning("run_stack", run=held.run_id, stack=outcome.stack[-1900:])

    def run_died(self, held: InHand, cause: str, death: Death, duration_s: float) -> None:
        """Note that a run ended with its worker."""
        plugin = held.request.plugin if held.request else ""
        progress = death.handle.run.progress if death.handle.run else None
        self._metrics.run_ended(plugin, "failed", cause, duration_s)
        if progress:
            tokens = progress.tokens
            self._metrics.tokens_used(plugin, tokens.prompt, tokens.completion, tokens.calls)
        self._log.warning(
            "run_died",
            run=held.run_id,
            plugin=plugin,
            attempt=held.entry.attempt,
            cause=cause,
            how=death.corpse.how(),
            duration_s=duration_s,
            was=_was_doing(progress),
        )
        if held.post_mortem:
            told = held.post_mortem.facts()
            told["peers"] = ",".join(told.get("peers", ())) or None
            self._log.warning("run_post_mortem", run=held.run_id, plugin=plugin, **told)

    def reckoned(self, held: InHand, receipt: Receipt) -> None:
        """Note what an attempt used."""
        plugin = held.request.plugin if held.request else ""
        cpu_s = {"user": receipt.cpu_user_s, "system": receipt.cpu_system_s}
        self._metrics.resources_used(plugin, cpu_s, receipt.max_rss_bytes)
        self._records.note(held.run_id, **receipt.fields)

    def left_behind(self, held: InHand, slot: int, left: Remains) -> None:
        """Note what a run left in its worker."""
        plugin = held.request.plugin if held.request else ""
        self._metrics.left_behind(plugin, left.counts, left.rss_bytes)
        if not any(left.counts.values()):
            return
        self._log.warning(
            "crew_left",
            run=held.run_id,
            plugin=plugin,
            slot=slot,
            threads=", ".join(left.threads) or None,
            children=", ".join(left.children) or None,
            open=", ".join(left.open) or None,
        )

    def attempt_ended(self, held: InHand, slot: int, ending: Ending) -> None:
        """Keep how this attempt ended in the record of the run, beside the others."""
        if isinstance(ending, Drop):
            return
        error = ending.because if isinstance(ending, HandBack) else ""
        if isinstance(ending, Finish | Bury) and ending.result:
            error = ending.result.error
        facts: dict[str, Any] = {
            "cause": ending.cause or "completed",
            "error": error[:MOST_CHARACTERS],
            "host": self._host,
            "slot": slot,
            "code": held.code,
            "started_at": round(held.started_at, 3),
            "ended_at": round(time.time(), 3),
        }
        if held.post_mortem:
            facts["post_mortem"] = held.post_mortem.facts()
        if held.receipt:
            facts["receipt"] = held.receipt.facts
        self._records.note(held.run_id, **{f"attempt_{held.entry.attempt}": json.dumps(facts)})

    def passed(self, passed: Passed) -> None:
        """Note what happened to a run that could not be taken, or went on."""
        kind, run, plugin = passed.kind, passed.run_id, passed.plugin
        self._metrics.passed(kind, int(passed.detail) if kind == "lost" else 1)
        if kind == "lost":
            self._log.error(
                "entries_lost",
                stream=plugin,
                count=int(passed.detail),
                hint="cut off before anybody took them: MAXLEN by a producer?",
            )
            return
        write = self._log.info if kind in QUIET else self._log.warning
        write(f"run_{kind}", run=run, plugin=plugin or None, detail=passed.detail or None)

    def plugin_changed(self, changed: PluginChanged) -> None:
        """Note that a plugin was paused, quarantined, probed or let go on."""
        write = self._log.info if changed.state == "running" else self._log.warning
        write("plugin_state", plugin=changed.plugin, state=changed.state, was=changed.was)

    def settled(self, held: InHand, ending: Ending, how: str) -> None:
        """Note what Redis made of an ending."""
        facts = {"run": held.run_id or ending.run_id or None, "entry": held.entry.id}
        if how == LOST:
            self._metrics.late_outcome()
            self._log.warning("late_outcome_dropped", **facts)
        elif isinstance(ending, HandBack):
            self.handed_back_at_end += int(ending.because == LEAVING)
            self._metrics.handed_back(ending.because.split(":")[0])
            self._log.warning("run_handed_back", **facts, because=ending.because, how=how)
        elif isinstance(ending, Bury):
            letter = ending.letter.facts
            self._metrics.buried(letter["reason"])
            self._log.warning(
                "run_buried", **facts, reason=letter["reason"], error=letter["last_error"], how=how
            )
        elif isinstance(ending, Finish) and how == "duplicate":
            self._log.warning("second_result_refused", **facts)

    def buried(self, reason: str) -> None:
        """Count a dead letter of a run that was reclaimed; the keeper has logged it."""
        self._metrics.buried(reason)

    def lease_lost(self, held: InHand) -> None:
        """Note that somebody else owns the run now."""
        self._metrics.lease_lost()
        self._log.warning("lease_lost", run=held.run_id, entry=held.entry.id)

    def trimmed(self, ids: tuple[str, ...]) -> None:
        """Note that somebody cut pending entries off a stream."""
        self._metrics.trimmed(len(ids))
        self._log.error(
            "entries_trimmed", count=len(ids), first=ids[0], hint="MAXLEN by a producer?"
        )

    def worker_died(self, death: Death) -> None:
        """Note the end of a worker."""
        handle, corpse = death.handle, death.corpse
        self._metrics.worker_died(handle.doomed_because or corpse.how())
        if handle.doomed_because in ("stopping", "retired"):
            return
        facts = {
            "slot": handle.slot,
            "pid": handle.pid,
            "how": corpse.how(),
            "because": handle.doomed_because or None,
            "runs": handle.runs_done,
            "cpu_s": corpse.cpu_s,
            "max_rss_mb": corpse.max_rss_bytes // 2**20,
        }
        if handle.doomed_because in REASONS:
            self._metrics.recycled(handle.doomed_because)
            self._log.info("worker_recycled", **facts)
        else:
            self._log.info("worker_died", **facts)

    def worker_killed(self, handle: Handle, because: str) -> None:
        """Note a kill."""
        self._metrics.worker_killed(because)
        if because != "retired":
            run = handle.run.run_id if handle.run else None
            self._log.warning(
                "worker_killed", slot=handle.slot, pid=handle.pid, because=because, run=run
            )

    def crew_said(self, handle: Handle, held: InHand | None, line: str) -> None:
        """Pass on one line of a crew's stdout or stderr, without credentials."""
        secrets = (held.secrets if held else ()) + self._environment_secrets()
        if dropped := handle.lines.take_dropped():
            self._log.warning("crew_lines_dropped", slot=handle.slot, lines=dropped)
        run = held.run_id if held else None
        self._log.info(
            "crew_said", slot=handle.slot, run=run, line=redact(line, secrets)[:MOST_CHARACTERS]
        )

    def _count(self, plugin: str, status: str, cause: str, outcome: Outcome) -> None:
        self._metrics.run_ended(plugin, status, cause, outcome.duration_s)
        tokens = outcome.tokens
        self._metrics.tokens_used(plugin, tokens.prompt, tokens.completion, tokens.calls)


def _was_doing(progress: Progress | None) -> str | None:
    if progress is None or not progress.tasks:
        return None
    doing = f"task {progress.task}/{progress.tasks}, agent {progress.agent}"
    doing += f", tool {progress.tool}" if progress.tool else ""
    return f"{doing}, call of {progress.call}" if progress.call else doing
