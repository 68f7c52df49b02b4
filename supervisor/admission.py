"""Lets runs begin when there is memory for them: a run waits instead of the container dying.

Asked by the loop before it takes runs and before it starts them. Nothing is taken while the
container is above its mark or stalls. What was taken begins when that fits what runs of its
plugin need, as learned, beside what those that are on may still come to need.

A run that waits for longer than a moment is given back, so that another host can take it, and
that burns no attempt. If it comes again it stays, and nothing begins before it: else small
runs would take the room of a large one for ever.
"""

from collections.abc import Callable, Mapping
from typing import Any

from supervisor.container import Level, levels, tightest
from supervisor.inhand import InHand, Stage
from supervisor.ledger import Ledger
from supervisor.log import Log
from supervisor.peaks import Peaks
from supervisor.pool.handle import Handle, State
from supervisor.pool.memory import anonymous_bytes, file_bytes, rss_bytes
from supervisor.pool.overuse import MemoryLimits
from supervisor.room import Marks, Waiter, admits, choose
from worker.sizes import text_of

LOOK_EVERY_S = 0.5
# How long a run waits here while others could take it, and how long it keeps from us then.
PATIENCE_S = 5.0
AWAY_S = 2.0
# How long it must be open before the log says so: a full host opens and closes with each run.
OPEN_FOR_S = 5.0
MOST_REMEMBERED = 1000


