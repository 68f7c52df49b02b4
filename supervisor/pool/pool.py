"""Keeps N workers: orders the missing, reads the living, reaps the dead, ends the overdue.

The loop calls the verbs in its order; a descriptor that becomes readable only rings. Nothing
in this room knows Redis, and nothing in it blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.errors import WorkersCannotBoot
from supervisor.log import Log
from supervisor.pool.answers import Answers
from supervisor.pool.backoff import Restarts, is_hopeless
from supervisor.pool.handle import Handle, State
from supervisor.pool.kills import Kills
from supervisor.pool.overdue import BOOT_TIMEOUT, alarm_of, boot_fault, hold_back, verdict_on
from supervisor.pool.readers import Readers
from supervisor.pool.reaper import Corpse, reap
from supervisor.pool.reckoning import Reckoning
from supervisor.pool.recycling import LEAKS, Recycling
from supervisor.pool.roster import Roster
from supervisor.pool.spawner import Spawner, Zygote
from supervisor.pool.strays import Strays
from worker.protocol import Outcome, Progress, Ready


@dataclass(frozen=True)
class Report:
    """What one worker said about its run."""

    handle: Handle
    word: Progress | Outcome


@dataclass(frozen=True)
class Death:
    """A worker that is gone and reaped, with all that it left behind."""

    handle: Handle
    corpse: Corpse


class Pool:
    """All workers of one supervisor, by slot, and the zygote they come from."""

    def __init__(
        self,
        spawner: Spawner,
        readers: Readers,
        clock: Callable[[], float],
        boot_timeout_s: float,
        recycling: Recycling,
        log: Log,
    ) -> None:
        self._roster = Roster()
        self.handles = self._roster.handles  # those that get runs, by slot
        self.spawner = spawner
        self._kills = Kills(spawner)
        self._unclaimed: dict[int, Corpse] = {}
        self._restarts = Restarts()
        self.answers = Answers(spawner, readers, self._kills, self._restarts, self._unclaimed, log)
        self._strays = Strays(self._kills.tree, log)
        self._readers = readers
        self._clock, self._log = clock, log
        self._boot_timeout_s = boot_timeout_s
        self._recycling = recycling
        self._reckoning = Reckoning(spawner.cgroups)
        self._wanted = 0

    def read(self) -> list[Report]:
        """Read all that rang: the zygote first, whose answers give the workers their pids."""
        self.answers.read(self._roster)
        reports = []
        now = self._clock()
        for handle in self._readers.take():
            handle.read(now)
            if handle.eof_at is not None:
                self._readers.drop_socket(handle)
        for handle in self._roster:
            reports += self._take_inbox(handle)
        return reports

    def reap(self) -> list[Death]:
        """Collect the dead. What a dead worker had started is killed before we return."""
        deaths = []
        corpses = [*self._unclaimed.values(), *reap()]
        self._unclaimed.clear()
        for corpse in corpses:
            if (handle := self._roster.of_pid(corpse.pid)) is not None:
                deaths.append(self._bury(handle, corpse))
            elif (left := self._roster.leaving.pop(corpse.pid, None)) is not None:
                self.spawner.cgroups.release(left)
                deaths.append(Death(left, corpse))
            elif (zygote := self.answers.note_death(corpse, self._clock())) is not None:
                deaths += self._orphaned_orders(zygote)
            # An orphan of a crew, or a worker, and the zygote's answer is still on its way.
            elif None in self._roster.pids:
                self._unclaimed[corpse.pid] = corpse
        if corpses:
            # Where one orphan was, others may be; and who died has left some, perhaps.
            self._strays.suspect()
        zygotes = {zygote.pid for zygote in self.spawner.zygotes}
        self._strays.kill(self._roster.pids | zygotes | self._readers.companions, self._clock())
        return deaths

    def overdue(self, now: float) -> list[tuple[Handle, str]]:
        """Return who must go, and why."""
        for handle in (h for h in self._roster if h.is_overdue):
            self._readers.hear(handle)
        found = [(h, verdict_on(h, now, self._boot_timeout_s)) for h in self._roster]
        hold_back(self._roster, now)
        return [(handle, because) for handle, because in found if because]

    def hasten(self, handle: Handle, because: str) -> None:
        """Have overdue() name this busy worker shortly, as if its run's time were over.

        Its stacks are written first, within 25 ms. To be called again does no harm.
        """
        if handle.run is not None:
            handle.run.deadline = handle.run.deadline.brought_forward(self._clock(), because)

    def kill(self, *doomed: tuple[Handle, str]) -> None:
        """Doom workers, each for its reason, and kill their trees. They are reaped soon after."""
        for handle, because in doomed:
            handle.doom(because)
        # At the end nobody waits for a zygote to say whom it forked: it may hang.
        found = [h for h, why in doomed if h.pid or why == BOOT_TIMEOUT or not self._wanted]
        if found:
            self._kills.workers(found)
            self._strays.suspect()

    def can_take(self, handle: Handle) -> bool:
        """Whether a run for this worker would begin at once: it is idle, or about to be.

        Asking while it boots saves the round trip after a kill; but not while boots fail,
        when the run would wait here although others could start it.
        """
        if handle.state is State.BOOTING:
            return self.spawner.is_ready and not self._restarts.are_failing
        return handle.state is State.IDLE and handle.run is None

    def is_deserted(self, slot: int, now: float) -> bool:
        """Whether this slot has no worker, and is not to get one at once."""
        is_delayed = now < self._restarts.not_before(slot) or not self.spawner.is_ready
        return is_delayed and slot not in self.handles

    def resize(self, wanted: int, now: float) -> None:
        """Order workers for the slots below `wanted`, retire idle ones above.

        Raises WorkersCannotBoot when starting again cannot help.
        """
        self._wanted = wanted
        self._check_hope()
        if (zygote := self.spawner.tend(now, is_wanted=wanted > 0)) is not None:
            self._readers.add_zygote(zygote)
        for handle in self._roster:
            if handle.state is State.IDLE and (because := self._unfit_because(handle, now)):
                self._retire(handle, because)
        if not wanted:
            self._dismiss_successors()
        for slot in self._open_slots():
            if now >= self._restarts.not_before(slot):
                self._fill(slot, now)
        for handle in self._roster.left_alone():
            handle.leave_alone()

    def recycle(self, handle: Handle, because: str, now: float) -> None:
        """Replace an idle worker at once; `because` is one of the reasons in recycling.py."""
        self._retire(handle, because)
        if handle.slot in self._open_slots():
            self._fill(handle.slot, now)

    @property
    def is_empty(self) -> bool:
        """Whether no worker is there any more, not even one that is about to be reaped."""
        return self._roster.is_empty

    def reload(self, now: float) -> None:
        """Start a new zygote; workers of the old one are replaced as they fall idle."""
        if (zygote := self.spawner.renew(now)) is not None:
            self._readers.add_zygote(zygote)

    def next_alarm(self) -> float | None:
        """Return the earliest time at which overdue() or resize() has something to do."""
        found = [alarm_of(handle, self._boot_timeout_s) for handle in self._roster]
        found += [self._recycling.alarm(handle) for handle in self.handles.values()]
        alarms = [alarm for alarm in found if alarm is not None]
        if self.spawner.is_ready:
            alarms += [self._restarts.not_before(slot) for slot in self._open_slots()]
        zygote_alarm = self.spawner.next_alarm(is_wanted=self._wanted > 0)
        return min(alarms if zygote_alarm is None else [*alarms, zygote_alarm], default=None)

    def end_zygotes(self) -> None:
        """Kill the zygotes; for the end, when no worker is wanted any more."""
        self._dismiss_successors()
        self._kills.zygotes()

    def _check_hope(self) -> None:
        """Raise WorkersCannotBoot when there is none: no worker, and none to be had."""
        has_workers = any(h.state in (State.IDLE, State.BUSY) for h in self.handles.values())
        boots = self._restarts.failed_boots(range(self._wanted))
        zygotes = (self.spawner.failures, self.spawner.last_reason)
        for count, reason in (zygotes, (boots, self._restarts.last_fault)):
            if self._wanted and is_hopeless(count, has_workers=has_workers):
                raise WorkersCannotBoot(count, reason)

    def _unfit_because(self, handle: Handle, now: float) -> str:
        """Say why an idle worker must not go on, "" when it may."""
        if handle.slot >= self._wanted or handle.generation < self.spawner.generation:
            return "retired"
        because = self._recycling.due(handle, now)
        # While there is no zygote a worker that is merely worn is better than none.
        return because if because in LEAKS or self.spawner.is_ready else ""

    def _retire(self, handle: Handle, because: str) -> None:
        """Kill an idle worker and let go of it, so that its slot is free before it is reaped."""
        if handle.pid is None:
            return  # we are about to hear it
        handle.doomed_because = because
        self._kills.workers([handle])
        self._readers.drop(handle)
        handle.close()
        self._roster.drop(handle)
        self._roster.leaving[handle.pid] = handle

    def _open_slots(self) -> list[int]:
        is_well = self.spawner.is_ready and not self._restarts.are_failing
        goes_soon = self._recycling.is_in_last_run if is_well else None
        return self._roster.open_slots(self._wanted, goes_soon)

    def _dismiss_successors(self) -> None:
        alive = [h for h in self._roster.successors.values() if h.state is not State.DOOMED]
        self.kill(*((handle, "retired") for handle in alive))

    def _fill(self, slot: int, now: float) -> None:
        if not self._roster.take_over(slot):
            self._order(slot, now)

    def _order(self, slot: int, now: float) -> None:
        # The worker that has the slot, if it is the successor's that is to be had.
        present = self.handles.get(slot)
        try:
            handle = self.spawner.order(slot, now, ahead_of=present)
        except OSError as error:
            # No descriptors left: what runs goes on, and this slot waits.
            self._restarts.postpone(slot, now)
            self._log.error("no_worker", slot=slot, error=error)
            return
        if handle is not None:
            handle.stretch = self._recycling.draw()
            self._roster.add(handle, is_ahead=present is not None)
            self._readers.add(handle)

    def _take_inbox(self, handle: Handle) -> list[Report]:
        reports = []
        while handle.inbox:
            word = handle.inbox.popleft()
            is_news = handle.note(word)
            if isinstance(word, Ready):
                self._restarts.note_boot()
                self.spawner.note_worker_ready()
            elif is_news and isinstance(word, Progress | Outcome):
                self._reckoning.at_outcome(handle, self._clock())
                self._strays.are_considered = True
                reports.append(Report(handle, word))
        return reports

    def _bury(self, handle: Handle, corpse: Corpse) -> Death:
        """Read a dead worker's last words, and release its slot for the next."""
        now = self._clock()
        handle.read(now)
        for word in handle.inbox:
            handle.note(word)
        self._readers.drop(handle)
        self.spawner.cgroups.release(handle)
        if handle.run is not None and handle.run.deadline.is_over:
            # By SIGTERM, say, before the grace was over.
            handle.doomed_because = handle.doomed_because or handle.run.deadline.because
        self._note_end(handle, corpse, now)
        self._reckoning.at_death(handle, corpse, now)
        handle.close()
        self._roster.drop(handle)
        return Death(handle, corpse)

    def _note_end(self, handle: Handle, corpse: Corpse, now: float) -> None:
        if fault := boot_fault(handle, corpse, self._boot_timeout_s):
            self._restarts.note_failed_boot(handle.slot, now, fault)
            return
        # Also one that was never forked: that its zygote died is no fault of the slot's.
        by_itself = handle.pid is not None and not handle.doomed_because
        slot, served = handle.slot, handle.has_served
        if wait_s := self._restarts.note_death(slot, now, by_itself=by_itself, has_served=served):
            self._log.warning("slot_backs_off", slot=slot, wait_s=wait_s)

    def _orphaned_orders(self, zygote: Zygote) -> list[Death]:
        """Give up orders that a dead zygote did not carry out: no answer will come."""
        self.answers.note(zygote, self._roster)
        owed = [h for h in self._roster if h.zygote_pid == zygote.pid and h.pid is None]
        return [self._bury(handle, Corpse(0, 0)) for handle in owed]
