"""Publishes what waits in the outbox, in order, when Redis takes it again.

Run by dispatchers and by `crewpool results consume`, each in a thread; a lease lets one of them
work at a time. Published twice a run is still one: publish.lua knows its id. So a relay may die
between any two steps, and another one does the rest.
"""

import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.runs.errors import OutboxKeyUnfit, RecordsAway, RecordsOutdated
from supervisor.runs.outbox import request_of
from supervisor.runs.publisher import AddressInvalid, PublishFailed
from supervisor.runs.requests import PluginRequest, RequestInvalid
from supervisor.streams.orders import Cancelled
from supervisor.streams.publish import Published
from worker.errors import CrewpoolError

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun
    from supervisor.runs.sealing import Sealer
    from supervisor.runs.store import RunStore

LEASE = "outbox"
LEASE_S = 10.0
PAGE = 50
# So many in a row are no coincidence.
MOST_REFUSED = 10
# Younger runs are being published by the dispatcher that recorded them.
GRACE_S = 5.0
POLL_S = 1.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


class Places(Protocol):
    """What is needed of a publisher; supervisor/runs/publisher.py has one."""

    def place(self, request: PluginRequest) -> Published:
        """Publish a run."""

    def cancel(self, run_id: str) -> Cancelled:
        """Cancel a run, published or not."""

    def close(self) -> None:
        """Close the connections."""


@dataclass
class Round:
    """What one look at the outbox came to. `trouble` ended it early; "" without.

    `refused` are runs that would not go, with the reason: a reason of their own if the next one
    goes, else one that concerns all. `skipped` are those that others may publish, `because` is
    the reason of one of them, `denied` how many in a row we lacked the right for.
    """

    published: int = 0
    cancelled: int = 0
    failed: int = 0
    skipped: int = 0
    denied: int = 0
    because: str = ""
    trouble: str = ""
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def has_moved(self) -> bool:
        """Whether it left fewer runs in the outbox than it found."""
        return bool(self.published or self.cancelled or self.failed)