class Admission:
    """Decides which of the runs in hand begin, and whether more are taken."""

    def __init__(
        self,
        marks: Marks,
        handles: Mapping[int, Handle],
        ledger: Ledger,
        limits_of: Callable[[str], MemoryLimits],
        log: Log,
    ) -> None:
        self.peaks = Peaks()
        self.closed_because = ""
        self._marks = marks
        self._handles = handles
        self._ledger = ledger
        self._limits_of = limits_of
        self._log = log
        self._level: Level | None = None
        self._looked_at = float("-inf")
        self._has_ended = False  # a run, since that look
        # What each worker had of its own at that look, by order, and a fresh one in all.
        self._own: dict[int, int] = {}
        self._fresh_bytes = 0
        self._since: dict[str, float] = {}
        self._given_back: dict[str, None] = {}
        self._alarm: float | None = None
        self._is_told = False
        self._opened_at: float | None = None

    def admit(self, now: float) -> set[int]:
        """Return the slots whose waiting run may begin now; give back what waited too long."""
        free = [h for h in self._handles.values() if h.state is State.IDLE and not h.run and h.pid]
        waiting = [(h, held) for h in free if (held := self._waits_for(h)) is not None]
        begin: set[int] = set()
        because = ""
        if free:  # else nobody wants to know
            begin, because = self._decide(waiting, now)
        self._note(because, now)
        left = [(h.slot, held) for h, held in waiting if h.slot not in begin]
        waits = {h.run_id for h in self._ledger.in_hand.values() if h.stage is Stage.WAITING}
        self._since = {run_id: at for run_id, at in self._since.items() if run_id in waits}
        for _, held in left:
            self._since.setdefault(held.run_id, now)
        # An idle pool sleeps: it is asked when a run comes.
        wants_to_know = left or because or self._is_told or (free and not self._is_idle)
        self._alarm = self._looked_at + LOOK_EVERY_S if wants_to_know else None
        for slot, held in left:
            self._give_back_if_long(slot, held, because, now)
        return begin

    def takes(self) -> bool:
        """Whether one more run may be asked for."""
        return not self.closed_because or (self._is_idle and self._ledger.is_empty)

    def refuses(self, now: float) -> str:
        """Return why one more run would not begin now, "" when it would; for scaling."""
        self._look_again(now)
        return admits(self._level, self._marks, self._owed_bytes())

    def learn(self, handle: Handle) -> None:
        """Take in what the run needed that this worker has just ended, or died of."""
        self._has_ended = True
        run = handle.run
        if run is None or run.used is None:
            return
        if run.outcome is None or run.outcome.ended == "completed":
            # Files are in memory once for all, and the rest begins as the zygote's.
            zygote = handle.zygote_pid
            files = file_bytes(handle.pid or 0) or file_bytes(zygote)
            peak_bytes = run.used.max_rss_bytes - files - anonymous_bytes(zygote)
            self.peaks.learn(run.plugin, peak_bytes)

    def next_alarm(self) -> float | None:
        """Return when admit() may answer differently, though nobody rings."""
        return self._alarm

    def facts(self, now: float) -> dict[str, Any]:
        """Return what there is and what waits for it; for snapshots and metrics."""
        self._look_again(now)
        level = self._level
        return {
            "used_bytes": level.used_bytes if level else 0,
            "limit_bytes": level.limit_bytes if level else 0,
            "closed": self.closed_because,
            "because": self._sentence() if self.closed_because else "",
            "waiting": [
                held.run_id
                for held in self._ledger.in_hand.values()
                if held.stage is Stage.WAITING and held.run_id in self._since
            ],
        }

    @property
    def _is_idle(self) -> bool:
        return all(handle.run is None for handle in self._handles.values())

    def _waits_for(self, handle: Handle) -> InHand | None:
        held = self._ledger.in_hand.get(handle.slot)
        return held if held is not None and held.stage is Stage.WAITING else None

    def _decide(self, waiting: list[tuple[Handle, InHand]], now: float) -> tuple[set[int], str]:
        self._look_again(now)
        begin, because = self._choose(waiting, now)
        if because and self._has_ended:
            # What is refused for memory that has just been given up is asked again at once.
            self._look(now)
            begin, because = self._choose(waiting, now)
        return begin, because

    def _choose(self, waiting: list[tuple[Handle, InHand]], now: float) -> tuple[set[int], str]:
        waiters = [
            Waiter(
                handle.slot,
                self._need_bytes(handle, held.request.plugin if held.request else ""),
                self._since.get(held.run_id, now),
                held.run_id in self._given_back,
            )
            for handle, held in waiting
        ]
        owed_bytes = self._owed_bytes()
        return choose(waiters, self._level, self._marks, owed_bytes, is_idle=self._is_idle)

    def _owed_bytes(self) -> int:
        return sum(self._need_bytes(h, h.run.plugin) for h in self._handles.values() if h.run)

    def _need_bytes(self, handle: Handle, plugin: str) -> int:
        """Return what a run needs beyond what its worker had when we looked."""
        limits, fresh = self._limits_of(plugin), self._fresh_bytes
        soft = max(1, limits.soft_bytes - fresh) if limits.soft_bytes else 0
        hard = max(1, limits.hard_bytes - fresh) if limits.hard_bytes else 0
        return max(0, self.peaks.expected(plugin, soft, hard) - self._own.get(handle.order, 0))

    def _look_again(self, now: float) -> None:
        if now >= self._looked_at + LOOK_EVERY_S:
            self._look(now)

    def _look(self, now: float) -> None:
        self._looked_at, self._has_ended = now, False
        self._level = tightest(levels(), self._marks.share)
        workers = [(h, h.pid) for h in self._handles.values() if h.pid is not None]
        zygotes = {h.zygote_pid for h, _ in workers}
        inherited = {zygote: anonymous_bytes(zygote) for zygote in zygotes}
        self._fresh_bytes = max(map(rss_bytes, zygotes), default=self._fresh_bytes)
        self._own = {
            h.order: max(0, anonymous_bytes(pid) - inherited[h.zygote_pid]) for h, pid in workers
        }

    def _note(self, because: str, now: float) -> None:
        was, self.closed_because = self.closed_because, because
        if because and not was:
            self._ledger.take_no_more()
        if because:
            self._opened_at = None
            if not self._is_told:
                self._is_told = True
                self._log.warning("admission_closed", because=because, memory=self._sentence())
        elif self._is_told:
            self._opened_at = now if self._opened_at is None else self._opened_at
            if now >= self._opened_at + OPEN_FOR_S:
                self._is_told = False
                self._log.info("admission_opened", memory=self._sentence())

    def _sentence(self) -> str:
        level = self._level
        if level is None:
            return "unknown"
        used, limit = text_of(level.used_bytes), text_of(level.limit_bytes)
        return f"{used} of {limit} in use, {level.stall_percent:g}% stalled, {level.where}"

    def _give_back_if_long(self, slot: int, held: InHand, because: str, now: float) -> None:
        run_id = held.run_id
        if run_id in self._given_back or now < self._since[run_id] + PATIENCE_S:
            return
        self._given_back[run_id] = None
        while len(self._given_back) > MOST_REMEMBERED:
            del self._given_back[next(iter(self._given_back))]
        self._ledger.give_back(slot, f"{because}: {self._sentence()}", AWAY_S)
