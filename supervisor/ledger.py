"""Every run that this supervisor has in hand, by slot, and what becomes of it.

Between the pool (workers) and the broker (Redis): facts of both come in here, verdicts are
fetched, and exactly one ending goes out for each entry. Neither of them is waited for.
"""

import time

from supervisor import verdicts
from supervisor.errors import SecretUnreadable
from supervisor.inhand import InHand, Stage
from supervisor.journal import Journal
from supervisor.judging import Judge, duration_of
from supervisor.limits import limits_text
from supervisor.pool.deadlines import Deadline
from supervisor.pool.environment import Environment, fits
from supervisor.pool.handle import Handle, Running
from supervisor.pool.pool import Death
from supervisor.receipts import receipt_of
from supervisor.settings import Settings
from supervisor.streams.broker import Broker
from supervisor.streams.endings import Drop, Ending, cancelled
from supervisor.streams.facts import (
    Buried,
    EntriesTrimmed,
    LeaseLost,
    NothingTaken,
    PluginChanged,
    Settled,
    Taken,
)
from supervisor.streams.queue import Passed
from supervisor.streams.wire import Rejected, Request, parse
from worker.errors import CrewpoolError, PluginNotFound
from worker.plugins import Catalogue
from worker.protocol import Assignment, Outcome, Progress