class Relay:
    """Relays the outbox of one store. `grace_s` is how long dispatchers have for a first try.

    `came_round_at` is when the last look at it ended, by the monotonic clock.
    """

    def __init__(
        self,
        store: "RunStore",
        publisher: Places,
        sealer: "Sealer | None" = None,
        grace_s: float = GRACE_S,
        log: Log | None = None,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._grace_s = grace_s
        self._log = log or Log("crewpool.outbox")
        self._told = ""
        self.came_round_at = time.monotonic()

    def run_for_ever(self, stop: threading.Event) -> None:
        """Relay until told to stop; nothing that goes wrong ends it."""
        pause_s = POLL_S
        while not stop.wait(pause_s):
            try:
                done = self.relay_once()
            except (RecordsAway, RecordsOutdated) as error:
                done = Round(trouble=str(error))
            except Exception as error:  # noqa: BLE001  # a bug of ours: the next round may do
                done = Round(trouble=f"{type(error).__name__}: {error}")
            self.came_round_at = time.monotonic()
            self._tell(done)
            is_stuck = bool(done.trouble or done.skipped) and not done.has_moved
            if is_stuck:
                pause_s = min(max(pause_s, FIRST_PAUSE_S / 2) * 2, LONGEST_PAUSE_S)
            else:
                pause_s = 0.0 if done.has_moved else POLL_S

    def relay_once(self) -> Round:
        """Publish what waits, as far as Redis takes it; nothing while another relay does.

        Raises RecordsAway and RecordsOutdated.
        """
        done = Round()
        runs = self._store.unpublished(PAGE, self._grace_s)
        if not runs:
            return done
        owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        if not self._store.leases.take(LEASE, owner, LEASE_S):
            return done
        try:
            while runs and not done.trouble:
                self._relay_page(runs, done)
                if not self._store.leases.take(LEASE, owner, LEASE_S):
                    break
                runs = self._store.unpublished(PAGE, self._grace_s, after=runs[-1].id)
        finally:
            self._store.leases.release(LEASE, owner)
        done.trouble = done.trouble or next(iter(done.refused.values()), "")
        return done

    def _relay_page(self, runs: "Sequence[PluginRun]", done: Round) -> None:
        published: list[str] = []
        try:
            for run in runs:
                if run.is_cancel:
                    self._cancel(run.plugin_run_id, done)
                elif self._place(run, done):
                    published.append(run.plugin_run_id)
                    self._give_up_refused(done)
                if done.trouble:
                    return
        finally:
            # One write for all of them. Dying before it costs nothing but to ask Redis again.
            if published:
                done.published += len(published)
                for run_id in self._store.mark_published(published):
                    self._cancel(run_id, done)

    def _place(self, run: "PluginRun", done: Round) -> bool:
        """Publish one run; whether Redis has it now. `done` says what else became of it."""
        run_id = run.plugin_run_id
        try:
            self._publisher.place(request_of(run, self._sealer))
        except OutboxKeyUnfit as error:
            self._skip(run, error, done)
        except RequestInvalid as error:
            self._fail(run_id, str(error), done)
        except Exception as error:  # noqa: BLE001  # one broken record must not stop all others
            told = _told(error)
            if getattr(error, "is_permission", False):
                self._skip(run, error, done)
                done.denied += 1
                if done.denied == MOST_REFUSED:
                    done.trouble = told
                return False
            self._store.note_failure(run_id, told)
            is_passing = getattr(error, "is_retryable", False) or isinstance(error, AddressInvalid)
            if not is_passing:
                done.refused[run_id] = told
            if is_passing or len(done.refused) == MOST_REFUSED:
                # It would be the same with all that follow; they stay, in order.
                done.trouble = told
        else:
            done.denied = 0
            return True
        return False

    def _skip(self, run: "PluginRun", error: Exception, done: Round) -> None:
        """Leave a run to another relay, which may have the key or the right."""
        told, next_step = _told(error), getattr(error, "next_step", None)
        if run.last_publish_error != told:
            self._store.note_skipped(run.plugin_run_id, told)
        done.skipped += 1
        done.because = f"{told} (next: {next_step})" if next_step else told

    def _cancel(self, run_id: str, done: Round) -> None:
        """Let Redis hear of a cancel: of a run that never came there, or came there meanwhile."""
        try:
            self._publisher.cancel(run_id)
        except Exception as error:  # noqa: BLE001  # one that is refused must not stop all others
            told = _told(error)
            if isinstance(error, RedisAway) or getattr(error, "is_passing", False):
                done.trouble = told
            # Another relay may have the right.
            done.skipped, done.because = done.skipped + 1, told
        else:
            self._store.mark_cancelled(run_id)
            done.cancelled += 1

    def _give_up_refused(self, done: Round) -> None:
        """Give up what would not go, when another one did.

        A wrong password, say, is refused to all of them: what was accepted is not given up for
        what can be mended.
        """
        for run_id, error in done.refused.items():
            self._fail(run_id, error, done)
        done.refused.clear()

    def _fail(self, run_id: str, error: str, done: Round) -> None:
        if self._store.fail(run_id, error):
            self._log.warning("outbox_run_failed", run=run_id, error=error)
            done.failed += 1

    def _tell(self, done: Round) -> None:
        """Tell the beginning and the end of a trouble, and nothing in between."""
        if done.published:
            self._log.info("outbox_relayed", runs=done.published)
        told = "trouble" if done.trouble else "skipped" if done.skipped else ""
        if told and told != self._told:
            skipped = f"{done.skipped} runs wait for another relay: {done.because}"
            self._log.warning("outbox_waits", error=done.trouble or skipped)
        self._told = told


def _told(error: Exception) -> str:
    if isinstance(error, PublishFailed) and error.is_retryable:
        return error.because
    return str(error) if isinstance(error, CrewpoolError) else repr(error)[:300]
