"""Takes in what zygotes answer: the pids of workers, that they are ready, why they cannot.

Called by the pool, which reads the zygotes before the workers: a worker whose pid is not
known yet cannot be killed.
"""

import os
import signal
from collections.abc import Callable, Container, Iterable

from supervisor.log import Log
from supervisor.pool import hardkill
from supervisor.pool.backoff import Restarts
from supervisor.pool.handle import Handle, State
from supervisor.pool.kills import Kills
from supervisor.pool.readers import Readers
from supervisor.pool.reaper import Corpse
from supervisor.pool.roster import Roster
from supervisor.pool.spawner import Spawner, Zygote
from worker.protocol import Forked, Importing, Refused, ZygoteReady


class Answers:
    """The zygotes' side of the pool. `reaped` has the pids of children that ended before
    anybody said whose they were.
    """

    def __init__(
        self,
        spawner: Spawner,
        readers: Readers,
        kills: Kills,
        restarts: Restarts,
        reaped: Container[int],
        log: Log,
    ) -> None:
        self.zygote_restarts = 0
        # Called with each worker whose pid becomes known, which is before its first run.
        self.at_claim: list[Callable[[Handle], None]] = []
        self._spawner = spawner
        self._readers = readers
        self._kills = kills
        self._restarts = restarts
        self._reaped = reaped
        self._log = log

    def read(self, roster: Roster) -> None:
        """Read all zygotes, and give the workers their pids."""
        for zygote in self._spawner.zygotes:
            zygote.read()
            self.note(zygote, roster)
            if zygote.is_faulty:
                # It takes no orders any more, and would ring for ever.
                os.kill(zygote.pid, signal.SIGKILL)

    def note(self, zygote: Zygote, roster: Roster) -> None:
        """Take in what one zygote has said so far."""
        while zygote.words:
            word = zygote.words.popleft()
            if isinstance(word, Forked):
                self._claim(zygote, word, roster)
            elif isinstance(word, Importing):
                zygote.importing = word
            elif isinstance(word, ZygoteReady):
                self._spawner.note_ready(zygote, word)
            elif isinstance(word, Refused) and word.is_passing:
                for handle in _unborn(zygote, word.order, roster):
                    self._strike_off(handle, word.reason, roster)
            elif isinstance(word, Refused):
                self._log.error("zygote_refused", pid=zygote.pid, reason=word.reason)
                self._spawner.note_refused(zygote, word)

    def note_death(self, corpse: Corpse, now: float) -> Zygote | None:
        """Take the death of a zygote into account; None when this is none of theirs."""
        zygote = self._spawner.note_death(corpse.pid, corpse.how(), now)
        if zygote is None:
            return None
        # Closed only now that it is dead: a living one takes the end of its socket for our
        # death, and sweeps the workers up.
        self._readers.drop_zygote(zygote)
        zygote.sock.close()
        if zygote.is_refused:
            pass  # and reloading.py has said why
        elif zygote.is_leaving:
            self._log.info("zygote_replaced", pid=zygote.pid)
        else:
            self.zygote_restarts += 1
            self._log.warning("zygote_died", pid=zygote.pid, reason=zygote.reason)
        return zygote

    def _claim(self, zygote: Zygote, word: Forked, roster: Roster) -> None:
        for handle in _unborn(zygote, word.order, roster):
            if not self._can_be_a_worker(word.pid, roster):
                # Not the zygote speaks, but somebody with its socket. We kill what has this pid.
                zygote.reason, zygote.is_faulty = f"it told of a worker {word.pid}", True
                return
            handle.pid = word.pid
            for settle in self.at_claim:
                settle(handle)
            if handle.state is State.DOOMED:
                self._kills.tree(word.pid)

    def _strike_off(self, handle: Handle, reason: str, roster: Roster) -> None:
        """Forget an order that there is no room for now; what runs goes on, the slot waits."""
        self._readers.drop(handle)
        self._spawner.cgroups.release(handle)
        handle.close()
        roster.drop(handle)
        self._restarts.postpone(handle.slot, handle.ordered_at)
        self._log.error("no_worker", slot=handle.slot, error=reason)

    def _can_be_a_worker(self, pid: int, roster: Roster) -> bool:
        zygotes = {zygote.pid for zygote in self._spawner.zygotes}
        others = roster.pids | zygotes | self._readers.companions
        is_ours = pid in self._reaped or hardkill.parent_of(pid) == os.getpid()
        return is_ours and pid not in others


def _unborn(zygote: Zygote, order: int | None, handles: Iterable[Handle]) -> list[Handle]:
    """Return the worker that this zygote owes us by this order, if it does."""
    return [h for h in handles if (h.order, h.zygote_pid, h.pid) == (order, zygote.pid, None)]