class Ledger:
    """The runs in hand: at most one a slot, from Taken to Settled."""

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        judge: Judge,
        environment: Environment,
        settings: Settings,
    ) -> None:
        self.in_hand: dict[int, InHand] = {}
        self._wanted: set[int] = set()
        self._broker = broker
        self._journal = journal
        self._judge = judge
        self._environment = environment
        self._settings = settings

    @property
    def catalogue(self) -> Catalogue:
        """The plugins that can be run here."""
        return self._judge.catalogue

    @catalogue.setter
    def catalogue(self, catalogue: Catalogue) -> None:
        self._judge.catalogue = catalogue
        self._broker.plugin_limits = limits_text(catalogue)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in hand, and nothing can come any more."""
        return not self.in_hand and not self._wanted

    def want(self, slot: int) -> None:
        """Ask for a run for an idle slot, unless it has or awaits one."""
        if slot not in self.in_hand and slot not in self._wanted:
            self._wanted.add(slot)
            self._broker.want(slot)

    def stop_wanting(self, from_slot: int = 0, because: str = verdicts.LEAVING) -> None:
        """Take nothing any more for slots from this one on, and give back what waits there.

        What is on its way to them comes as a Taken, and is handed back then.
        """
        self.take_no_more(from_slot)
        for slot, held in self.in_hand.items():
            if slot >= from_slot and held.stage is Stage.WAITING:
                self._settle(slot, verdicts.of_drained(held.entry, held.run_id, because))

    def abandon(self, slot: int) -> None:
        """Take nothing for a slot that has no worker, and give back what waits there for one."""
        self._wanted -= set(self._broker.unwant([slot] if slot in self._wanted else []))
        held = self.in_hand.get(slot)
        if held is not None and held.stage is Stage.WAITING:
            self.give_back(slot, verdicts.NO_WORKER, 0.0)

    def take_no_more(self, from_slot: int = 0) -> None:
        """Take nothing for slots from this one on that is not on its way, until want() again."""
        self._wanted -= set(self._broker.unwant([s for s in self._wanted if s >= from_slot]))

    def give_back(self, slot: int, because: str, delay_s: float) -> None:
        """Give back a run that waits here, for anybody to take after `delay_s`."""
        held = self.in_hand[slot]
        self._settle(slot, verdicts.of_drained(held.entry, held.run_id, because, delay_s))

    def take_facts(self, size: int, because: str = verdicts.LEAVING) -> list[int]:
        """Take in what the broker says; return the slots whose lease was lost.

        `size` is the number of slots that may still begin runs; what comes for others is
        handed back, `because` of this.
        """
        lost = []
        for fact in self._broker.facts():
            if isinstance(fact, Taken):
                self._note_taken(fact, "" if fact.slot < size else because)
            elif isinstance(fact, Settled):
                held = self.in_hand.pop(fact.slot)
                self._journal.settled(held, fact.ending, fact.how)
            elif isinstance(fact, NothingTaken):
                self._wanted.discard(fact.slot)
            elif isinstance(fact, LeaseLost):
                lost += self._note_lease_lost(fact)
            elif isinstance(fact, EntriesTrimmed):
                self._journal.trimmed(fact.ids)
            elif isinstance(fact, Passed):
                self._journal.passed(fact)
            elif isinstance(fact, Buried):
                self._journal.buried(fact.reason)
            elif isinstance(fact, PluginChanged):
                self._journal.plugin_changed(fact)
        return lost

    def suits(self, handle: Handle) -> bool:
        """Whether what waits for a worker, if anything does, may share a process with what it
        has run before.
        """
        held = self.in_hand.get(handle.slot)
        if held is None or held.stage is not Stage.WAITING or held.request is None:
            return True
        plugin = held.request.plugin
        is_private = bool(self._private_names(plugin))
        return fits(handle.ran, plugin, has_secrets=handle.has_secrets, is_private=is_private)

    def assignment_for(self, handle: Handle, now: float) -> tuple[Assignment, Deadline] | None:
        """Return what an idle worker is to run, and until when; None when nothing waits."""
        held = self.in_hand.get(handle.slot)
        if held is None or held.stage is not Stage.WAITING or held.request is None:
            return None
        held.stage = Stage.RUNNING
        held.started_at = time.time()
        request = held.request
        held.code = handle.code.get(request.plugin, "")
        self._journal.started(held, handle.slot)
        try:
            env = self._environment.of_plugin(self._private_names(request.plugin))
        except SecretUnreadable as error:
            # Without it the crew would fail in words of its own, or do something else.
            outcome = Outcome(run_id=request.run_id, ended="exception", error=str(error))
            self.note_outcome(handle, outcome)
            return None
        held.hide(env)
        run = Assignment(
            run_id=request.run_id,
            plugin=request.plugin,
            attempt=held.entry.attempt,
            user_id=request.user_id,
            settings=dict(request.settings),
            env=env,
        )
        return run, Deadline(now + held.timeout_s, held.timeout_s, held.grace_s)

    def _private_names(self, plugin: str) -> tuple[str, ...]:
        found = self.catalogue.plugins.get(plugin)
        return found.manifest.env if found else ()

    def note_progress(self, slot: int, progress: Progress) -> None:
        """Pass on where a run is."""
        held = self.in_hand[slot]
        held.code = progress.code or held.code
        self._journal.progressed(held, progress)

    def note_outcome(self, handle: Handle, outcome: Outcome) -> None:
        """End a run as its worker reported it."""
        held = self.in_hand[handle.slot]
        if held.stage is not Stage.RUNNING or held.request is None:
            return
        held.code = outcome.code or held.code
        self._journal.ended(held, outcome)
        if handle.run is not None:
            self._reckon(held, handle.slot, handle.run)
        self._settle(handle.slot, self._judge.of_outcome(held, outcome))

    def note_death(self, death: Death) -> None:
        """End or hand back the run of a worker that died."""
        handle, run = death.handle, death.handle.run
        held = self.in_hand.get(handle.slot)
        if run is None or held is None or held.stage is not Stage.RUNNING or held.request is None:
            return
        if run.outcome is not None:
            # Its last words were in the socket: it died after the work was done.
            self.note_outcome(handle, run.outcome)
            return
        held.code = run.progress.code or held.code
        cause = self._judge.cause_of(death)
        self._judge.examine(held, run)
        self._journal.run_died(held, cause, death, duration_of(death))
        self._reckon(held, handle.slot, run)
        self._settle(handle.slot, self._judge.of_death(held, death, cause))

    def cancel(self, run_id: str) -> int | None:
        """End a run that somebody cancelled; return the slot whose worker must die for it."""
        for slot, held in self.in_hand.items():
            if held.run_id == run_id and held.stage is Stage.WAITING:
                self._settle(slot, cancelled(run_id))
            elif held.run_id == run_id and held.stage is Stage.RUNNING:
                return slot
        return None

    def _note_taken(self, taken: Taken, unwanted_because: str) -> None:
        self._wanted.discard(taken.slot)
        request = parse(taken.entry, self._settings.max_payload_bytes)
        if isinstance(request, Request):
            request = self._known(request)
        if isinstance(request, Rejected):
            self.in_hand[taken.slot] = InHand(taken, None, 0.0, Stage.SETTLING)
            self._settle(taken.slot, self._judge.of_rejected(self.in_hand[taken.slot], request))
            return
        manifest = self.catalogue.find(request.plugin).manifest
        timeout_s = manifest.timeout_s or self._settings.crew_timeout_s
        held = InHand.of(taken, request, timeout_s)
        held.grace_s = manifest.grace_s
        self.in_hand[taken.slot] = held
        if unwanted_because:
            self._settle(
                taken.slot, verdicts.of_drained(taken.entry, request.run_id, unwanted_because)
            )

    def _known(self, request: Request) -> Request | Rejected:
        known = len(self.catalogue.plugins)
        try:
            self.catalogue.find(request.plugin)
            if len(self.catalogue.plugins) > known:
                self.catalogue = self.catalogue  # one more plugin, with limits perhaps
        except CrewpoolError as error:
            reason = "unknown_plugin" if isinstance(error, PluginNotFound) else "broken_plugin"
            return Rejected(reason, str(error), request.run_id)
        return request

    def _note_lease_lost(self, fact: LeaseLost) -> list[int]:
        held = self.in_hand.get(fact.slot)
        if held is None or held.taken.lease.id != fact.lease.id:
            return []
        self._journal.lease_lost(held)
        if held.stage is Stage.WAITING:
            self._settle(fact.slot, Drop(held.run_id))
        return [fact.slot] if held.stage is Stage.RUNNING else []

    def _reckon(self, held: InHand, slot: int, run: Running) -> None:
        held.receipt = receipt_of(held.entry, run, held.started_at, time.monotonic())
        self._journal.reckoned(held, held.receipt)
        if run.left is not None:
            self._journal.left_behind(held, slot, run.left)

    def _settle(self, slot: int, ending: Ending) -> None:
        held = self.in_hand[slot]
        if held.stage is Stage.RUNNING:
            self._journal.attempt_ended(held, slot, ending)
        held.stage = Stage.SETTLING
        self._broker.settle(slot, ending)
