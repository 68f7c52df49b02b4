"""The supervisor's loop: asked → reported → died → overdue → missing → idle.

The order is the design: reports come before deaths before deadlines, so that a run which
ended in time is never killed because we were late. Nothing on this path waits for Redis;
the broker's tasks do, and leave facts. All sleeping is in one line.
"""

import os

import setproctitle

from supervisor import __version__
from supervisor.errors import Exit, WorkersCannotBoot
from supervisor.following import Following
from supervisor.judging import LEASE_LOST, STOPPING
from supervisor.phases import Ask, Phase
from supervisor.pool.handle import Handle, State
from supervisor.pool.overuse import MEMORY_HARD
from supervisor.pool.pool import Death, Report
from supervisor.pool.recycling import ANOTHER_PLUGIN
from supervisor.probes import Probes
from supervisor.reloading import Reloading
from supervisor.remote import Remote
from supervisor.standing import Standing
from supervisor.streams.endings import CANCELLED
from supervisor.verdicts import SCALED_DOWN
from supervisor.watchdog import Watchdog
from supervisor.wiring import Parts
from worker.protocol import Outcome
from worker.system import allow_many_descriptors, become_subreaper, forbid_inspection

# How long the end waits for Redis to take the last endings.
FLUSH_S = 5.0


class Supervisor:
    """Keeps the pool whole and every run accounted for, from start to exit code.

    `run()` is the whole life: start, the loop, the end. The parts are made in wiring.py.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._clock = parts.clock
        self._standing = Standing.of(parts.settings)
        self._following = Following(parts, self._standing)
        self._reloading = Reloading(parts)
        self._remote = Remote(parts, self._standing, self._reloading)
        self.probes = Probes(parts, self._standing)
        self._watchdog = Watchdog(os.environ)
        self._exit = Exit.CLEAN
        self._title = ""

    async def run(self) -> int:
        """Keep the pool whole until told to stop; return the exit code."""
        parts = self._parts
        try:
            await self._start()
            while self._standing.phase is not Phase.STOPPED:
                await parts.wakeups.wait(until=self._next_alarm())  # the only place where we sleep
                self._come_round()
                self._remote.carry_out()  # 1. what we were told and asked
                for ask in parts.signals.take():
                    await self._obey(ask)
                for report in parts.pool.read():  # 2. what the workers said
                    self._note_report(report)
                for death in parts.pool.reap():  # 3. who is gone
                    self._note_death(death)
                for handle in parts.overuse.found(parts.pool.handles.values(), self._clock()):
                    parts.pool.hasten(handle, MEMORY_HARD)
                self._kill(parts.pool.overdue(self._clock()))  # 4. who must go
                self._kill(self._disowned())
                self._following.follow()
                self._resize()  # 5. who is missing
                self._assign()  # 6. who is idle
                self._leave_if_done()
        finally:
            await self._end()
        return self._exit

    async def _start(self) -> None:
        parts = self._parts
        become_subreaper()
        allow_many_descriptors()
        # Our environment and memory hold Redis' password; crews run as the same user (P5).
        forbid_inspection()
        self._reloading.read_plugins()
        await parts.http.start(self.probes, self._settings.http_host, self._settings.http_port)
        parts.broker.start(
            parts.keeper.keep_for_ever(),
            parts.records.write_for_ever(),
            parts.heartbeat.beat_for_ever(lambda: parts.snapshot(self._standing)),
            parts.control.listen_for_ever(),
            parts.control.answer_for_ever(),
            *self._reloading.watching(),
        )
        parts.log.info(
            "started",
            version=__version__,
            pid=os.getpid(),
            host=parts.host,
            workers=self._standing.size,
            plugins=",".join(parts.ledger.catalogue.plugins) or "none",
            http=f"{self._settings.http_host}:{parts.http.port}",
            cgroup=parts.pool.spawner.cgroups.folder,
        )
        self._standing.phase = Phase.RUNNING
        parts.wakeups.ring()

    async def _end(self) -> None:
        """Leave nothing behind: no process, no consumer, no open port."""
        parts = self._parts
        parts.pool.kill(*((handle, STOPPING) for handle in parts.pool.handles.values()))
        parts.pool.end_zygotes()
        undelivered = await parts.broker.close(FLUSH_S, parts.heartbeat.leave, parts.control.leave)
        await parts.control.close()
        parts.ledger.take_facts(0)
        for entry in undelivered:
            parts.log.error("undelivered", entry=entry, hint="its lease lapses, others reclaim it")
        await parts.http.stop()
        parts.storage.remove()
        if self._exit is Exit.CLEAN and (parts.journal.handed_back_at_end or undelivered):
            self._exit = Exit.DRAIN_RAN_OUT
        parts.log.info("stopped", exit=int(self._exit))

    def _come_round(self) -> None:
        self.probes.came_round()
        self._watchdog.beat(self.probes.vitals, self._clock())
        if (failure := self._parts.broker.failure()) is not None:
            raise failure
        handles = self._parts.pool.handles.values()
        busy = sum(handle.state is State.BUSY for handle in handles)
        title = f"crewpool supervisor {self._standing.word} {busy}/{len(handles)} busy"
        if title != self._title:
            setproctitle.setproctitle(title)
            self._title = title

    async def _obey(self, ask: Ask) -> None:
        parts, standing = self._parts, self._standing
        begins_to_leave = standing.ask(ask, self._clock())
        if ask is Ask.STACKS:
            for handle in parts.pool.handles.values():
                parts.pool.hasten(handle, STOPPING)
        elif ask is Ask.RELOAD:
            self._reloading.ask()
        elif ask in (Ask.MORE, Ask.LESS):
            standing.resize(standing.size + (1 if ask is Ask.MORE else -1))
            parts.ledger.stop_wanting(standing.size, SCALED_DOWN)
        elif ask is Ask.SNAPSHOT:
            for worker in parts.snapshot(standing)["workers"]:
                parts.log.info("snapshot", **worker)
        parts.log.info("asked", ask=ask.value, phase=standing.word, workers=standing.size)
        if begins_to_leave:
            parts.ledger.stop_wanting()
            parts.heartbeat.soon()

    def _note_report(self, report: Report) -> None:
        handle, word = report.handle, report.word
        if not isinstance(word, Outcome):
            self._parts.ledger.note_progress(handle.slot, word)
            return
        self._parts.readers.drain_log(handle)
        self._parts.ledger.note_outcome(handle, word)
        self._parts.admission.learn(handle)
        if handle.state is State.BUSY:
            handle.state = State.IDLE
        handle.run = None
        handle.runs_done += 1

    def _note_death(self, death: Death) -> None:
        self._parts.journal.worker_died(death)
        self._parts.ledger.note_death(death)
        self._parts.admission.learn(death.handle)

    def _kill(self, doomed: list[tuple[Handle, str]]) -> None:
        self._parts.pool.kill(*doomed)
        for handle, because in doomed:
            self._parts.journal.worker_killed(handle, because)

    def _disowned(self) -> list[tuple[Handle, str]]:
        """Take in what Redis says; return the workers whose run is not theirs any more."""
        ledger, standing = self._parts.ledger, self._standing
        lost = ledger.take_facts(standing.taking_size, standing.surplus_because)
        handles = self._parts.pool.handles
        for run in self._remote.cancels.among(ledger.in_hand):
            if (slot := ledger.cancel(run)) is not None:
                self._parts.pool.hasten(handles[slot], CANCELLED)
        found = [(handles[slot], LEASE_LOST) for slot in lost]
        return [(handle, why) for handle, why in found if handle.state is not State.DOOMED]

    def _resize(self) -> None:
        self._reloading.look(self._clock())
        try:
            self._parts.pool.resize(self._standing.pool_size, self._clock())
        except WorkersCannotBoot as error:
            self._parts.log.error("gave_up", reason=str(error))  # noqa: TRY400  # no traceback helps
            self._exit, self._standing.phase = Exit.CANNOT_BOOT, Phase.STOPPING
            self._parts.ledger.stop_wanting()
            self._parts.wakeups.ring()

    def _assign(self) -> None:
        """Give waiting runs to idle workers, and ask for runs for those without."""
        parts = self._parts
        # Of workers whose pid is known: before, their place is not settled, nor could we kill them.
        admitted = parts.admission.admit(self._clock())
        for slot in range(self._standing.taking_size):
            if parts.pool.is_deserted(slot, self._clock()):
                parts.ledger.abandon(slot)  # others are there for its run
        for handle in list(parts.pool.handles.values()):
            may_begin = handle.slot in admitted
            now = self._clock()
            if may_begin and not parts.ledger.suits(handle):
                parts.pool.recycle(handle, ANOTHER_PLUGIN, now)
                continue
            if may_begin and (assignment := parts.ledger.assignment_for(handle, now)) is not None:
                run, deadline = assignment
                handle.assign(run, now, deadline)
                parts.overuse.begin(handle, now)
                parts.readers.flush(handle)
            may_take = handle.slot < self._standing.taking_size and parts.admission.takes()
            if may_take and parts.pool.can_take(handle):
                parts.ledger.want(handle.slot)

    def _leave_if_done(self) -> None:
        parts, standing = self._parts, self._standing
        if (drain_alarm := standing.drain_alarm) is not None:
            if parts.ledger.is_empty or self._clock() >= drain_alarm:
                standing.phase = Phase.STOPPING
                parts.wakeups.ring()
        elif standing.phase is Phase.STOPPING:
            parts.ledger.stop_wanting()
            # One that is writing its stacks is overdue in a moment.
            handles = parts.pool.handles.values()
            left = [h for h in handles if h.state is not State.DOOMED and not h.is_overdue]
            parts.pool.kill(*((handle, STOPPING) for handle in left))
            if parts.pool.is_empty:
                standing.phase = Phase.STOPPED

    def _next_alarm(self) -> float:
        pulse = self.probes.came_round_at + self._watchdog.pulse_s
        parts = self._parts
        alarms = (
            *(pulse, self._standing.drain_alarm, self._following.next_alarm()),
            *(parts.pool.next_alarm(), parts.overuse.next_alarm(), parts.admission.next_alarm()),
        )
        return min(alarm for alarm in alarms if alarm is not None)
